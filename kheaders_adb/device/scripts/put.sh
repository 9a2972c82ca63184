# kheaders-adb put
# Take the kheaders.ko that comes through stdin; sets MODULE.
# Given: PAYLOAD, its size.

put=$WORK/put.$me
MODULE=$put/kheaders.ko
# Never through a link, nor into another user's file: it has to be new.
mkdir "$put" && set -C && cat >"$MODULE"
set +C
# shellcheck disable=SC2012,SC2046 # for the size of one file whose name is ours; stat is not everywhere
set -- $(ls -lnd "$MODULE")
[ "$5" = "$PAYLOAD" ] || {
  say "short ${5:-0} $PAYLOAD"
  fail
}
PAYLOAD=0
