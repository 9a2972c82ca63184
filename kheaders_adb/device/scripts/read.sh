# kheaders-adb read
# Write a header line and the archive to stdout, loading a module if need be; ../lease.py lists the events.
# Given: ARCHIVES, where the kernel may show it; MODULE, a kheaders.ko here, or empty; PAYLOAD, the size of
# one that comes through stdin, or 0; KNOWN, " SIZE:SHA256 " of archives that need not be sent; BESIDE, 1 if
# the archive is read over another connection while this keeps it there until stdin ends.

trap "finish; exit 1" HUP INT TERM

# What is still to come through stdin is read, lest the host's writing fail before it has seen the reason.
fail() {
  [ "$PAYLOAD" = 0 ] || cat >/dev/null
  finish
  say end
  exit 0
}

shown() {
  for archive in $ARCHIVES; do [ -e "$archive" ] && return 0; done
  return 1
}

# A lease is for what may be unloaded: a built-in archive needs none.
if [ "$PAYLOAD" != 0 ] || [ -n "$MODULE" ] || [ -d /sys/module/kheaders ]; then
  # Another run's rmdir may come between the two.
  i=0
  until
    mkdir -p "$WORK" 2>/dev/null
    mkdir "$WORK/lease.$me" 2>/dev/null
  do
    i=$((i + 1))
    [ $i -lt 5 ] || break
  done
  if [ -d "$WORK/lease.$me" ]; then
    lease=$WORK/lease.$me
  else
    say "nolease $(
      mkdir -p "$WORK" 2>&1
      mkdir "$WORK/lease.$me" 2>&1
    )"
    shown || fail
  fi
  # First the lease, then the look for who unloads: so one of the two always sees the other.
  while :; do
    wait=
    for f in "$WORK"/unload.*; do [ -d "$f" ] && alive "$f" && wait=1; done
    [ -n "$wait" ] || break
    sleep 0.1 2>/dev/null || sleep 1
  done
  sweep
fi

if [ "$PAYLOAD" != 0 ]; then
  put=$WORK/put.$me
  MODULE=$put/kheaders.ko
  mkdir "$put" || fail
  cat >"$MODULE"
  code=$?
  # shellcheck disable=SC2012,SC2046 # for the size of one file whose name is ours; stat is not everywhere
  set -- $(ls -lnd "$MODULE")
  wanted=$PAYLOAD
  PAYLOAD=0
  if [ "$code" != 0 ] || [ "$5" != "$wanted" ]; then
    say "short ${5:-0} $wanted"
    fail
  fi
fi

if ! shown && [ -n "$MODULE" ]; then
  mkdir "$WORK/ours.$me" 2>/dev/null
  dmesg 2>/dev/null | tail -n 1 | lines before
  text=$(insmod "$MODULE" 2>&1 </dev/null)
  code=$?
  if shown; then
    # Refused, and yet the archive is there: another run or the user has loaded it meanwhile.
    if [ $code = 0 ]; then say loaded; else rmdir "$WORK/ours.$me" 2>/dev/null; fi
  else
    say "refused $code"
    echo "$text" | lines text
    dmesg 2>/dev/null | tail -n 100 | lines log
    [ $code = 0 ] && rmmod kheaders 2>/dev/null
    rmdir "$WORK/ours.$me" 2>/dev/null
    fail
  fi
fi
[ -n "$put" ] && rm -rf "$put" && put=

shown || {
  say absent
  fail
}
size=0
known=-
if [ -n "$KNOWN" ] || [ "$BESIDE" = 0 ]; then
  # shellcheck disable=SC2012,SC2046 # as above
  set -- $(ls -lnd "$archive")
  size=${5:-0}
fi
case $KNOWN in
  *" $size:"*)
    # shellcheck disable=SC2046 # the digest is the first word
    set -- $(sha256sum "$archive" 2>/dev/null) -
    case $KNOWN in *" $size:$1 "*) known=$1 ;; esac
    ;;
esac
echo "@$RUN reading $size $known $archive"
if [ "$known" != - ]; then
  say "read 0"
elif [ "$BESIDE" = 0 ]; then
  cat "$archive"
  say "read $?"
else
  cat >/dev/null
  say "read 0"
fi
finish
say "boot $boot"
say end
