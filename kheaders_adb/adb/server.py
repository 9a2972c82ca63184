"""The adb server: listing devices, opening services, and starting it where that is safe.

This is the only module that imports adbutils, and only to find an adb binary when no server runs.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import DeviceEntry, parse_devices
from kheaders_adb.adb.wire import ServerRefusedError, ServiceFailedError, Wire
from kheaders_adb.errors import AdbServerError, DeadlineError
from kheaders_adb.untrusted.text import one_line

_MAX_LISTING_BYTES = 0xFFFF
_START_TIMEOUT_S = 15.0


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
        return _start(self.address, deadline, device=device, step=step)

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
        with self.connect(deadline, device=None, step="listing devices") as wire:
            try:
                wire.request("host:devices-l")
            except ServiceFailedError as error:
                raise AdbServerError(
                    f"the adb server refused: {error.seen}", step="listing devices"
                ) from error
            return parse_devices(wire.read_block(_MAX_LISTING_BYTES).decode("utf-8", "replace"))

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


def adb_binary() -> Path:
    """The adb binary that would start a server: ``$ADBUTILS_ADB_PATH``, PATH, or the one adbutils bundles.

    Raises:
        AdbServerError: there is none.
    """
    import adbutils  # costs about 0.2 s, so only where a server has to be started

    try:
        return Path(adbutils.adb_path())
    except (RuntimeError, OSError, adbutils.AdbError) as error:
        raise AdbServerError(
            f"no adb binary was found: {error}",
            step="starting an adb server",
            hint="install adb (Debian: apt install adb) or start a server yourself",
        ) from error


def _start(address: ServerAddress, deadline: Deadline, *, device: str | None, step: str) -> Wire:
    # Not `adb start-server`: a client that finds a server of another version at the port kills it, even
    # one that came up a moment ago.  A server started directly only fails to bind.
    binary = adb_binary()
    argv = [str(binary), "-L", str(address), "server", "nodaemon"]
    deadline = deadline.sooner(_START_TIMEOUT_S)
    with tempfile.TemporaryFile() as output:
        pid = os.posix_spawn(
            binary,
            argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
            ],
            setsid=True,
        )
        while True:
            ended, _ = os.waitpid(pid, os.WNOHANG)
            try:
                return Wire.connect(address, deadline, device=device, step=step)
            except ServerRefusedError as refused:
                if not ended and not deadline.expired:
                    time.sleep(0.02)
                    continue
                output.seek(0)
                said = one_line(output.read(4096).decode("utf-8", "replace"))
                if ended:
                    raise AdbServerError(
                        f"the adb server at {address} ended at once: {said or 'it said nothing'}",
                        step="starting an adb server",
                        hint=f"try `{' '.join(argv)}` by hand",
                    ) from refused
                raise DeadlineError(
                    f"the adb server started at {address} did not listen in time: {said}",
                    step="starting an adb server",
                ) from refused
