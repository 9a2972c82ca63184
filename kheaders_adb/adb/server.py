"""The adb server: listing devices, opening services, and having it started where that is safe."""

from __future__ import annotations

from dataclasses import dataclass

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.listing import DeviceEntry, is_ambiguous, parse_devices
from kheaders_adb.adb.wire import ServerRefusedError, ServiceFailedError, Wire
from kheaders_adb.errors import AdbServerError

_MAX_LISTING_BYTES = 0xFFFF


@dataclass(frozen=True, slots=True)
class AdbServer:
    """An adb server at an address; holds no connection.

    Attributes:
        address: where it listens.
        start: whether to start one there when nothing listens and the address is local.
    """

    address: ServerAddress
    start: bool = True

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

        return start_server(self.address, deadline, device=device, step=step)

    def version(self, deadline: Deadline) -> int:
        """The server's protocol version, as in 41 for "1.0.41"."""
        step = "asking the adb server for its version"
        with self.connect(deadline, device=None, step=step) as wire:
            wire.request("host:version")
            text = wire.read_block(_MAX_LISTING_BYTES)
        try:
            return int(text, 16)
        except ValueError as error:
            raise AdbServerError(f"the server answered {text!r}", step=step) from error

    def devices(self, deadline: Deadline) -> tuple[DeviceEntry, ...]:
        """Every device that the server knows, in its order.

        Raises:
            AdbServerError: the server cannot be reached, or does not speak adb.
            DeadlineError, TransferError: the conversation broke off.
        """
        listing = self._listing("host:devices-l", deadline)
        if is_ambiguous(listing):
            return parse_devices(listing, self._listing("host:devices", deadline))
        return parse_devices(listing)

    def _listing(self, service: str, deadline: Deadline) -> bytes:
        with self.connect(deadline, device=None, step="listing devices") as wire:
            try:
                wire.request(service)
            except ServiceFailedError as error:
                raise AdbServerError(
                    f"the adb server refused: {error.seen}", step="listing devices"
                ) from error
            return wire.read_block(_MAX_LISTING_BYTES)

    def features(self, entry: DeviceEntry, deadline: Deadline) -> frozenset[str]:
        """The features that device and server have in common, as in "shell_v2"."""
        step = "asking for the device's features"
        with self.connect(deadline, device=entry.serial, step=step) as wire:
            prefix = (
                f"host-serial:{entry.serial}"
                if entry.transport_id is None
                else f"host-transport-id:{entry.transport_id}"
            )
            wire.request(f"{prefix}:features")
            text = wire.read_block(_MAX_LISTING_BYTES).decode("utf-8", "replace")
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
