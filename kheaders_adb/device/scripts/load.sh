# kheaders-adb load
# Load MODULE unless the archive is there already.
# Given: SHA256, what the module was seen to be, or empty.

# The file is opened once, so that what is inserted is what was hashed, whoever puts another in its place.  That
# it cannot be opened is not insmod's refusal; its name under /proc begins at its first byte again.
insert() {
  true <"$MODULE" || return 98
  {
    # shellcheck disable=SC2046 # the digest is the first word; without a sha256sum it is the one wanted
    [ -z "$SHA256" ] || set -- $(sha256sum 2>/dev/null) "$SHA256"
    [ "$SHA256" = "$1" ] || {
      echo "another sha256: $1"
      return 99
    }
    insmod /proc/self/fd/0
  } <"$MODULE"
}

unmark() { rmdir "$WORK/ours.$me" 2>/dev/null; }
log() { dmesg 2>/dev/null | tail -n "$2" | lines "$1"; }

if ! shown; then
  # Without this mark nobody would unload it again.
  text=$(mkdir "$WORK/ours.$me" 2>&1) || {
    say "nomark $text"
    fail
  }
  # Where this load begins in the kernel's log: a line of our own, or else its last ones, which may come again.
  { [ -w /dev/kmsg ] && echo "kheaders-adb $RUN" >>/dev/kmsg; } 2>/dev/null || log before 9
  text=$(insert 2>&1)
  code=$?
  if shown; then
    # Refused, and yet the archive is there: another run or the user has loaded it meanwhile.
    if [ $code = 0 ]; then say loaded; else unmark; fi
  else
    say "refused $code"
    printf "%s\n" "$text" | lines text
    log log 99
    [ $code = 0 ] && rmmod kheaders 2>/dev/null
    unmark
    fail
  fi
fi
[ -n "$put" ] && rm -rf "$put" && put=
