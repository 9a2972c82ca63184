"""One device, pinned to one connection, and what can be asked of it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.listing import DeviceEntry
from kheaders_adb.adb.select import Selection, choose
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.adb.shell import ShellResult, Stream, collect
from kheaders_adb.adb.wire import ServiceFailedError, Wire
from kheaders_adb.device.script import quote
from kheaders_adb.device.shells import Shell, find_shell
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
        shell: how it runs commands.
        su: the su through which commands run; None to run them as adbd's own user.
        round_trips: how many services were opened on the device so far.
        boot_id: the boot that is meant, once the device has been probed; scripts that reach another one (or
            another device) do nothing.
    """

    server: AdbServer
    entry: DeviceEntry
    deadline: Deadline
    shell: Shell = field(default_factory=Shell)
    su: Su | None = None
    round_trips: int = 0
    boot_id: str | None = None

    @classmethod
    def select(cls, server: AdbServer, selection: Selection, deadline: Deadline) -> Device:
        """The device that `selection` means, ready to be used.

        Raises:
            DeviceError: none, several, one that cannot be used, or one that pretends to be another.
            NoHeadersError: it runs no commands whose end can be seen.
            TransferError: the server broke off.
        """
        device = cls(server, choose(server.devices(deadline), selection), deadline)
        device.prepare()
        return device

    @property
    def serial(self) -> str:
        """The serial, as ``adb -s`` takes it."""
        return self.entry.serial

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it is spoken with."""
        notes = [self.shell.note]
        if self.su is not None and self.su.encoder:
            command, encoder = self.su.command, self.su.encoder
            notes.append(f"{command} runs commands on a terminal: binary content by {encoder}")
        return tuple(filter(None, notes))

    def prepare(self) -> None:
        """Make sure that it is the device listed, and see how it runs commands.

        Nothing on it is asked where its features say so.

        Raises:
            DeviceError: its line in the list leads to another device.
            NoHeadersError: it runs none whose end can be seen.
            TransferError, DeadlineError: the conversation broke off.
        """
        self.server.require_named(self.entry, self.deadline)
        step = "finding out how the device runs commands"
        try:
            if "shell_v2" in self.server.features(self.entry, self.deadline):
                return
        except ServiceFailedError as error:
            if "unknown host service" not in error.seen:  # a server older than features
                raise
        self.shell = find_shell(
            functools.partial(self.open_service, step=step),
            self.deadline,
            step=step,
            device=self.serial,
        )

    @property
    def place(self) -> str | None:
        """Where it is plugged in, as the server says it; None for a device that is not on USB."""
        return self.entry.properties.get("usb")

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

    def stream(
        self,
        command: str,
        *,
        step: str,
        deadline: Deadline | None = None,
        binary: bool = False,
        held: bool = False,
    ) -> Stream:
        """Start `command` (a POSIX shell script) and return it running.

        Args:
            binary: whether its output is more than text.
            held: whether it runs until its stdin is closed; without shell protocol 2 others have none.

        Raises:
            NoHeadersError: this device's shell cannot do that.
        """
        try:
            return self.shell.start(
                lambda service: self.open_service(service, step=step, deadline=deadline),
                command,
                self.su,
                binary=binary,
                held=held,
            )
        except NoHeadersError as error:
            error.device = self.serial
            raise

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
        binary: bool = False,
        limit_bytes: int = _MAX_OUTPUT_BYTES,
    ) -> ShellResult:
        """Run `command` to its end with an empty standard input; `binary`: its output is more than text.

        Raises:
            NoHeadersError: this device's shell cannot do that.
            TransferError: the connection broke, the exit code is missing, or there was too much output.
            DeadlineError: it took too long.
        """
        stream = self.stream(command, step=step, deadline=deadline, binary=binary)
        try:
            stream.close_stdin()
        except BaseException:
            stream.close()
            raise
        return collect(stream, limit_bytes=limit_bytes)
