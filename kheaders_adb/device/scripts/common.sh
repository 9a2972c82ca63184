# kheaders-adb common
# What the scripts share that load, read and clean up; ../lease.py tells the protocol of names.
# Given: RUN names this run; WORK is this user's folder of this tool on the device; BOOT is the boot_id of the
# device that is meant, or empty.

umask 077

# A shell under su, or of a daemon, may know no more than /bin.
PATH=/system/bin:/vendor/bin:$PATH:/sbin:/usr/sbin:/bin:/usr/bin

# Events go to stderr, marked, so that nothing else that writes there can pass for one.  Not by echo, which
# takes a backslash in foreign words for its own.
say() { printf "%s\n" "@$RUN $*" >&2; }
lines() { while read -r l; do say "$1 $l"; done; }

# A host that went away must not end the script before it has cleaned up.
trap "" PIPE

{ read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null

# Another boot, or another device: an adb server that was restarted gives the old number to whom it likes.
# What comes through stdin is read, lest the host's writing fail before it has seen the reason.
drain() { [ "${PAYLOAD:-0}" = 0 ] || cat >/dev/null; }
[ "${BOOT:-$boot}" = "$boot" ] || {
  drain
  say "elsewhere $boot"
  exit
}

# born PID: sets `start` to the process's start time, the 22nd field of its stat.  The second may hold
# blanks and parentheses, so that counting begins behind the last of these.
born() {
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
  # shellcheck disable=SC2086 # the fields are to be split
  set -- ${stat##*) }
  start=${20}
}
born $$
me=$boot.$$.$start.$RUN

# alive NAME: whether the run that made a name of the form KIND.BOOT.PID.START.RUN still lives.
ifs=$IFS
alive() {
  IFS=.
  # shellcheck disable=SC2086 # the parts are to be split
  set -- ${1##*/}
  IFS=$ifs
  [ "$2" = "$boot" ] || return
  was=$4
  born "$3" && [ "$start" = "$was" ]
}

# Remove what dead runs left, but for the marks of modules that are still loaded.
sweep() {
  for f in "$WORK"/*; do
    case ${f##*/} in
      lease.* | put.* | unload.*) alive "$f" || rm -rf "$f" ;;
      ours."$boot".*) ;;
      ours.*) rm -rf "$f" ;;
    esac
  done
}

# others KIND MINE: whether another living run, of any user, has a name of this kind.
others() {
  for f in "${WORK%/*}"/kheaders-adb*/"$1".*; do
    [ -d "$f" ] && [ "$f" != "$2" ] && alive "$f" && return
  done
  return 1
}

# A pause: not every sleep knows fractions.
pause() { sleep 0.1 2>/dev/null || sleep 1; }

# Make the folder.  Another user's, or a link to anywhere, is not used; others may look for leases in it.
own() {
  mkdir -p "$WORK" || return
  [ ! -L "$WORK" ] && [ -O "$WORK" ] && chmod 755 "$WORK" && return
  echo "$WORK is not ours"
  return 1
}

loaded() { [ -d /sys/module/kheaders ]; }

# Unload the module if it is ours and no other run reads from it.
unload() {
  # Only one of this tool's; without any, the pattern stands for itself.
  for f in "$WORK/ours.$boot".*; do :; done
  [ -d "$f" ] || return 0
  mine=$WORK/unload.$me
  mkdir "$mine" || return 0
  if others lease "$lease"; then
    say kept
  else
    text=
    loaded && text=$(rmmod kheaders 2>&1 </dev/null)
    # Two that want to unload at once: the one that was refused waits for the other's success.
    i=0
    while loaded && others unload "$mine" && [ $i -lt 20 ]; do
      i=$((i+1))
      pause
    done
    if loaded; then
      say "stuck $text"
    else
      rmdir "$WORK/ours.$boot".* 2>/dev/null
      say unloaded
    fi
  fi
  rmdir "$mine"
}

# Put everything back that this run has made.
finish() {
  trap "" HUP INT TERM
  IFS=$ifs
  [ -n "$put" ] && rm -rf "$put"
  if [ -n "$lease" ]; then
    rmdir "$lease"
    lease=
    sweep
    unload
    rmdir "$WORK" 2>/dev/null
  fi
}
lease=
put=
