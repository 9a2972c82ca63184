# kheaders-adb push
# Unpack a tree from stdin; it appears under its name complete or not at all, and one of the same content stays.
# Given: TARGET, the folder that becomes the tree, or empty for FOLDER/NAME in the temporary folder; NAME, that
# of the content; MARK, the file that says it; NO_TAR, FOREIGN and CUT, the exit codes for these.

umask 022
tree=$TARGET
[ "$tree" ] || for parent in /data/local/tmp /tmp; do
  tree=$parent/$FOLDER/$NAME
  [ -d "$parent" ] && break
done
command -v tar >/dev/null || {
  echo "there is no tar" >&2
  exit "$NO_TAR"
}
if [ -e "$tree" ] && ! [ -f "$tree/$MARK" ] && [ "$(ls -A "$tree")" ]; then
  echo "$tree is there and is not a tree of ours" >&2
  exit "$FOREIGN"
fi
echo "$tree"
[ "$(cat "$tree/$MARK" 2>/dev/null)" = "$NAME" ] && {
  echo present
  exit 0
}
parent=${tree%/*}
mkdir -p "${parent:-/}" || exit 1
# What killed runs left: their names end in their pids.
for old in "$tree".*.tmp; do
  pid=${old%.tmp}
  [ -d "$old" ] && ! [ -d "/proc/${pid##*.}" ] && rm -rf "$old"
done
new=$tree.$$.tmp
# adbd hangs up when the host has gone, maybe in the middle of this.
clean() {
  trap "" HUP INT TERM
  rm -rf "$new"
}
trap clean EXIT
trap "exit 1" HUP INT TERM
mkdir "$new" || exit 1
echo absent
tar -x -f - -C "$new" || exit 1
# The mark is the last member: without it the stream was cut, between two others maybe.
[ "$(cat "$new/$MARK" 2>/dev/null)" = "$NAME" ] || {
  echo "the stream was cut" >&2
  exit "$CUT"
}
rm -rf "$tree"
mv "$new" "$tree" || exit 1
echo "done"
