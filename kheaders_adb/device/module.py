"""kheaders.ko on the device: the scripts that load it, read the archive, and put everything back.

One script on the device owns the whole life of a load.  It alone survives what can happen to the host's
side (a pulled cable, a killed process): its output breaks, and it unloads and cleans up by itself.

Everything lies in one folder, by names that say who made them::

    lease.<boot_id>.<pid>.<start time>.<run>    a run that reads from the loaded module
    put.<boot_id>.<pid>.<start time>.<run>/     a kheaders.ko that a run brought along
    unload.<boot_id>.<pid>.<start time>.<run>   a run that is about to unload
    ours.<boot_id>.<pid>.<start time>.<run>     a run that loads the module: it is the tool's, not the user's

A name is dead if its boot is over or its process is gone (pid *and* start time, as pids come again); but
``ours.…`` outlives its process, as the module does.  Each run makes and takes back only its own: of two that
insert at once one is refused, and neither can tell the other from the user.
Only a module marked ``ours`` is ever unloaded, and never while another lease lives: whoever wants to
unload first makes ``unload.…`` and *then* looks for leases; whoever wants to read first makes its lease and
*then* waits while a living ``unload.…`` is there.  So one of the two always sees the other.
An open file keeps no reference on the module (kernel/kheaders.c), hence the trouble.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from kheaders_adb.device.device import quote
from kheaders_adb.device.probe import ARCHIVE_PATHS

_LIBRARY = """\
PATH=/system/bin:/vendor/bin:$PATH:/sbin:/usr/sbin:/bin:/usr/bin
say() { echo "@$R $*" >&2; }
lines() { while read -r line; do say "$1 $line"; done; }
trap '' PIPE
{ read -r B </proc/sys/kernel/random/boot_id; } 2>/dev/null
born() { { read -r s </proc/$1/stat; } 2>/dev/null || return 1; set -- ${s##*) }; b=${20}; }
born $$; me="$B.$$.$b.$R"
alive() {
o=$IFS; IFS=.; set -- ${1##*/}; IFS=$o
[ "$2" = "$B" ] || return 1
w=$4; born "$3" && [ "$b" = "$w" ]
}
sweep() {
for f in "$K"/*; do
case ${f##*/} in
lease.*|put.*|unload.*) alive "$f" || rm -rf "$f";;
"ours.$B".*) ;;
ours.*) rm -rf "$f";;
esac
done
}
others() {
for f in "$K/$1".*; do
[ -d "$f" ] && [ "$f" != "$2" ] && alive "$f" && return 0
done
return 1
}
ours() {
for f in "$K/ours.$B".*; do [ -d "$f" ] && return 0; done
return 1
}
unload() {
ours || return 0
u="$K/unload.$me"; mkdir "$u" || return 0
if others lease "$L"; then say kept
else
e=; [ ! -d /sys/module/kheaders ] || e=$(rmmod kheaders 2>&1 </dev/null)
i=0
while [ -d /sys/module/kheaders ] && others unload "$u" && [ $i -lt 20 ]; do
i=$((i+1)); sleep 0.1 2>/dev/null || sleep 1
done
if [ -d /sys/module/kheaders ]; then say "stuck $e"
else rmdir "$K/ours.$B".* 2>/dev/null; say unloaded; fi
fi
rmdir "$u"
}
fin() {
trap '' HUP INT TERM
[ -n "$D" ] && rm -rf "$D"
if [ -n "$L" ]; then rmdir "$L"; L=; sweep; unload; fi
rmdir "$K" 2>/dev/null
}
L=; D=
"""

_READ = """\
trap 'fin; exit 1' HUP INT TERM
fail() { [ "$N" = 0 ] || cat >/dev/null; fin; say end; exit 0; }
find() {
for A in $ARCHIVES; do [ -e "$A" ] && return 0; done
return 1
}
if [ "$N" != 0 ] || [ -n "$M" ] || [ -d /sys/module/kheaders ]; then
i=0
until mkdir -p "$K" 2>/dev/null; mkdir "$K/lease.$me" 2>/dev/null; do
i=$((i+1)); [ $i -lt 5 ] || break
done
if [ -d "$K/lease.$me" ]; then L="$K/lease.$me"
else
say "nolease $(mkdir -p "$K" 2>&1; mkdir "$K/lease.$me" 2>&1)"
find || fail
fi
while :; do
w=; for f in "$K"/unload.*; do [ -d "$f" ] && alive "$f" && w=1; done
[ -n "$w" ] || break
sleep 0.1 2>/dev/null || sleep 1
done
sweep
fi
if [ "$N" != 0 ]; then
D="$K/put.$me"; M="$D/kheaders.ko"
mkdir "$D" || fail
cat >"$M"; c=$?
set -- $(ls -lnd "$M")
n=$N; N=0
[ $c = 0 ] && [ "$5" = "$n" ] || { say "short ${5:-0} $n"; fail; }
fi
if ! find && [ -n "$M" ]; then
mkdir "$K/ours.$me" 2>/dev/null
dmesg 2>/dev/null | tail -n 1 | lines before
e=$(insmod "$M" 2>&1 </dev/null); c=$?
if find; then
if [ $c = 0 ]; then say loaded; else rmdir "$K/ours.$me" 2>/dev/null; fi
else
say "refused $c"
echo "$e" | lines text
dmesg 2>/dev/null | tail -n 100 | lines log
[ $c = 0 ] && rmmod kheaders 2>/dev/null
rmdir "$K/ours.$me" 2>/dev/null
fail
fi
fi
[ -n "$D" ] && rm -rf "$D" && D=
find || { say absent; fail; }
n=0; h=-
if [ -n "$H" ] || [ "$Y" = 0 ]; then set -- $(ls -lnd "$A"); n=${5:-0}; fi
case $H in *" $n:"*)
set -- $(sha256sum "$A" 2>/dev/null) -
case $H in *" $n:$1 "*) h=$1;; esac;;
esac
echo "@$R reading $n $h $A"
if [ $h != - ]; then say "read 0"
elif [ "$Y" = 0 ]; then cat "$A"; say "read $?"
else cat >/dev/null; say "read 0"; fi
fin
say "boot $B"
say end
"""

# It goes on where the host no longer waits for it: adbd hangs up on a shell whose connection is gone.
_SWEEP = """\
trap '' HUP INT TERM
i=0
while [ -n "$W" ] && [ $i -lt 50 ]; do
w=; for f in "$K"/*.$W; do [ -e "$f" ] && alive "$f" && w=1; done
[ -n "$w" ] || break
i=$((i+1)); sleep 0.1 2>/dev/null || sleep 1
done
sweep; unload; rmdir "$K" 2>/dev/null
[ -d "$K" ] && for f in "$K"/*; do say "left ${f##*/}"; done
say end
"""


def read_script(
    *,
    run: str,
    work: PurePosixPath,
    module: PurePosixPath | None = None,
    module_bytes: int = 0,
    known: Iterable[tuple[int, str]] = (),
    elsewhere: bool = False,
) -> str:
    """The script that writes a header line and the archive to stdout, and its events to stderr.

    The header is ``@RUN reading SIZE SHA256 PATH``.  SHA256 is ``-`` and the archive follows, or it is that
    of one of the `known` archives and nothing follows.  With `elsewhere` the archive does not follow either:
    the script keeps it there until its stdin ends, and SIZE is 0 unless something is `known`.

    Events are lines ``@RUN event …``: ``nolease TEXT``, ``short GOT WANTED``, ``before LINE`` (the kernel
    log's last one before a load), ``loaded``, ``refused CODE`` followed by ``text …`` and ``log …`` lines,
    ``absent``, ``read CODE``, ``kept``, ``unloaded``, ``stuck TEXT``, ``boot BOOT_ID``, and last ``end``.

    Args:
        run: names this run; letters and digits only.
        work: the tool's folder on the device.
        module: a kheaders.ko on the device to load if the archive is not there, or None.
        module_bytes: the size of a kheaders.ko that comes through stdin; 0 if none does.
        known: size and sha256 of archives that need not be sent again.
        elsewhere: the archive is read over another connection; not with a module through stdin.
    """
    assert not (elsewhere and module_bytes), "stdin cannot bring a module and stay open"
    values = {"Y": int(elsewhere), "H": "".join(f" {size}:{sha256} " for size, sha256 in known)}
    return _head(run, work, M=module or "", N=module_bytes, **values) + _READ


def sweep_script(*, run: str, work: PurePosixPath, wait_for: str = "") -> str:
    """The script that removes what dead runs left behind, a module they loaded included.

    Events: ``kept``, ``unloaded``, ``stuck TEXT``, ``left NAME``, ``end``.

    Args:
        run: names this run.
        work: the tool's folder on the device.
        wait_for: a run whose own cleaning is awaited first, for at most about five seconds; or empty.
    """
    return _head(run, work, W=wait_for) + _SWEEP


def _head(run: str, work: PurePosixPath, **more: object) -> str:
    """The scripts' variables, each value quoted, and their common functions."""
    values = {"R": run, "K": work, "ARCHIVES": " ".join(map(str, ARCHIVE_PATHS)), **more}
    return "".join(f"{name}={quote(str(value))}\n" for name, value in values.items()) + _LIBRARY
