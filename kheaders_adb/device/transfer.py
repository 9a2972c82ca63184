"""The archive's bytes as they come off a device; what they and the script's words mean is in `outcome`."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from kheaders_adb.adb.shell import Stream
from kheaders_adb.adb.sync import file_size, receive_file
from kheaders_adb.adb.wire import ServiceFailedError, Wire
from kheaders_adb.device.device import Device
from kheaders_adb.device.lease import read_script, sweep
from kheaders_adb.device.outcome import ArchiveHeader, Events, Reading, ReadReport
from kheaders_adb.device.probe import Probe
from kheaders_adb.errors import PrivilegeError

_MAX_HEADER_BYTES = 4096


class ArchiveStream:
    """A read of the archive on its way; a context manager.

    The device first announces the archive (`open`).  Its bytes then come with the script's own output, or
    over a sync connection beside it while the script waits, or not at all because the host has them
    (`chunks`).  In the end the script says how it went (`finish`).

    Leaving the context early (an error, Ctrl-C) ends the read and waits until the device has cleaned up.

    Attributes:
        is_clean: whether nothing of this run is on the device, as far as that could be seen.

    Args:
        device: the device.
        probe: what it said of itself.
        module: a kheaders.ko on the device to load if need be.
        payload: a kheaders.ko to bring along and load; excludes `module`.
        payload_path: where on the host that came from, for the record.
        module_sha256: what the module, here or there, must be; or empty.
        known: size and sha256 of archives that need not be sent again.
        work: the folder for temporary files on the device; None for the probe's first.
        beside: whether the archive may be read by adbd itself, over a connection of its own.
    """

    def __init__(
        self,
        device: Device,
        probe: Probe,
        *,
        module: PurePosixPath | None = None,
        payload: bytes = b"",
        payload_path: Path | None = None,
        module_sha256: str = "",
        known: Iterable[tuple[int, str]] = (),
        work: PurePosixPath | None = None,
        beside: bool = True,
    ) -> None:
        self._device = device
        work = work if work is not None else probe.work
        self._reading = Reading(device.serial, probe, module, payload_path, work=work)
        self._payload = payload
        self._module_sha256 = module_sha256
        self._known = tuple(known)
        self._run = secrets.token_hex(8)
        self._script: Stream | None = None
        # sync speaks for adbd's own user only; and a script that got a module through its stdin has seen
        # that end, by which it would be told that the archive has been read.
        self._beside = beside and device.su is None and not payload
        self._sync: Wire | None = None
        self._output: Iterator[bytes] = iter(())
        self._header: ArchiveHeader | None = None
        self._received_bytes: int | None = None
        self._report: ReadReport | None = None
        self.is_clean = True

    def __enter__(self) -> ArchiveStream:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._script is None:
            return
        if self._sync is not None:
            self._sync.close()
        self._script.close()
        probe = self._reading.probe
        loads = self._reading.module is not None or bool(self._payload)
        if self._report is None and (loads or probe.module_loaded):
            # The device cleans up by itself once its output breaks; see that it did.
            self.is_clean = False
            left = sweep(self._device, self._reading.work, wait_for=self._run)
            self.is_clean = not left
            if left and error is not None:
                error.add_note("\n".join(left))

    def open(self) -> ArchiveHeader:
        """Start the read and return what the device announces.

        Raises:
            ModuleRefusedError: the kernel refused the module.
            NoHeadersError, PrivilegeError: there is no archive.
            ArchiveGoneError: there is none any more; probe again.
            TransferError, DeadlineError: the connection broke, or it took too long.
        """
        script = read_script(
            run=self._run,
            work=self._reading.work,
            boot_id=self._device.boot_id,
            module=self._reading.module,
            module_sha256=self._module_sha256,
            payload_bytes=len(self._payload),
            known=self._known,
            beside=self._beside,
        )
        self._script = self._device.stream(
            script, step=self._reading.step, binary=not self._beside, held=self._beside
        )
        if self._payload:
            self._script.send_stdin(self._payload)
        if not self._beside:
            self._script.close_stdin()
        output = iter(self._script)
        head = b""
        for chunk in output:
            head += chunk
            line, newline, rest = head.partition(b"\n")
            if newline or len(head) > _MAX_HEADER_BYTES:
                header = self._reading.parse_header(line, self._run)
                self._output = itertools.chain((rest,) if rest else (), output)
                if self._beside and header.sha256 is None:
                    header = self._open_sync(header)
                self._header = header
                return header
        self._judge()
        raise AssertionError("a read without a header is always an error")

    @property
    def waits(self) -> bool:
        """Whether the device holds the archive back until it is asked for."""
        return self._sync is not None

    def device_sha256(self) -> str | None:
        """The archive's sha256 as the device itself reckons it; None if it cannot.

        Raises:
            TransferError, DeadlineError: the connection broke.
        """
        assert self._header is not None
        return self._device.sha256(self._header.path, step=self._reading.step)

    def chunks(self) -> Iterator[bytes]:
        """Yield the archive in chunks of any size; nothing where the host has it already.

        It ends normally only if the archive came whole.

        Raises:
            As for `finish`.
        """
        assert self._header is not None
        if self._header.sha256 is None:
            self._received_bytes = 0
            source = self._output
            if self._sync is not None:
                source = receive_file(self._sync, PurePosixPath(self._header.path))
            for chunk in source:
                self._received_bytes += len(chunk)
                yield chunk
        self.finish()

    def finish(self) -> ReadReport:
        """End the read, also one whose archive was not wanted after all, and return how it went.

        Raises:
            PrivilegeError: the archive may not be read.
            DeviceChangedError: the device rebooted since the probe.
            TransferError, DeadlineError: it did not come whole, the connection broke, or it took too long.
        """
        if self._report is None:
            assert self._script is not None
            if self._beside:
                self._script.close_stdin()  # the script has kept the module until now
            for chunk in self._output:
                if self._received_bytes is not None:
                    self._received_bytes += len(chunk)
            self._report = self._judge()
        return self._report

    def _open_sync(self, header: ArchiveHeader) -> ArchiveHeader:
        try:
            self._sync = self._device.open_service("sync:", step=self._reading.step)
        except ServiceFailedError as error:
            raise PrivilegeError(
                f"adbd gives no files ({error.seen})",
                step=self._reading.step,
                device=self._device.serial,
            ) from error
        size_bytes = file_size(self._sync, PurePosixPath(header.path))
        return dataclasses.replace(header, size_bytes=size_bytes)

    def _judge(self) -> ReadReport:
        assert self._script is not None
        events = Events.parse(self._script.stderr, self._run)
        received_bytes = self._received_bytes
        self.is_clean = not events.has("stuck")
        return self._reading.report(events, self._script.exit_code, self._header, received_bytes)
