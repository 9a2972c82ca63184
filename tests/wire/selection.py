"""Which device a request is about, and adb's words where that is none or several."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .devices import Device, State

_UNAUTHORIZED = (
    "device unauthorized.\n"
    "This adb server's $ADB_VENDOR_KEYS is not set\n"
    "Try 'adb kill-server' if that seems wrong.\n"
    "Otherwise check for a confirmation dialog on your device."
)
_NO_PERMISSIONS = (
    "insufficient permissions for device: missing udev rules? user is in the plugdev group;"
    " are your udev rules wrong?\n"
    "See [http://developer.android.com/tools/device.html] for more information"
)
# parse_host_service(): a serial may itself hold a colon, as every HOST:PORT and every devpath does.
_SERIAL = re.compile(
    r"host-serial:((?:usb|product|model|device):[^:]*|(?:\[[^]]*\]|[^:]+)(?::\d+)?):(.*)", re.DOTALL
)


class Wanted:
    """Which device a request is about."""

    def __init__(
        self, serial: str | None = None, transport_id: int | None = None, usb: bool | None = None
    ) -> None:
        self.serial = serial
        self.transport_id = transport_id
        self.usb = usb

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wanted) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, how: str) -> Wanted:
        """From "usb", "local", "any", "serial:S" or "transport-id:N"."""
        kind, _, value = how.partition(":")
        match kind:
            case "serial":
                return cls(serial=value)
            case "transport-id":
                return cls(transport_id=int(value) if value.isdecimal() else -1)
            case "usb":
                return cls(usb=True)
            case "local":
                return cls(usb=False)
            case _:
                return cls()

    def takes(self, device: Device) -> bool:
        """Whether this may be the device."""
        if self.transport_id is not None:
            return device.transport_id == self.transport_id
        if device.state is State.NO_PERMISSIONS:
            return False
        if self.serial is not None:
            # atransport::MatchesTarget(): a place or a name will do as well.
            return self.serial in (
                device.serial,
                *((device.devpath,) if device.usb else ()),
                "product:fake",
                "model:Fake",
                "device:fake",
            )
        return self.usb is None or device.usb == self.usb

    def not_found(self) -> str:
        """adb's words when there is none."""
        if self.transport_id is not None:
            return f"no device with transport id '{self.transport_id}'"
        if self.serial is not None:
            return f"device '{self.serial}' not found"
        return {
            None: "no devices/emulators found",
            True: "no devices found",
            False: "no emulators found",
        }[self.usb]

    def several(self) -> str:
        """adb's words when there are several."""
        if self.serial is not None:
            return f"more than one device with serial {self.serial}"
        return {
            None: "more than one device/emulator",
            True: "more than one USB device",
            False: "more than one emulator",
        }[self.usb]


def acquire(devices: Iterable[Device], wanted: Wanted, *, any_state: bool = False) -> Device | str:
    """acquire_one_transport() in transport.cpp: a device, or the text of the failure."""
    present = [device for device in devices if device.present]
    found = [device for device in present if wanted.takes(device)]
    if not found:
        if any(device.state is State.NO_PERMISSIONS for device in present):
            return _NO_PERMISSIONS
        return wanted.not_found()
    if len(found) > 1:
        return wanted.several()
    device = found[0]
    if any_state:
        return device
    match device.state:
        case State.UNAUTHORIZED:
            return _UNAUTHORIZED
        case State.AUTHORIZING:
            return "device still authorizing"
        case State.CONNECTING:
            return "device still connecting"
        case State.OFFLINE:
            return "device offline"
        case State.NO_PERMISSIONS:
            return _NO_PERMISSIONS
        case _:
            return device


def split_request(request: str) -> tuple[Wanted, str]:
    """A host request as the device it is about and the service."""
    if request.startswith("host:"):
        return Wanted(), request.removeprefix("host:")
    if match := re.fullmatch(r"host-(usb|local):(.*)", request, re.DOTALL):
        return Wanted.of(match[1]), match[2]
    if match := re.fullmatch(r"host-transport-id:([^:]*):(.*)", request, re.DOTALL):
        return Wanted.of(f"transport-id:{match[1]}"), match[2]
    if match := _SERIAL.fullmatch(request):
        return Wanted(serial=match[1]), match[2]
    return Wanted(), request
