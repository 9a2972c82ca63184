"""The adb server: listing devices, opening services, and having it started where that is safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.listing import (
    DeviceEntry,
    is_ambiguous,
    is_serial_of,
    parse_devices,
)
from kheaders_adb.adb.select import USABLE_STATES
from kheaders_adb.adb.wire import ServerRefusedError, ServiceFailedError, Wire
from kheaders_adb.errors import AdbServerError, DeviceError, TransferError
from kheaders_adb.untrusted.text import printable

_MAX_BLOCK_BYTES = 0xFFFF
_MAX_LISTING_BYTES = 0xFFFFF
"""Of all that five digits can announce: some ten thousand devices."""
_NAMING = "making sure whose connection it is"


@dataclass(frozen=True, slots=True)
class AdbServer:
    """An adb server at an address; holds no connection.

    Attributes:
        address: where it listens.
        start: whether to start one there when nothing listens and the address is local.
        on_start: told, in a sentence, that one is started.
    """

    address: ServerAddress
    start: bool = True
    on_start: Callable[[str], None] | None = field(default=None, compare=False)

    def connect(self, deadline: Deadline, *, device: str | None, step: str) -> Wire:
        """A fresh connection, starting the server first if that is allowed and needed.

        Raises:
            AdbServerError: it cannot be reached or started.
            DeadlineError: no answer in time.
        """
        try:
            return Wire.connect(self.address, deadline, device=device, step=step)
        except ServerRefusedError:
            if not self.start or not self.address.is_local or self.address.path is not None:
                raise
        from kheaders_adb.adb.start import start_server  # what it imports is seldom needed

        return start_server(self.address, deadline, device=device, step=step, say=self.on_start)

    def version(self, deadline: Deadline) -> int:
        """The server's protocol version, as in 41 for "1.0.41"."""
        step = "asking the adb server for its version"
        text = self._asked("host:version", deadline, step)
        try:
            return int(text, 16)
        except ValueError as error:
            raise AdbServerError(f"the server answered {text!r}", step=step) from error

    def _asked(self, service: str, deadline: Deadline, step: str) -> bytes:
        with self.connect(deadline, device=None, step=step) as wire:
            try:
                wire.request(service)
                return wire.read_listing(_MAX_LISTING_BYTES)
            except ServiceFailedError:
                raise
            except TransferError as error:
                # No cable is to blame: an adb server answers this by itself.
                check = (
                    f"check that what listens at {self.address} is an adb server; if it is, it hangs: "
                    "`adb kill-server` ends it, and every adb session on this host with it"
                )
                # A server that had no time to answer need not hang.
                more = "allow more with --timeout; if that does not help, "
                error.hint = f"{more}{check}" if deadline.expired else check
                raise

    def devices(self, deadline: Deadline) -> tuple[DeviceEntry, ...]:
        """Every device that the server knows, in its order.

        Lines that share a serial or a transport id are looked into, and forged ones left out.  A device may
        have written any other line, too: `require_named` before it is believed.

        Raises:
            AdbServerError: the server cannot be reached, or does not speak adb.
            DeadlineError, TransferError: the conversation broke off.
        """
        listing = self._listing("host:devices-l", deadline)
        short = self._listing("host:devices", deadline) if is_ambiguous(listing) else b""
        return self._without_forged(parse_devices(listing, short), deadline)

    def require_named(self, entry: DeviceEntry, deadline: Deadline) -> None:
        """Make sure that the device which an entry leads to is the one that the entry names.

        Raises:
            DeviceError: it leads to another one.
            TransferError: the device is gone, or cannot be used.
        """
        told = self._told(entry, "get-serialno", deadline)
        if told is not None and not is_serial_of(entry, told):
            raise DeviceError(
                f"the adb server lists this serial, but its connection is that of {printable(told)!r}",
                step=_NAMING,
                device=entry.serial,
                hint="run it again if the adb server was restarted just now; else a device forges lines of "
                "its list, by line breaks in a serial: unplug that one",
            )

    def _without_forged(
        self, entries: Sequence[DeviceEntry], deadline: Deadline
    ) -> tuple[DeviceEntry, ...]:
        numbers = Counter(entry.transport_id for entry in entries)
        serials = Counter(entry.serial for entry in entries)
        believed: dict[object, DeviceEntry] = {}
        for line, entry in enumerate(entries):
            number = entry.transport_id
            is_shared = number is not None and numbers[number] > 1
            if (is_shared or serials[entry.serial] > 1) and self._is_forged(
                entry, deadline, is_shared=is_shared
            ):
                continue
            # A line that the server itself might have written may still stand twice, or in another state.
            key = (line if number is None else None, number)
            if key not in believed or believed[key].state not in USABLE_STATES:
                believed[key] = entry
        return tuple(
            entry
            for entry in believed.values()
            # The server numbers all of them, or none.
            if entry.transport_id is not None or serials[entry.serial] == 1 or len(numbers) == 1
        )

    def _is_forged(self, entry: DeviceEntry, deadline: Deadline, *, is_shared: bool) -> bool:
        """Whether a line leads to something else than it says; `is_shared`: others have its number, too."""
        try:
            serial = self._told(entry, "get-serialno", deadline)
            place = self._told(entry, "get-devpath", deadline) if is_shared else None
        except ServiceFailedError:
            return False  # nobody can use it as it is now, by whatever name
        if serial is None:
            return is_shared  # nobody tells which of them is the true one
        return not is_serial_of(entry, serial) or (
            place is not None
            and place.removeprefix("usb:") != entry.properties.get("usb", "unknown")
        )

    def _told(self, entry: DeviceEntry, what: str, deadline: Deadline) -> str | None:
        """What the server says of an entry's connection; None if it does not know the service.

        Unlike a line of the list, the answer has its length in front, and so is nobody else's.
        """
        with self.connect(deadline, device=entry.serial, step=_NAMING) as wire:
            try:
                wire.request(f"{_about(entry)}:{what}")
            except ServiceFailedError as error:
                if "unknown host service" in error.seen:
                    return None
                raise
            return wire.read_block(_MAX_BLOCK_BYTES).decode("utf-8", "surrogateescape")

    def _listing(self, service: str, deadline: Deadline) -> bytes:
        step = "listing devices"
        try:
            return self._asked(service, deadline, step)
        except ServiceFailedError as error:
            raise AdbServerError(f"the adb server refused: {error.seen}", step=step) from error

    def features(self, entry: DeviceEntry, deadline: Deadline) -> frozenset[str]:
        """The features that device and server have in common, as in "shell_v2"."""
        step = "asking for the device's features"
        with self.connect(deadline, device=entry.serial, step=step) as wire:
            wire.request(f"{_about(entry)}:features")
            text = wire.read_block(_MAX_BLOCK_BYTES).decode("utf-8", "replace")
        return frozenset(filter(None, text.split(",")))

    def open(self, entry: DeviceEntry, service: str, deadline: Deadline, *, step: str) -> Wire:
        """A connection on which `service` was opened on the device.

        The transport id is pinned: a device that reconnected meanwhile is another connection, and the
        server refuses.

        Raises:
            TransferError: the device is gone, or refuses the service.
            AdbServerError, DeadlineError: as for connecting.
        """
        wire = self.connect(deadline, device=entry.serial, step=step)
        try:
            if entry.transport_id is None:
                wire.request(f"host:transport:{entry.serial}")
            else:
                wire.request(f"host:transport-id:{entry.transport_id}")
            wire.request(service)
        except BaseException:
            wire.close()
            raise
        return wire


def _about(entry: DeviceEntry) -> str:
    """How a request to the server begins that is about one device."""
    if entry.transport_id is None:
        return f"host-serial:{entry.serial}"
    return f"host-transport-id:{entry.transport_id}"
