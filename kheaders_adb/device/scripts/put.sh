# kheaders-adb put
# Take the kheaders.ko that comes through stdin; sets MODULE.
# Given: PAYLOAD, its size.

put=$WORK/put.$me
MODULE=$put/kheaders.ko
# Never through a link, nor into another user's file: it has to be new.
mkdir "$put" && set -C && cat >"$MODULE" || cut=-
set +C
measure "$MODULE"
case $cut$size in
  0 | "$PAYLOAD") ;;
  *) say "short $size $PAYLOAD" && fail ;;
esac
PAYLOAD=0
