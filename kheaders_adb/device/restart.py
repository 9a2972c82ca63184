"""``adb root`` for a while: adbd restarted as root, and as the shell's user again afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.device.device import Device
from kheaders_adb.device.peer import await_user
from kheaders_adb.errors import KheadersError, OfflineError, PrivilegeError, TransferError
from kheaders_adb.untrusted.text import one_line

Say = Callable[[str], None]

UNDO_S = 10.0
"""How long undoing may take; it is not skipped when the time for the rest is over."""
_ROOT, _SHELL = 0, 2000
_RECONNECT_WAIT_S = 30.0
_SILENT_WAIT_S = 10.0
"""How long is waited for a restart that nothing was said of: the answer may be lost with the connection."""
_MAX_ANSWER_BYTES = 4096


@contextmanager
def adbd_as_root(device: Device, *, keep_root: bool, say: Say) -> Iterator[None]:
    """adbd as root for the body of the ``with``; undone afterwards, also on errors and signals.

    Args:
        keep_root: leave it as root.
        say: told what is done, in sentences.

    What will be done is said before it is done, and what could not be undone is said as well.

    Raises:
        PrivilegeError: adbd refused.
        OfflineError: the device did not come back in time.
        TransferError, DeadlineError: the connection broke.
    """
    step = "restarting adbd as root"
    asked = False
    try:
        say(f"{device.serial}: {step}; this ends other adb sessions on the device")
        asked = True
        refusal = _restart(device, "root:", _ROOT, step, device.deadline)
        if refusal is not None:
            asked = False  # it never left: there is nothing to undo
            raise PrivilegeError(
                f"adbd refused: {refusal}",
                step=step,
                device=device.serial,
                hint="only userdebug and eng builds grant that; leave out --privilege adbd, so that su is "
                "tried",
            )
        yield
    finally:
        if asked and not keep_root:
            _undo(device, say)


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


def _undo(device: Device, say: Say) -> None:
    # The time for the rest may be over; and what ended the body may have come while adbd was away.
    device.deadline = Deadline.after(UNDO_S)
    answer = await_user(device, _ROOT, (), Deadline.after(UNDO_S / 2))
    if answer.uid == _SHELL:
        say(
            f"{device.serial}: adbd was asked to restart as root and has not done so yet; if it does, "
            f"`adb unroot` undoes it"
        )
        return
    unroot(device, say)


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
    if found.uid is None and (granted or not text):
        raise OfflineError(
            "the device did not come back in time",
            step=step,
            device=device.serial,
            hint="replug it, or `adb connect` to it again",
        )
    return text or f"it still runs as uid {found.uid}"
