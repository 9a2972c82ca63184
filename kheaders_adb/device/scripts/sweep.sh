# kheaders-adb sweep
# Remove what dead runs left, a module that they loaded included.
# Given: WAIT, a run whose own cleaning is awaited first, for at most about five seconds; or empty.

# It goes on where the host no longer waits for it: adbd hangs up on a shell whose connection is gone.
trap "" HUP INT TERM
# Nothing is removed in a folder that is another user's, or by way of a link.
if [ -L "$WORK" ] || ! [ -O "$WORK" ]; then
  say end
  exit
fi
i=0
while [ -n "$WAIT" ] && [ $i -lt 50 ]; do
  wait=
  for f in "$WORK"/*."$WAIT"; do [ -e "$f" ] && alive "$f" && wait=1; done
  [ -n "$wait" ] || break
  i=$((i + 1))
  pause
done
sweep
unload
rmdir "$WORK" 2>/dev/null
[ -d "$WORK" ] && for f in "$WORK"/*; do say "left ${f##*/}"; done
say end
