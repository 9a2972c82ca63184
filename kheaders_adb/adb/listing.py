"""What an adb server lists: ``host:devices-l``, and ``host:devices`` where that can be read in several ways.

The long listing has no separator that a serial cannot hold: it is padded to 22 bytes, and a blank follows
(append_transport() in AOSP's transport.cpp).  Serials hold blanks, as of mDNS, which numbers
services of one name: ``adb-X (2)._adb-tls-connect._tcp``.  So lines are read from the right, where the server
writes words of its own.  The short listing has a tab, but neither place nor number.

Serials, and what devices call themselves, are written as they are, line breaks included: then a device has
lines that name others.  So no line is believed for its own sake: `AdbServer.require_named` asks.

Texts are UTF-8 with surrogates in the place of other bytes, so that they compare as the bytes do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NO_PERMISSIONS = "no permissions"
_WIDTH_BYTES = 22
# An empty serial in the list, and when it is asked for.
_NO_SERIAL, _UNKNOWN_SERIAL = "(no serial number)", "unknown"
_STATES = "|".join(
    (
        *(
            "device",
            "offline",
            "bootloader",
            "host",
            "recovery",
            "sideload",
            "rescue",
            "unauthorized",
        ),
        *("authorizing", "connecting", "detached", "unknown", "any"),
        rf"{NO_PERMISSIONS}(?: \(.*?\))?(?:; see \[.*?\])?",
    )
)
_STATE = re.compile(rf"[ \t](?=({_STATES})(?=[ \t]|$))")
# The place has no key on some systems; product and device are as the device says, but for line breaks.
_REST = re.compile(
    r"(?:[ \t]+(?!product:|model:|device:|transport_id:)(?:usb:)?(?P<usb>\S+))?"
    r"(?: product:(?P<product>.*?))?(?: model:(?P<model>\S*))?(?: device:(?P<device>.*?))?"
    r"(?: transport_id:(?P<transport_id>[0-9]+))?[ \t]*"
)
_KEYS = ("usb", "product", "model", "device")


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One line of ``adb devices -l``.

    Attributes:
        serial: the serial, as ``adb -s`` takes it; bytes that are not UTF-8 are surrogates.
        state: "device", "offline", "unauthorized", …
        transport_id: stable for one connection of the device; None from very old servers.
        properties: ``usb``, ``product``, ``model``, ``device`` where the server knows them.
    """

    serial: str
    state: str
    transport_id: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_usb(self) -> bool:
        """Whether it hangs on USB; everything else is TCP, an emulator among them."""
        return "usb" in self.properties

    @property
    def model(self) -> str | None:
        """The model that the server knows, with adb's underscores."""
        return self.properties.get("model") or None


def is_ambiguous(listing: bytes) -> bool:
    """Whether a ``host:devices-l`` answer can be read in more than one way, or none that is known here."""
    return any(len(_readings(line)) != 1 for line in _lines(listing))


def parse_devices(listing: bytes, short: bytes = b"") -> tuple[DeviceEntry, ...]:
    """The entries of a ``host:devices-l`` answer; lines that make no sense are left out.

    Args:
        listing: the answer.
        short: that of ``host:devices``, which decides where a line can be read in several ways.
    """
    lines = _lines(listing)
    pairs = [_pair(line) for line in _lines(short)]
    entries = []
    for number, line in enumerate(lines):
        readings = _readings(line)
        if len(readings) != 1:
            # Both are in the same order, unless a device came or went between the two.
            same = pairs[number : number + 1] if len(pairs) == len(lines) else []
            told = [entry for pair in same if (entry := _as_told(line, *pair))]
            # Else the longest: others fit any line that begins with them.
            told += sorted(
                (entry for pair in pairs if (entry := _as_told(line, *pair))),
                key=lambda entry: -len(entry.serial),
            )
            readings = told[:1] or readings[-1:] or _guessed(line)
        entries += readings
    return tuple(entries)


def is_serial_of(entry: DeviceEntry, told: str) -> bool:
    """Whether a line is that of the device with this serial; the list pads short ones with blanks."""
    listed = told.rstrip(" \t") if len(_raw(told)) <= _WIDTH_BYTES else told
    return entry.serial in (told, listed) or (entry.serial, told) == (_NO_SERIAL, _UNKNOWN_SERIAL)


def _lines(listing: bytes) -> list[str]:
    text = listing.decode("utf-8", "surrogateescape")
    return [line for line in text.split("\n") if line.strip(" \t\r")]


def _pair(line: str) -> tuple[str, str]:
    serial, _, state = line.rpartition("\t")
    return serial, state


def _readings(line: str) -> list[DeviceEntry]:
    """Each way in which the server may have come to write this line, from left to right."""
    found = [
        (len(_raw(head)), entry)
        for match in _STATE.finditer(line)
        if (head := line[: match.start()]).strip(" \t")
        and (entry := _entry(head, match[1], line[match.end() + len(match[1]) :]))
    ]
    padded = [entry for size, entry in found if size >= _WIDTH_BYTES]
    # Servers other than AOSP's do not pad.
    return padded or [entry for _, entry in found]


def _entry(head: str, state: str, rest: str) -> DeviceEntry | None:
    parsed = _REST.fullmatch(rest)
    if parsed is None:
        return None
    serial = head if len(_raw(head)) > _WIDTH_BYTES else head.rstrip(" \t")
    number = parsed["transport_id"] or ""
    return DeviceEntry(
        serial,
        state,
        int(number) if re.fullmatch("[0-9]{1,20}", number) else None,
        {key: parsed[key] for key in _KEYS if parsed[key] is not None},
    )


def _as_told(line: str, serial: str, state: str) -> DeviceEntry | None:
    """The line as one of this serial in this state; None if it cannot be."""
    padding = " " * (_WIDTH_BYTES - len(_raw(serial)))
    head = f"{serial}{padding} {state}"
    if not serial or not line.startswith(head):
        return None
    entry = _entry(serial, state, line[len(head) :])
    return entry and DeviceEntry(serial, state, entry.transport_id, entry.properties)


def _guessed(line: str) -> list[DeviceEntry]:
    """The line with a state that is not known here: the last word before the properties."""
    at = re.search(r"(?<=\S)[ \t]+(\S+)(?=(?: \S+:| *$))", line)
    if at is None:
        return []
    entry = _entry(line[: at.start()], at[1], line[at.end() :])
    return [] if entry is None else [entry]


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
