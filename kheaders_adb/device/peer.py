"""Whom a connection reaches: the unit that was chosen, in the boot that was probed, or another one.

A serial does not say it (two units may have the same one), nor does a transport id (a server that was
restarted gives them out anew).  What does: the serial and the place where the unit is plugged in, as the
server lists them, and the boot_id, which no two boots share.  `Device` carries all three; scripts compare the
boot_id themselves before they do anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.listing import DeviceEntry
from kheaders_adb.adb.select import USABLE_STATES
from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import parse_boot_id
from kheaders_adb.errors import DeviceChangedError, KheadersError

_WHO = "read -r b </proc/sys/kernel/random/boot_id; echo $b; id -u"
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered on a connection: the boot that it runs in and the user that its shell is."""

    boot_id: str | None
    uid: int | None


def is_same_unit(entry: DeviceEntry, chosen: DeviceEntry) -> bool:
    """Whether two lines of the server's list may mean one unit: serial and place agree."""
    return entry.serial == chosen.serial and entry.properties.get("usb") == chosen.properties.get(
        "usb"
    )


def confirm(device: Device) -> None:
    """Make sure that the connection that was probed is still listed as the unit that was chosen.

    Between the choice and the probe the server may have been restarted, which numbers connections anew: then
    another unit has answered.

    Raises:
        DeviceChangedError: it is listed as another one, or not at all any more.
        DeviceError, TransferError: the list is forged, or the server cannot be asked.
    """
    chosen = device.entry
    listed = any(
        entry.transport_id == chosen.transport_id and is_same_unit(entry, chosen)
        for entry in device.server.devices(device.deadline)
    )
    if not listed:
        raise DeviceChangedError(
            "the adb server lists another device, or none, under the connection that was chosen",
            step="probing the device",
            device=device.serial,
            hint="was the adb server restarted, or the device replugged? run the same command again",
        )
    # A line of the list may be forged, and none was where this number was another's before.
    device.server.require_named(chosen, device.deadline)


def await_user(device: Device, uid: int, known: Iterable[int | None], deadline: Deadline) -> Answer:
    """Wait until `device` answers as the user `uid`, and let it speak through that connection.

    Args:
        device: the device whose adbd restarts; its entry is the connection before that.
        uid: whom adbd is to be.
        known: the transport ids that were listed before; whatever has one of these was there already.
        deadline: until when to wait.

    Returns:
        The last answer of this very unit, in this very boot; another uid, or none, if time ran out.
    """
    before, pause_s = device.entry, 0.05
    old = set(known) - {before.transport_id}
    last = Answer(None, None)
    while True:
        entries: tuple[DeviceEntry, ...] = ()
        with suppress(KheadersError):  # the server may be restarting as well; time runs out at last
            entries = device.server.devices(deadline)
        for entry in entries:
            if (
                entry.state in USABLE_STATES
                and is_same_unit(entry, before)
                and (entry.transport_id not in old or entry.transport_id is None)
            ):
                answer = _ask(device, entry, deadline)
                if answer is None or device.boot_id not in (None, answer.boot_id):
                    continue
                last = answer
                if answer.uid == uid:
                    device.entry = entry
                    return answer
        if deadline.expired:
            return last
        time.sleep(min(pause_s, max(deadline.remaining_s, 0.001)))
        pause_s = min(2 * pause_s, 0.5)


def _ask(device: Device, entry: DeviceEntry, deadline: Deadline) -> Answer | None:
    there = replace(device, entry=entry, su=None)
    try:
        device.server.require_named(entry, deadline)
        result = there.run(_WHO, step="seeing who answers", deadline=deadline.sooner(_ANSWER_S))
    except KheadersError:
        return None  # it is going, or not yet there
    finally:
        device.round_trips = there.round_trips
    boot_id, _, uid = result.stdout.decode("utf-8", "replace").partition("\n")
    uid = uid.strip()
    return Answer(parse_boot_id(boot_id), int(uid) if uid.isascii() and uid.isdecimal() else None)
