# kheaders-adb lease
# Make this run's lease where there is a module that may be unloaded: a built-in archive needs none.
# Given: ARCHIVES, where the kernel may show the archive; MODULE, a kheaders.ko here, or empty; PAYLOAD, the
# size of one that comes through stdin, or 0.

trap "finish; exit 1" HUP INT TERM

fail() {
  drain
  finish
  say end
  exit 0
}

shown() {
  for archive in $ARCHIVES; do [ -e "$archive" ] && return 0; done
  return 1
}

if [ "$PAYLOAD$MODULE" != 0 ] || [ -d $ko ]; then
  # Another run's rmdir may come between the two.
  for i in 1 2 3 4 5; do
    text=$(own 2>&1 && mkdir "$WORK/lease.$me" 2>&1) && break
  done
  if [ -d "$WORK/lease.$me" ]; then
    lease=$WORK/lease.$me
    # First the lease, then the look for who unloads: so one of the two always sees the other.
    while others unload ""; do pause; done
    sweep
  else
    say "nolease $text"
    shown || fail
  fi
fi
