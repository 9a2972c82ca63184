"""What runs that were killed have left changed on devices: telling of it, and undoing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device
from kheaders_adb.device.lease import sweep_all
from kheaders_adb.device.peer import confirm
from kheaders_adb.device.privilege import raised
from kheaders_adb.device.probe import Probe, probe
from kheaders_adb.device.restart import unroot
from kheaders_adb.errors import KheadersError, NoDeviceError, PrivilegeError, TransferError
from kheaders_adb.model import Privilege
from kheaders_adb.store.changes import Change, ChangeKind, Changes

Say = Callable[[str], None]

_STEP = "undoing what a killed run has left"


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of one change.

    Attributes:
        change: the change.
        seen: how it is now, in words; None with an error.
        error: why it is not undone; None if it is.
    """

    change: Change
    seen: str | None = None
    error: KheadersError | None = None


def describe(change: Change) -> str:
    """What a run has left, as a sentence's end: "left … "."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(change.since))
    what = {
        ChangeKind.ADBD_ROOT: "adbd running as root",
        ChangeKind.MODULE: "kheaders loaded, or files of its own",
    }[change.kind]
    return f"a run of {since} ended without cleaning up and may have left {what}"


def tell_left(changes: Changes, device: Device, about: Probe) -> Iterator[str]:
    """What killed runs have left on a device that was just probed, in sentences.

    What is seen to be over (a reboot undoes all of it) is forgotten.

    Raises:
        StoreError: nobody can tell.
    """
    serial = device.serial
    for change in changes.left(serial):
        if change.boot_id != about.identity.boot_id and change.place not in (None, device.place):
            continue  # another unit of this serial
        if _is_over(change, about):
            with changes.undoing(change) as claim:
                if claim is not None:
                    claim.settle()
        else:
            yield f"{serial}: {describe(change)}; `kheaders-adb doctor --undo` undoes that"


def undo(
    server: AdbServer, changes: Changes, serial: str | None, deadline: Deadline, say: Say
) -> Iterator[Undone]:
    """Undo what killed runs have left, on one device or on all.

    Args:
        server: where the devices hang.
        changes: the notes of the store.
        serial: the device; None for all.
        deadline: bounds each of them together.
        say: told what is done, in sentences.

    Yields:
        What became of each; a device that cannot be reached does not hide another.
    """
    # The module first: it may take the root that is given back then.
    for change in sorted(changes.left(serial), key=lambda item: item.kind, reverse=True):
        with changes.undoing(change) as claim:
            if claim is None:
                continue
            try:
                device = Device.select(server, _unit(server, change, deadline), deadline)
                about = probe(device)
                confirm(device)
                if _is_over(change, about):
                    seen = "nothing is left of it"
                elif change.kind is ChangeKind.MODULE:
                    seen = _swept(device, about, changes, say)
                else:
                    seen = _unrooted(device, say)
            except KheadersError as error:
                yield Undone(change, error=error)
            else:
                claim.settle()
                yield Undone(change, seen)


def _unit(server: AdbServer, change: Change, deadline: Deadline) -> Selection:
    """The unit that was changed, where the server lists it; never one that is merely called so."""
    alike = [entry for entry in server.devices(deadline) if entry.serial == change.serial]
    entry = next(
        (entry for entry in alike if entry.properties.get("usb") in (change.place, None)),
        alike[0] if len(alike) == 1 else None,
    )
    if entry is None:
        raise NoDeviceError(
            f"{change.serial!r} is not connected" + (f" at usb:{change.place}" if alike else ""),
            step=_STEP,
            hint="connect it and try again; a reboot of the device undoes it as well",
        )
    return (
        Selection(serial=entry.serial)
        if entry.transport_id is None
        else Selection(transport_id=entry.transport_id)
    )


def _is_over(change: Change, about: Probe) -> bool:
    if change.boot_id != about.identity.boot_id:
        return True
    if change.kind is ChangeKind.ADBD_ROOT:
        return not about.is_root
    return not about.leftovers  # a module that a run has loaded is marked there


def _swept(device: Device, about: Probe, changes: Changes, say: Say) -> str:
    left = sweep_all(device, about)
    about = probe(device)
    if about.leftovers:
        with raised(device, about, Privilege.AUTO, changes=changes, say=say, announce=say) as root:
            left = sweep_all(device, root.about)
            about = probe(device)
        if about.leftovers and root.refusals:
            raise PrivilegeError(
                f"what is left is root's, and there is no root: {'; '.join(root.refusals)}",
                step=_STEP,
                device=device.serial,
                hint="allow the shell in the app that manages root; a reboot undoes it as well",
            )
    if about.leftovers:
        raise TransferError(
            "; ".join(left) or f"still there: {', '.join(about.leftovers)}",
            step=_STEP,
            device=device.serial,
            hint="does another run use it now? a reboot undoes it",
        )
    return "what it had left is removed"


def _unrooted(device: Device, say: Say) -> str:
    said: list[str] = []
    if not unroot(device, said.append):
        raise TransferError(
            said[-1], step=_STEP, device=device.serial, hint="try again; a reboot undoes it as well"
        )
    for line in said:
        say(line)
    return "adbd runs as the shell's user again"
