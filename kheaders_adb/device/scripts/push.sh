# kheaders-adb push
# Unpack a tree from stdin; it appears under its name complete or not at all, and one of the same content stays.
# Given: TARGET, the folder that becomes the tree, or empty for FOLDER/NAME in the temporary folder; NAME, that
# of the content; COUNT, of its links and its files that are not empty; MARK, the file that says both; NO_TAR,
# FOREIGN, CUT, PARTIAL, ELSEWHERE and OUTSIDE, the exit codes for these; BOOT, the boot_id of the device that is
# meant; ROOT, the folder that a chroot is made of and TARGET is in, or empty.

{ read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
[ "${BOOT:-$boot}" = "$boot" ] || {
  echo "boot_id $BOOT is meant, this is $boot" >&2
  exit "$ELSEWHERE"
}
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

# A link within it may be meant for whoever is inside, and leads elsewhere from here.
if [ "$ROOT" ]; then
  root=$(cd "$ROOT" 2>/dev/null && pwd -P) || {
    echo "$ROOT is no folder there" >&2
    exit "$OUTSIDE"
  }
  above=$tree
  until [ -d "${above:-/}" ]; do above=${above%/*}; done
  real=$(cd "${above:-/}" && pwd -P)
  case ${real%/}/ in
    "${root%/}"/*) ;;
    *)
      echo "$above leads out of $ROOT, to $real" >&2
      exit "$OUTSIDE"
      ;;
  esac
fi

marked() { [ "$(cat "$1/$MARK" 2>/dev/null)" = "$NAME $COUNT" ]; }

# count FOLDER: adds to n.  Not every device has find; a phone that lost power has empty files.
count() {
  for f in "$1"/*; do
    if [ -L "$f" ]; then
      n=$((n + 1))
    elif [ -d "$f" ]; then
      count "$f"
    elif [ -s "$f" ]; then
      n=$((n + 1))
    fi
  done
}

whole() {
  n=0
  count "$1"
  [ "$n" = "$COUNT" ]
}

if [ -e "$tree" ] && ! [ -f "$tree/$MARK" ] && [ "$(ls -A "$tree")" ]; then
  echo "$tree is there and is not a tree of ours" >&2
  exit "$FOREIGN"
fi
echo "$tree"
marked "$tree" && whole "$tree" && {
  echo present
  exit 0
}
parent=${tree%/*}
mkdir -p "${parent:-/}" || exit 1
# What killed runs left.  The user has chosen the tree's name and may have the like beside it: ours have the mark
# in their names, and end in the pids.
for f in "$tree$MARK".*.tmp; do
  pid=${f%.tmp}
  pid=${pid##*.}
  case $f in
    "$tree$MARK.$pid.tmp" | "$tree$MARK.old.$pid.tmp") ;;
    *) continue ;;
  esac
  case $pid in
    "" | *[!0-9]*) continue ;;
  esac
  [ -d "$f" ] && ! [ -L "$f" ] && ! [ -d "/proc/$pid" ] && rm -rf "$f"
done
new=$tree$MARK.$$.tmp
old=$tree$MARK.old.$$.tmp
# adbd hangs up when the host has gone, maybe in the middle of this.
clean() {
  trap "" HUP INT TERM
  rm -rf "$new" "$old"
}
trap clean EXIT
trap "exit 1" HUP INT TERM
mkdir "$new" || exit 1
echo absent
tar -x -f - -C "$new" || exit 1
# The mark is the last member: without it the stream was cut, between two others maybe.
marked "$new" || {
  echo "the stream was cut" >&2
  exit "$CUT"
}
whole "$new" || {
  echo "$n of $COUNT files are there after unpacking" >&2
  exit "$PARTIAL"
}
# Another run may have been quicker; else what is there goes, and is never unpacked over.
if ! { marked "$tree" && whole "$tree"; }; then
  [ ! -e "$tree" ] || mv "$tree" "$old"
  mv "$new" "$tree" || exit 1
  # Into it, if another run had put its own there in between.
  rm -rf "${tree:?}/${new##*/}"
fi
echo "done"
