"""Becoming root on a device: by su, or by restarting adbd as root, undone afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from kheaders_adb.adb.select import USABLE_STATES, DeviceEntry
from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import Probe, probe
from kheaders_adb.device.su import SuCommand
from kheaders_adb.device.superuser import Say, become_root, name_managers
from kheaders_adb.errors import (
    DeadlineError,
    KheadersError,
    OfflineError,
    PrivilegeError,
    TransferError,
)
from kheaders_adb.model import Privilege
from kheaders_adb.untrusted.text import one_line

_RECONNECT_WAIT_S = 30.0
_SAME_TRANSPORT_GRACE_S = 5.0
"""How long the old connection may stay listed; after that the server reuses transport ids."""
_MAX_ANSWER_BYTES = 4096


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
    su: SuCommand | None = None,
    keep_root: bool = False,
    say: Say | None = None,
) -> Iterator[Raised]:
    """Root on `device` for the body of the ``with``, as far as `wanted` allows and the device grants.

    Su comes before ``adb root``, which ends other sessions on the device.  An ``adb root`` made here is
    undone after the body, unless `keep_root`.

    Args:
        about: the probe made so far.
        su: the only su to try, whether the probe saw it or not; None for the one that it saw.
        say: told what is tried and waited for, in sentences.

    Raises:
        PrivilegeError: `wanted` names a way that does not work.
        TransferError, DeadlineError: the connection broke, or the device did not come back.
    """
    say = say or (lambda _: None)
    with ExitStack() as undo:
        root: Raised | None = None
        try:
            root = _raise(device, about, wanted, su, keep_root, say, undo)
            yield root
        except PrivilegeError as error:
            # Where a su was looked for in vain; adbd's refusal, if only that was wanted, is another matter.
            if wanted in (Privilege.AUTO, Privilege.SU) and (root is None or root.refusals):
                name_managers(error, device, su or SuCommand())
            raise


def _raise(
    device: Device,
    about: Probe,
    wanted: Privilege,
    su: SuCommand | None,
    keep_root: bool,
    say: Say,
    undo: ExitStack,
) -> Raised:
    if about.is_root or wanted is Privilege.NONE:
        return Raised(about)
    refusals: list[str] = []
    if wanted is Privilege.SU or (wanted is Privilege.AUTO and (about.has_su or su is not None)):
        undo.callback(setattr, device, "su", None)
        try:
            return Raised(become_root(device, su or SuCommand(), say))
        except PrivilegeError as error:
            if wanted is Privilege.SU:
                raise
            refusals.append(error.seen)
    elif wanted is Privilege.AUTO:
        refusals.append("this shell sees no su")
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
            hint="only userdebug and eng builds grant that; leave out --privilege adbd, so that su is tried",
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
