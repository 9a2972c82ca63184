# kheaders-adb lease
# Make this run's lease where there is a module that may be unloaded: a built-in archive needs none.
# Given: ARCHIVES, where the kernel may show the archive; MODULE, a kheaders.ko here, or empty; PAYLOAD, the
# size of one that comes through stdin, or 0.

trap "finish; exit 1" HUP INT TERM

fail() {
  drain
  finish
  say end
  exit
}

# measure FILE: sets `size`; to 0 where it is not to be had: before toybox, ls counted no links, and the date
# stands in the fifth place.
measure() {
  # shellcheck disable=SC2012,SC2046 # for the size of one file; stat is not everywhere
  set -- $(ls -lnd "$1")
  case $5 in *[!0-9]*) size=0 ;; *) size=${5:-0} ;; esac
}

shown() {
  for archive in $ARCHIVES; do [ -e "$archive" ] && return; done
  return 1
}

if [ "$PAYLOAD$MODULE" != 0 ] || loaded; then
  # Another run's rmdir may come between the two.
  for i in 1 2 3 4 5; do
    text=$({ own && mkdir "$WORK/lease.$me"; } 2>&1) && lease=$WORK/lease.$me && break
  done
  if [ -n "$lease" ]; then
    # First the lease, then the look for who unloads: so one of the two always sees the other.
    while others unload ""; do pause; done
    sweep
  else
    say "nolease $text"
    shown || fail
  fi
fi
