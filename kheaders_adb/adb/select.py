"""Which device: adb's own rules for choosing from its listing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kheaders_adb.adb.listing import NO_PERMISSIONS, DeviceEntry
from kheaders_adb.errors import (
    AmbiguousDeviceError,
    DeviceError,
    NoDeviceError,
    OfflineError,
    UnauthorizedError,
    UsageError,
)

USABLE_STATES = frozenset({"device", "recovery"})
"""States in which adbd answers shell commands."""

_QUALIFIERS = ("usb", "product", "model", "device")


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user said about the device, by adb's flags; at most one of the four is set."""

    serial: str | None = None
    usb: bool = False
    tcp: bool = False
    transport_id: int | None = None

    def __post_init__(self) -> None:
        given = [self.serial is not None, self.usb, self.tcp, self.transport_id is not None]
        if sum(given) > 1:
            raise UsageError("-s, -d, -e and -t exclude each other", hint="give one of them")
        if self.serial == "":
            raise UsageError("the serial is empty", hint="give -s a serial of `adb devices`")


def resolve_selection(
    *,
    serial: str | None = None,
    usb: bool = False,
    tcp: bool = False,
    transport_id: int | None = None,
    environ: Mapping[str, str],
) -> Selection:
    """The selection that flags and ``ANDROID_SERIAL`` make: the variable counts only without any flag."""
    if serial is None and not usb and not tcp and transport_id is None:
        serial = environ.get("ANDROID_SERIAL") or None
    return Selection(serial=serial, usb=usb, tcp=tcp, transport_id=transport_id)


def fitting_ones(entries: Sequence[DeviceEntry], selection: Selection) -> list[DeviceEntry]:
    """Every device that `selection` may mean, whatever its state."""
    return [entry for entry in entries if _fits(entry, selection)]


def choose(entries: Sequence[DeviceEntry], selection: Selection) -> DeviceEntry:
    """The one device meant by `selection`, as adb itself would choose.

    Raises:
        NoDeviceError: none fits.
        AmbiguousDeviceError: several fit; the message lists them with the flag that names each.
        UnauthorizedError, OfflineError, DeviceError: the one that fits cannot be used in its state.
    """
    fitting = fitting_ones(entries, selection)
    # As in adb's acquire_one_transport(): a device that this user may not open is never among the choices.
    closed = [entry for entry in fitting if entry.state.startswith(NO_PERMISSIONS)]
    fitting = [entry for entry in fitting if entry not in closed]
    if closed and not fitting:
        check_usable(closed[0])
    if not fitting:
        raise _nothing_fits(entries, selection)
    if len(fitting) > 1:
        serials = [entry.serial for entry in fitting]
        rows = "".join(f"\n    {_flag(entry, serials)}  {_describe(entry)}" for entry in fitting)
        raise AmbiguousDeviceError(
            f"{len(fitting)} devices fit:{rows}",
            step="selecting a device",
            hint="name one with its flag above, or set ANDROID_SERIAL",
        )
    check_usable(fitting[0])
    return fitting[0]


# What such a device is doing must come to its end: a reboot in the middle of an update can leave it without a
# system that boots.
_TO_ANDROID = {
    "bootloader": "start Android from there (`fastboot reboot`), then try again",
    "sideload": "let the update end and boot it into Android, then try again",
    "rescue": "let the rescue end and boot it into Android, then try again",
}


def check_usable(entry: DeviceEntry) -> None:
    """Raise the error that fits the state of `entry`, unless it can be used."""
    if entry.state in USABLE_STATES:
        return
    step = "selecting a device"
    if entry.state in ("unauthorized", "authorizing"):
        raise UnauthorizedError(
            f"the device is {entry.state}: it has not accepted this computer's adb key",
            step=step,
            device=entry.serial,
        )
    if entry.state == "offline":
        raise OfflineError(
            "the device is offline: it is connected but does not answer",
            step=step,
            device=entry.serial,
            hint="unplug and replug it, or run `adb reconnect offline`",
        )
    if entry.state.startswith(NO_PERMISSIONS):
        raise DeviceError(
            f"no permission to open the USB device: {entry.state}",
            step=step,
            device=entry.serial,
            hint="add a udev rule for it (Debian: apt install android-sdk-platform-tools-common)",
        )
    raise OfflineError(
        f"the device is in state {entry.state!r}, in which it has no shell",
        step=step,
        device=entry.serial,
        hint=_TO_ANDROID.get(entry.state, "boot it into Android, then try again"),
    )


def _fits(entry: DeviceEntry, selection: Selection) -> bool:
    if selection.transport_id is not None:
        return entry.transport_id == selection.transport_id
    if selection.usb:
        return entry.is_usb
    if selection.tcp:
        return not entry.is_usb
    if selection.serial is None:
        return True
    # As adb's atransport::MatchesTarget().
    wanted = selection.serial
    if wanted == entry.serial or (not entry.is_usb and _is_at(entry.serial, wanted)):
        return True
    key, _, value = wanted.partition(":")
    return key in _QUALIFIERS and entry.properties.get(key) == value != ""


def _is_at(serial: str, wanted: str) -> bool:
    """Whether `wanted`, ``[tcp:]HOST[:PORT]``, means the device whose serial is ``HOST:PORT``."""
    host, _, port = serial.rpartition(":")
    return host != "" and port.isdecimal() and wanted.removeprefix("tcp:") in (host, serial)


def _nothing_fits(entries: Sequence[DeviceEntry], selection: Selection) -> DeviceError:
    step = "selecting a device"
    if selection.transport_id is not None:
        wanted = f"transport id {selection.transport_id}"
    elif selection.serial is not None:
        wanted = f"serial {selection.serial!r}"
    elif selection.usb:
        wanted = "a USB device"
    elif selection.tcp:
        wanted = "a TCP device or emulator"
    else:
        return NoDeviceError(
            "no device is connected",
            step=step,
            hint="plug one in with USB debugging on, or `adb connect HOST:PORT`; `adb devices` lists them",
        )
    if not entries:
        seen = f"no device is connected, {wanted} was asked for"
    else:
        rows = "".join(f"\n    {entry.serial}  {_describe(entry)}" for entry in entries)
        seen = f"{wanted} was asked for, connected are:{rows}"
    return NoDeviceError(
        seen, step=step, hint="check -s, -d, -e, -t and ANDROID_SERIAL against `adb devices -l`"
    )


def _flag(entry: DeviceEntry, serials: Sequence[str]) -> str:
    # Two units with the same serial (cheap hardware): only the transport id tells them apart; nor can every
    # serial be typed.
    is_plain = entry.serial.isprintable() and serials.count(entry.serial) == 1
    if not is_plain and entry.transport_id is not None:
        return f"-t {entry.transport_id} ({entry.serial})"
    return f"-s {shlex.quote(entry.serial)}"


def _describe(entry: DeviceEntry) -> str:
    words = [entry.state, "usb" if entry.is_usb else "tcp"]
    if entry.model:
        words.append(entry.model)
    return " ".join(words)
