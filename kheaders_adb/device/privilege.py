"""Becoming root on a device: by su in its dialects, or by restarting adbd as root, undone afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from kheaders_adb.adb.select import USABLE_STATES, DeviceEntry
from kheaders_adb.device.device import Device, SuDialect
from kheaders_adb.device.probe import Probe, ProbeFailedError, probe
from kheaders_adb.errors import (
    DeadlineError,
    KheadersError,
    OfflineError,
    PrivilegeError,
    TransferError,
)
from kheaders_adb.model import Privilege
from kheaders_adb.untrusted.text import one_line

SU_WAIT_S = 20.0
"""How long a su may take to answer: somebody may have to find the phone and touch its dialog."""
_DIALOG_NOTE_S = 2.0
_RECONNECT_WAIT_S = 30.0
_SAME_TRANSPORT_GRACE_S = 5.0
"""How long the old connection may stay listed; after that the server reuses transport ids."""
_MAX_ANSWER_BYTES = 4096

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Raised:
    """How a device was left for the body of `raised`.

    Attributes:
        about: the probe, by root if that was to be had.
        refusals: why it was not, way by way; empty if it was.
    """

    about: Probe
    refusals: tuple[str, ...] = ()


@contextmanager
def raised(
    device: Device,
    about: Probe,
    wanted: Privilege,
    *,
    keep_root: bool = False,
    say: Say | None = None,
) -> Iterator[Raised]:
    """Root on `device` for the body of the ``with``, as far as `wanted` allows and the device grants.

    Su comes before ``adb root``, which ends other sessions on the device.  An ``adb root`` made here is
    undone after the body, unless `keep_root`.

    Args:
        about: the probe made so far.
        say: told what is tried and waited for, in sentences.

    Raises:
        PrivilegeError: `wanted` names a way that does not work.
        TransferError, DeadlineError: the connection broke, or the device did not come back.
    """
    say = say or (lambda _: None)
    with ExitStack() as undo:
        yield _raise(device, about, wanted, keep_root, say, undo)


def _raise(
    device: Device, about: Probe, wanted: Privilege, keep_root: bool, say: Say, undo: ExitStack
) -> Raised:
    if about.is_root or wanted is Privilege.NONE:
        return Raised(about)
    refusals: list[str] = []
    if wanted is Privilege.SU or (wanted is Privilege.AUTO and about.has_su):
        undo.callback(setattr, device, "su", None)
        try:
            return Raised(_by_su(device, say))
        except PrivilegeError as error:
            if wanted is Privilege.SU:
                raise
            refusals.append(error.seen)
    elif wanted is Privilege.AUTO:
        refusals.append("there is no su")
    if wanted is Privilege.ADBD or (wanted is Privilege.AUTO and about.debuggable):
        try:
            _restart_adbd(device, "root", say)
        except PrivilegeError as error:
            if wanted is Privilege.ADBD:
                raise
            refusals.append(error.seen)
        else:
            if not keep_root:
                undo.callback(_unroot, device, say)
            return Raised(probe(device))
    elif wanted is Privilege.AUTO:
        refusals.append("adb root is for debuggable builds only")
    return Raised(about, tuple(refusals))


def _by_su(device: Device, say: Say) -> Probe:
    """The probe made by root through su; leaves `device` speaking through the dialect that worked.

    Trying a dialect *is* running the probe in it: one round trip if the first is the right one.
    """
    step = "asking su for root"
    said: list[str] = []
    for dialect in SuDialect:
        device.su = dialect
        note = threading.Timer(
            _DIALOG_NOTE_S,
            say,
            ("waiting for su to answer; a dialog may be open on the device",),
        )
        note.daemon = True
        note.start()
        try:
            about = probe(device, deadline=device.deadline.sooner(SU_WAIT_S))
        except DeadlineError as error:
            device.su = None
            raise PrivilegeError(
                f"su did not answer within {SU_WAIT_S:g} s",
                step=step,
                device=device.serial,
                hint="grant root to the shell in the dialog on the device or in its root manager",
            ) from error
        except ProbeFailedError as error:
            # This su does not speak this dialect, or it refuses; its words tell which.
            said.append(error.said)
            continue
        finally:
            note.cancel()
        if about.is_root:
            return about
        said.append(f"it gave uid {about.uid}")
    device.su = None
    reasons = "; ".join(dict.fromkeys(filter(None, said)))
    raise PrivilegeError(
        f"su gives no root ({reasons or 'it said nothing'})",
        step=step,
        device=device.serial,
        hint="grant root to the shell in the device's root manager, or use --privilege none",
    )


def _restart_adbd(device: Device, user: str, say: Say) -> None:
    """``adb root`` or ``adb unroot``, and wait until the device is back as that user.

    A refused ``adb root`` looks like a success but for its text, and the text of a granted one may be lost
    with the connection that it ends.  So what counts in the end is who the shell then is.
    """
    service, uid = {"root": ("root:", "0"), "shell": ("unroot:", "2000")}[user]
    step = f"restarting adbd as {user}"
    say(f"{device.serial}: {step}; this ends other adb sessions on the device")
    before = device.entry.transport_id
    answer = b""
    # adbd may be gone before it has even accepted the service: "closed".
    with suppress(TransferError), device.open_service(service, step=step) as wire:
        while len(answer) < _MAX_ANSWER_BYTES and (part := wire.read_some()):
            answer += part
    text = one_line(answer.decode("utf-8", "replace"))
    if not answer or "restarting" in text:
        _await_return(device, before, step)
    found = device.run("id -u", step=step).stdout.decode("utf-8", "replace").strip()
    if found != uid:
        raise PrivilegeError(
            f"adbd refused: {text or f'it still runs as uid {found}'}",
            step=step,
            device=device.serial,
            hint="use a userdebug build or a rooted device, or carve: --module kheaders.ko --via carve",
        )


def _await_return(device: Device, old_transport_id: int | None, step: str) -> None:
    deadline = device.deadline.sooner(_RECONNECT_WAIT_S)
    grace_at_s = time.monotonic() + _SAME_TRANSPORT_GRACE_S
    pause_s = 0.05
    while True:
        entries: tuple[DeviceEntry, ...] = ()
        with suppress(DeadlineError):  # said below, with the device and what it was waited for
            entries = device.server.devices(deadline)
        for entry in entries:
            if entry.serial != device.serial or entry.state not in USABLE_STATES:
                continue
            # Until adbd has really gone, the old connection is still listed.
            if entry.transport_id != old_transport_id or time.monotonic() > grace_at_s:
                device.entry = entry
                return
        if deadline.expired:
            raise OfflineError(
                "the device did not come back in time",
                step=step,
                device=device.serial,
                hint="replug it, or `adb connect` to it again",
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.5)


def _unroot(device: Device, say: Say) -> None:
    try:
        _restart_adbd(device, "shell", say)
    except KheadersError as error:
        # The headers are what counts, or the error that is on its way; but say what was left.
        say(f"{device.serial}: adbd still runs as root: {error.seen}; `adb unroot` undoes it")
