"""kheaders.ko on the device: loading it, reading the archive, and putting everything back.

One script on the device owns the whole life of a load.  It alone survives what can happen to the host's
side (a pulled cable, a killed process): its output breaks, and it unloads and cleans up by itself.

Everything lies in a folder of the user's (root's and the shell's are two, as neither may write into the
other's), by names that say who made them::

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

import secrets
from collections.abc import Iterable
from pathlib import PurePosixPath

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.device.device import Device
from kheaders_adb.device.outcome import Events
from kheaders_adb.device.probe import ARCHIVE_PATHS, Probe
from kheaders_adb.device.script import compose
from kheaders_adb.errors import KheadersError

MAX_KNOWN = 1
"""How many known archives a request names: each takes 75 of its bytes, and seldom two are of one size."""

_SWEEP_TIMEOUT_S = 10.0
_SWEEP_OVERTIME_S = 1.5
"""What cleaning up may take when the deadline is over already."""


def read_script(
    *,
    run: str,
    work: PurePosixPath,
    boot_id: str | None = None,
    module: PurePosixPath | None = None,
    module_sha256: str = "",
    payload_bytes: int = 0,
    known: Iterable[tuple[int, str]] = (),
    beside: bool = False,
) -> str:
    """The script that writes a header line and the archive to stdout, and its events to stderr.

    The header is ``@RUN reading SIZE SHA256 PATH``.  SHA256 is ``-`` and the archive follows, or it is that
    of one of the `known` archives and nothing follows.  With `beside` the archive does not follow either:
    the script keeps it there until its stdin ends, and SIZE is 0 unless something is `known`.

    Events are lines ``@RUN event …``: ``elsewhere BOOT_ID`` (alone: nothing was done), ``nolease TEXT``,
    ``short GOT WANTED``, ``nomark TEXT``, ``before LINE`` (of the kernel log's last ones before a load, where
    no mark of this run could be written into it), ``loaded``, ``refused CODE`` followed by ``text …`` and
    ``log …`` lines, ``absent``, ``read CODE``, ``kept``, ``unloaded``, ``stuck TEXT``, ``boot BOOT_ID``, and
    last ``end``.

    Args:
        run: names this run; letters and digits only.
        work: the user's folder of this tool on the device.
        boot_id: the boot that is meant; any other does nothing.
        module: a kheaders.ko on the device to load if the archive is not there, or None.
        module_sha256: what the module, here or there, must be where the device can tell; or empty.
        payload_bytes: the size of a kheaders.ko that comes through stdin; 0 if none does.
        known: size and sha256 of archives that need not be sent again; the first few count.
        beside: the archive is read over another connection; not with a module through stdin.
    """
    assert not (beside and payload_bytes), "stdin cannot bring a module and stay open"
    loads = module is not None or payload_bytes > 0
    parts = ("put",) * (payload_bytes > 0) + ("load",) * loads
    return compose(
        *("common", "lease", *parts, "read"),
        RUN=run,
        WORK=work,
        BOOT=boot_id or "",
        ARCHIVES=" ".join(map(str, ARCHIVE_PATHS)),
        MODULE=module or "",
        **({"SHA256": module_sha256} if loads else {}),
        PAYLOAD=payload_bytes,
        KNOWN="".join(f" {size}:{sha256} " for size, sha256 in [*known][:MAX_KNOWN]),
        BESIDE=int(beside),
    )


def sweep_script(
    *, run: str, work: PurePosixPath, boot_id: str | None = None, wait_for: str = ""
) -> str:
    """The script that removes what dead runs left behind, a module they loaded included.

    Events: ``elsewhere BOOT_ID``, ``kept``, ``unloaded``, ``stuck TEXT``, ``left NAME``, ``end``.

    Args:
        run: names this run.
        work: the user's folder of this tool on the device.
        boot_id: the boot that is meant; in any other nothing is done.
        wait_for: a run whose own cleaning is awaited first, for at most about five seconds; or empty.
    """
    return compose("common", "sweep", RUN=run, WORK=work, BOOT=boot_id or "", WAIT=wait_for)


def sweep(device: Device, work: PurePosixPath, *, wait_for: str = "") -> tuple[str, ...]:
    """Remove what dead runs left on the device; report in sentences what could not be removed.

    Never raises one of this package's errors: it runs while another is on its way.

    Args:
        work: the tool's folder on the device.
        wait_for: a run whose own cleaning is awaited first.
    """
    run = secrets.token_hex(8)
    step = "cleaning up on the device"
    timeout_s = max(_SWEEP_OVERTIME_S, min(_SWEEP_TIMEOUT_S, device.deadline.remaining_s))
    deadline = Deadline.after(timeout_s)
    try:
        result = device.run(
            sweep_script(run=run, work=work, boot_id=device.boot_id, wait_for=wait_for),
            step=step,
            deadline=deadline,
        )
    except KheadersError as error:
        return (f"could not see whether the device cleaned up after itself ({error.seen})",)
    return Events.parse(result.stderr, run).notes


def sweep_all(device: Device, about: Probe) -> tuple[str, ...]:
    """Remove what killed runs of the probe's own user left; as `sweep`."""
    folders = dict.fromkeys(PurePosixPath(path).parent for path in about.leftovers)
    mine = [work for work in folders if work in about.works]
    return tuple(note for work in mine for note in sweep(device, work))
