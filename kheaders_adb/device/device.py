"""One device, pinned to one connection, and what can be asked of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.listing import DeviceEntry
from kheaders_adb.adb.select import Selection, choose
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.adb.shell import ShellResult, ShellStream, collect
from kheaders_adb.adb.wire import Wire
from kheaders_adb.device.script import quote
from kheaders_adb.device.su import Su
from kheaders_adb.errors import DeviceChangedError, NoHeadersError

_MAX_OUTPUT_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Device:
    """A device behind an adb server.

    Attributes:
        server: the server it hangs on.
        entry: its line in the server's list; the transport id in it pins the connection.
        deadline: bounds everything that is done with this device.
        su: the su through which commands run; None to run them as adbd's own user.
        round_trips: how many services were opened on the device so far.
        boot_id: the boot that is meant, once the device has been probed; scripts that reach another one (or
            another device) do nothing.
    """

    server: AdbServer
    entry: DeviceEntry
    deadline: Deadline
    su: Su | None = None
    round_trips: int = 0
    boot_id: str | None = None

    @classmethod
    def select(cls, server: AdbServer, selection: Selection, deadline: Deadline) -> Device:
        """The device that `selection` means, ready to be used.

        Raises:
            DeviceError: none, several, or one that cannot be used.
            NoHeadersError: its adbd is too old for shell protocol 2 (before Android 7).
            TransferError: the server broke off.
        """
        device = cls(server, choose(server.devices(deadline), selection), deadline)
        device.require_shell_v2()
        return device

    @property
    def serial(self) -> str:
        """The serial, as ``adb -s`` takes it."""
        return self.entry.serial

    def require_shell_v2(self) -> None:
        """Make sure that the device's shell reports exit codes.

        Raises:
            NoHeadersError: it does not.
        """
        if "shell_v2" not in self.server.features(self.entry, self.deadline):
            raise NoHeadersError(
                "its adbd has no shell protocol 2, so a cut transfer could not be told from a whole one",
                step="connecting",
                device=self.serial,
                hint="Android 7 (API 24) or newer is needed; older kernels carry no headers anyway",
            )

    def require_boot(self, boot_id: str | None, *, step: str) -> None:
        """Make sure that it is the boot meant, which is the first one seen, in which something answered.

        Args:
            boot_id: what the answer came with; None if it could not be read there.

        Raises:
            DeviceChangedError: it is another one.
        """
        if self.boot_id is None:
            self.boot_id = boot_id
        elif boot_id != self.boot_id:
            raise DeviceChangedError(
                f"the device rebooted meanwhile, or another one answers in its place "
                f"(boot_id {self.boot_id} → {boot_id or 'unknown'})",
                step=step,
                device=self.serial,
            )

    def stream(self, command: str, *, step: str, deadline: Deadline | None = None) -> ShellStream:
        """Start `command` (a POSIX shell script) and return it running."""
        if self.su is not None:
            command = self.su.run(command)
        return ShellStream(
            self.open_service(f"shell,v2,raw:{command}", step=step, deadline=deadline)
        )

    def open_service(self, service: str, *, step: str, deadline: Deadline | None = None) -> Wire:
        """A connection on which `service` was opened on the device."""
        self.round_trips += 1
        return self.server.open(self.entry, service, deadline or self.deadline, step=step)

    def sha256(self, path: str | PurePosixPath, *, step: str) -> str | None:
        """A file's sha256 as the device itself reckons it; None if it cannot.

        Raises:
            TransferError, DeadlineError: the connection broke, or it took too long.
        """
        result = self.run(f"sha256sum {quote(path)}", step=step)
        found = re.match(rb"[0-9a-f]{64}(?= )", result.stdout)
        return found[0].decode() if found else None

    def run(
        self,
        command: str,
        *,
        step: str,
        deadline: Deadline | None = None,
        limit_bytes: int = _MAX_OUTPUT_BYTES,
    ) -> ShellResult:
        """Run `command` to its end with an empty standard input.

        Raises:
            TransferError: the connection broke, the exit code is missing, or there was too much output.
            DeadlineError: it took too long.
        """
        stream = self.stream(command, step=step, deadline=deadline)
        try:
            stream.close_stdin()
        except BaseException:
            stream.close()
            raise
        return collect(stream, limit_bytes=limit_bytes)
