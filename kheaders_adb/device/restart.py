"""``adb root`` for a while: adbd restarted as root, and as the shell's user again afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.device.device import Device
from kheaders_adb.device.peer import await_user
from kheaders_adb.errors import (
    KheadersError,
    OfflineError,
    PrivilegeError,
    StoreError,
    TransferError,
)
from kheaders_adb.store.changes import ChangeKind, Changes, Claim
from kheaders_adb.untrusted.text import one_line

Say = Callable[[str], None]

UNDO_S = 10.0
"""How long undoing may take; it is not skipped when the time for the rest is over."""
_ROOT, _SHELL = 0, 2000
_RECONNECT_WAIT_S = 30.0
_SILENT_WAIT_S = 10.0
"""How long is waited for a restart that nothing was said of: the answer may be lost with the connection."""
_MAX_ANSWER_BYTES = 4096
_BY_BUILD = (
    "only userdebug and eng builds grant that; leave out --privilege adbd, so that su is tried"
)
_BY_SETTING = "switch it on in the device's settings: Developer options, Rooted debugging"


@contextmanager
def adbd_as_root(
    device: Device, *, keep_root: bool, announce: Say, changes: Changes
) -> Iterator[None]:
    """adbd as root for the body of the ``with``; undone afterwards, also on errors and signals.

    Args:
        keep_root: leave it as root.
        announce: told what is done, in sentences.
        changes: where it is noted, so that it can be undone after a run that was killed.

    What will be done is said and noted before it is done, and what could not be undone is said as well.  Of
    several runs of this host that rely on it, the last one undoes it.

    Raises:
        PrivilegeError: adbd refused.
        OfflineError: the device did not come back in time.
        TransferError, DeadlineError: the connection broke.
    """
    step = "restarting adbd as root"
    asked = False
    claim = None if keep_root else _noted(device, announce, changes)
    try:
        announce(
            f"{device.serial}: {step}; this ends other adb sessions on the device"
            + ("" if keep_root else ", and is undone afterwards")
        )
        asked = True
        refusal = _restart(device, "root:", _ROOT, step, device.deadline)
        if refusal is not None:
            asked = False  # it never left: there is nothing to undo
            if claim is not None and claim.is_last():
                claim.settle()
            raise PrivilegeError(
                f"adbd refused: {refusal}",
                step=step,
                device=device.serial,
                hint=_BY_SETTING if "settings" in refusal.lower() else _BY_BUILD,
            )
        yield
    finally:
        try:
            if asked and not keep_root:
                _undo(device, announce, claim)
        finally:
            if claim is not None:
                claim.close()


@contextmanager
def root_of_others(
    device: Device, *, keep_root: bool, announce: Say, changes: Changes
) -> Iterator[bool]:
    """Rely, for the body of the ``with``, on another living run's ``adb root``, if that is why adbd is root.

    Whichever run ends last undoes it.

    Args:
        keep_root: have it stay.
        announce, changes: as for `adbd_as_root`.

    Yields:
        Whether adbd still is root: the other run may have been undoing it just now, and then this has waited
        for that, and for the device to come back.
    """
    who = (device.serial, device.boot_id, ChangeKind.ADBD_ROOT)
    claim: Claim | None = None
    with suppress(StoreError):  # then it is nobody's whose end can be awaited
        claim = changes.join(*who)
    try:
        if keep_root:
            changes.forget(*who)
        if claim is not None and claim.is_void and not keep_root:
            await_user(device, _SHELL, (), device.deadline.sooner(UNDO_S))
            yield False
        else:
            yield True
    finally:
        if claim is not None:
            try:
                if not keep_root and not claim.is_void:
                    _undo(device, announce, claim)
            finally:
                claim.close()


def unroot(device: Device, say: Say) -> bool:
    """Let adbd run as the shell's user again, within `UNDO_S` seconds; says why where that fails.

    Never raises one of this package's errors: it runs while another is on its way.
    """
    step = "restarting adbd as the shell's user"
    deadline = Deadline.after(UNDO_S)
    say(f"{device.serial}: {step}; this ends other adb sessions on the device")
    try:
        refusal = _restart(device, "unroot:", _SHELL, step, deadline)
    except KheadersError as error:
        refusal = error.seen
    if refusal is not None:
        say(f"{device.serial}: adbd may still run as root ({refusal}); `adb unroot` undoes it")
    return refusal is None


def _noted(device: Device, announce: Say, changes: Changes) -> Claim | None:
    try:
        return changes.begin(device.serial, device.boot_id, ChangeKind.ADBD_ROOT, device.place)
    except StoreError as error:
        announce(
            f"{device.serial}: if this run is killed, no later one will know of its `adb root`: {error.seen}"
        )
        return None


def _undo(device: Device, say: Say, claim: Claim | None) -> None:
    try:
        _undo_once(device, say, claim)
    except BaseException:
        # A signal that comes while this goes on ends the run, but not before it is undone.
        if claim is None or not claim.is_settled:
            _undo_once(device, say, claim)
        raise


def _undo_once(device: Device, say: Say, claim: Claim | None) -> None:
    # The time for the rest may be over; and what ended the body may have come while adbd was away.
    device.deadline = Deadline.after(UNDO_S)
    if claim is not None and not claim.is_last():
        say(
            f"{device.serial}: adbd stays root: another run relies on it and undoes it, or one was to keep it"
        )
        return
    answer = await_user(device, _ROOT, (), Deadline.after(UNDO_S / 2))
    if answer.uid == _SHELL:
        say(
            f"{device.serial}: adbd was asked to restart as root and has not done so yet; if it does, "
            f"`adb unroot` undoes it"
        )
        return
    if unroot(device, say) and claim is not None:
        claim.settle()


def _restart(device: Device, service: str, uid: int, step: str, deadline: Deadline) -> str | None:
    """Ask for a restart and wait until the device is back as that user; returns why it is not.

    A refused ``adb root`` looks like a success but for its text, and the text of a granted one may be lost
    with the connection that it ends.  So what counts in the end is who the shell then is.

    Raises:
        OfflineError: the device did not come back.
    """
    known = {entry.transport_id for entry in device.server.devices(deadline)}
    answer = b""
    # adbd may be gone before it has even accepted the service: "closed".
    with (
        suppress(TransferError),
        device.open_service(service, step=step, deadline=deadline) as wire,
    ):
        while len(answer) < _MAX_ANSWER_BYTES and (part := wire.read_some()):
            answer += part
    text = one_line(answer.decode("utf-8", "replace"))
    granted = "restarting" in text
    wait_s = _RECONNECT_WAIT_S if granted else 0.0 if text else _SILENT_WAIT_S
    found = await_user(device, uid, known, deadline.sooner(wait_s))
    if found.uid == uid:
        return None
    if granted and found.uid is not None:
        raise PrivilegeError(
            f"adbd said that it restarts, and has not done so within {wait_s:g} s",
            step=step,
            device=device.serial,
            hint="see whether it still does; `adb unroot` undoes it",
        )
    if found.uid is None and (granted or not text):
        raise OfflineError(
            "the device did not come back in time",
            step=step,
            device=device.serial,
            hint="replug it, or `adb connect` to it again",
        )
    return text or f"it still runs as uid {found.uid}"
