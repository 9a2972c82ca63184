"""Reading the archive off a device: bytes on one side, a report on how it went on the other."""

from __future__ import annotations

import dataclasses
import itertools
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType

from kheaders_adb.device.deadline import Deadline
from kheaders_adb.device.device import Device, quote
from kheaders_adb.device.insmod import explain_insmod, lines_after
from kheaders_adb.device.module import read_script, sweep_script
from kheaders_adb.device.probe import ARCHIVE_PATHS, Probe
from kheaders_adb.device.shell import ShellStream
from kheaders_adb.device.sync import file_size, receive_file
from kheaders_adb.device.wire import Wire, printable
from kheaders_adb.errors import (
    DeviceChangedError,
    KheadersError,
    ModuleRefusedError,
    NoHeadersError,
    PrivilegeError,
    TransferError,
)
from kheaders_adb.model import HeaderSource, SourceKind

_SWEEP_TIMEOUT_S = 10.0
_SWEEP_OVERTIME_S = 1.5  # what cleaning up may take when the deadline is over already
_MAX_HEADER_BYTES = 4096


class ArchiveGoneError(TransferError):
    """The archive that the probe saw is gone: whoever had its module loaded has unloaded it."""


@dataclass(slots=True)
class _Events:
    """What the script said on stderr, by event."""

    said: dict[str, list[str]] = field(default_factory=dict)
    noise: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, stderr: bytes, run: str) -> _Events:
        events = cls()
        for line in stderr.decode("utf-8", "replace").splitlines():
            mark, _, rest = line.partition(" ")
            if mark == f"@{run}":
                name, _, value = rest.partition(" ")
                events.said.setdefault(name, []).append(value)
            elif line.strip():
                events.noise.append(printable(line))
        return events

    def has(self, name: str) -> bool:
        return name in self.said

    def last(self, name: str) -> str:
        return self.said.get(name, [""])[-1]

    def text(self, name: str) -> str:
        return "\n".join(self.said.get(name, []))


@dataclass(frozen=True, slots=True)
class ArchiveHeader:
    """What the device announces before the archive.

    Attributes:
        size_bytes: the archive's size; 0 if the device could not tell.
        sha256: that of a known archive, which is then not sent; else None.
        path: the archive's path on the device.
    """

    size_bytes: int
    sha256: str | None
    path: str


@dataclass(frozen=True, slots=True)
class ReadReport:
    """How a finished read went.

    Attributes:
        source: where the archive was read.
        boot_id: the device's boot at the end of the read.
        notes: what the user should be told, such as a module that could not be unloaded.
    """

    source: HeaderSource
    boot_id: str | None
    notes: tuple[str, ...]


class ArchiveStream:
    """The archive's bytes as they come off a device; a context manager.

    Leaving the context early (an error, Ctrl-C) ends the read and waits until the device has cleaned up.

    Args:
        device: the device.
        probe: what it said of itself.
        module: a kheaders.ko on the device to load if need be.
        module_bytes: a kheaders.ko to bring along and load; excludes `module`.
        module_path: where on the host that came from, for the record.
        known: size and sha256 of archives that need not be sent again.
    """

    def __init__(
        self,
        device: Device,
        probe: Probe,
        *,
        module: PurePosixPath | None = None,
        module_bytes: bytes = b"",
        module_path: Path | None = None,
        known: Iterable[tuple[int, str]] = (),
    ) -> None:
        self._device = device
        self._probe = probe
        self._loads = bool(module or module_bytes)
        self._module = module
        self._payload = module_bytes
        self._module_path = module_path
        self._known = tuple(known)
        self._run = secrets.token_hex(8)
        self._stream: ShellStream | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._first = b""
        # sync speaks for adbd's own user only; and a script that got a module through its stdin has seen
        # that end, by which it would be told that the archive has been read.
        self._by_sync = device.su is None and not module_bytes
        self._sync: Wire | None = None
        self._header: ArchiveHeader | None = None
        self._size_bytes = 0
        self._report: ReadReport | None = None

    def __enter__(self) -> ArchiveStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is None:
            return
        if self._sync is not None:
            self._sync.close()
        self._stream.close()
        if self._report is None and (self._loads or self._probe.module_loaded):
            # The device cleans up by itself once its output breaks; see that it did.
            left = sweep(self._device, self._probe.work, wait_for=self._run)
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
        device = self._device
        script = read_script(
            run=self._run,
            work=self._probe.work,
            module=self._module,
            module_bytes=len(self._payload),
            known=self._known,
            elsewhere=self._by_sync,
        )
        self._stream = stream = device.stream(script, step=self._step)
        if self._payload:
            stream.send_stdin(self._payload)
        if not self._by_sync:
            stream.close_stdin()
        self._chunks = iter(stream)
        head = b""
        for chunk in self._chunks:
            head += chunk
            line, newline, self._first = head.partition(b"\n")
            if newline or len(head) > _MAX_HEADER_BYTES:
                self._header = self._parse_header(line)
                if self._by_sync and self._header.sha256 is None:
                    self._header = self._open_sync(self._header)
                return self._header
        self._judge(_Events.parse(stream.stderr, self._run), stream.exit_code)
        raise TransferError(
            "the device announced no archive", step=self._step, device=device.serial
        )

    def __iter__(self) -> Iterator[bytes]:
        """Yield the archive in chunks of any size; ends normally only if it came whole.

        Raises:
            PrivilegeError: the archive may not be read.
            DeviceChangedError: the device rebooted since the probe.
            TransferError, DeadlineError: the connection broke, or it took too long.
        """
        if self._stream is None:
            self.open()
        stream = self._stream
        assert stream is not None
        assert self._header is not None
        if self._sync is not None:
            for chunk in receive_file(self._sync, PurePosixPath(self._header.path)):
                self._size_bytes += len(chunk)
                yield chunk
        if self._by_sync:
            stream.close_stdin()  # the script has kept the module until now
        for chunk in itertools.chain((self._first,), self._chunks):
            self._size_bytes += len(chunk)
            yield chunk
        self._report = self._judge(_Events.parse(stream.stderr, self._run), stream.exit_code)

    @property
    def waits(self) -> bool:
        """Whether the device holds the archive back until it is asked for."""
        return self._sync is not None

    def sha256(self) -> str | None:
        """The archive's sha256 as the device itself reckons it; None if it cannot.

        Raises:
            TransferError, DeadlineError: the connection broke.
        """
        result = self._device.run(f"sha256sum {quote(self.header.path)}", step=self._step)
        found = re.match(rb"[0-9a-f]{64}(?= )", result.stdout)
        return found[0].decode() if found else None

    def skip(self) -> None:
        """End a read whose archive is not wanted after all; the report is there as after the last chunk.

        Raises:
            As for iterating.
        """
        if self._sync is not None:
            self._sync.close()
            self._sync = None
        self._header = dataclasses.replace(self.header, sha256="skipped")
        for _ in self:
            pass

    @property
    def header(self) -> ArchiveHeader:
        """What the device announced."""
        assert self._header is not None
        return self._header

    def _open_sync(self, header: ArchiveHeader) -> ArchiveHeader:
        self._sync = self._device.open_service("sync:", step=self._step)
        size_bytes = file_size(self._sync, PurePosixPath(header.path))
        return dataclasses.replace(header, size_bytes=size_bytes)

    @property
    def report(self) -> ReadReport:
        """How it went; only after the last chunk."""
        if self._report is None:
            raise RuntimeError("the archive has not been read to its end")
        return self._report

    @property
    def _step(self) -> str:
        if self._payload:
            return "loading kheaders.ko and reading the archive"
        if self._module:
            return f"loading {self._module} and reading the archive"
        return "reading the archive"

    def _judge(self, events: _Events, exit_code: int | None) -> ReadReport:
        serial, step = self._device.serial, self._step
        if events.has("refused"):
            raise self._refused(events)
        if events.has("short"):
            raise TransferError(
                f"kheaders.ko did not arrive whole: {' of '.join(events.last('short').split()[:2])} bytes"
                + _said(events),
                step=step,
                device=serial,
                hint=f"check the space on the device below {self._probe.work.parent}",
            )
        if events.has("absent") and events.has("loaded"):
            raise NoHeadersError(
                "the module was loaded, but no archive appeared",
                step=step,
                device=serial,
                hint="see `dmesg` on the device",
            )
        if events.has("absent"):
            raise ArchiveGoneError(
                "the archive was there a moment ago and is gone: its module was unloaded",
                step=step,
                device=serial,
                hint="run the same command again",
            )
        if not events.has("read"):
            raise PrivilegeError(
                f"the device's shell could not even begin{_said(events)}",
                step=step,
                device=serial,
                hint=f"check that {self._probe.work.parent} on the device can be written",
            )
        header = self._header
        if header is None:
            raise TransferError("the device announced no archive", step=step, device=serial)
        if events.last("read") != "0" or exit_code != 0 or not events.has("end"):
            raise self._unreadable(events, header.path)
        if header.sha256 is None and header.size_bytes not in (0, self._size_bytes):
            raise TransferError(
                f"{header.path} has {header.size_bytes} bytes, {self._size_bytes} came",
                step=step,
                device=serial,
            )
        self._check_boot(events.last("boot"))
        return ReadReport(
            source=self._source(events, header.path),
            boot_id=events.last("boot") or None,
            notes=_notes(events),
        )

    def _parse_header(self, line: bytes) -> ArchiveHeader:
        words = line.decode("utf-8", "replace").split(" ", 4)
        if (
            len(words) != 5
            or words[:2] != [f"@{self._run}", "reading"]
            or not re.fullmatch("[0-9]{1,15}", words[2])
        ):
            raise TransferError(
                f"the device's shell wrote {printable(line[:80].decode('utf-8', 'replace'))!r} "
                "instead of announcing the archive",
                step=self._step,
                device=self._device.serial,
                hint="does a login script on the device print something?",
            )
        return ArchiveHeader(
            size_bytes=int(words[2]),
            sha256=None if words[3] == "-" else words[3],
            path=words[4],
        )

    def _check_boot(self, boot_id: str) -> None:
        before = self._probe.identity.boot_id
        if before is not None and boot_id != before:
            raise DeviceChangedError(
                f"the device rebooted between the probe and the read (boot_id {before} → {boot_id})",
                step=self._step,
                device=self._device.serial,
            )

    def _source(self, events: _Events, path: str) -> HeaderSource:
        if events.has("loaded"):
            return HeaderSource(SourceKind.MODULE_LOADED, str(self._module or self._module_path))
        return HeaderSource(ARCHIVE_PATHS.get(PurePosixPath(path), SourceKind.SYSFS), path)

    def _unreadable(self, events: _Events, path: str) -> KheadersError:
        serial, step = self._device.serial, self._step
        noise = " ".join(events.noise)
        if "Permission denied" in noise and self._size_bytes == 0:
            return PrivilegeError(
                f"{path} may be read by root only",
                step=step,
                device=serial,
                hint="use a rooted device, or give the module's file: --module kheaders.ko --via carve",
            )
        return TransferError(
            f"{path} broke off after {self._size_bytes} bytes{_said(events)}",
            step=step,
            device=serial,
            hint="was the module unloaded meanwhile? run the same command again",
        )

    def _refused(self, events: _Events) -> ModuleRefusedError:
        text = events.text("text").strip()
        log = "\n".join(lines_after(events.last("before"), events.text("log")))
        refusal = explain_insmod(
            text, log, modules_disabled=self._probe.modules_disabled, uid=self._probe.uid
        )
        said = printable(refusal.said)
        return ModuleRefusedError(
            f"{refusal.seen} (the device said: {said})" if said else refusal.seen,
            step=f"loading {self._module or 'kheaders.ko'}",
            device=self._device.serial,
            hint=refusal.hint,
        )


def sweep(device: Device, work: PurePosixPath, *, wait_for: str = "") -> tuple[str, ...]:
    """Remove what dead runs left on the device; report in sentences what could not be removed.

    Never raises one of this package's errors: it runs while another is on its way.

    Args:
        work: the tool's folder on the device.
        wait_for: a run whose own cleaning is awaited first.
    """
    run = secrets.token_hex(8)
    step = "cleaning up on the device"
    timeout_s = max(_SWEEP_OVERTIME_S, min(_SWEEP_TIMEOUT_S, device.deadline.remaining_s))
    deadline = Deadline.after(timeout_s)
    try:
        result = device.run(
            sweep_script(run=run, work=work, wait_for=wait_for), step=step, deadline=deadline
        )
    except KheadersError as error:
        return (f"could not see whether the device cleaned up after itself ({error.seen})",)
    return _notes(_Events.parse(result.stderr, run))


def _notes(events: _Events) -> tuple[str, ...]:
    notes = []
    if events.has("stuck"):
        notes.append(f"kheaders could not be unloaded: {printable(events.last('stuck'))}")
    if events.has("kept"):
        notes.append("kheaders stays loaded for another run that is reading it")
    if events.has("nolease"):
        notes.append(f"read without a lease: {printable(events.last('nolease'))}")
    return tuple(notes)


def _said(events: _Events) -> str:
    words = " ".join(events.noise or [events.last("nolease")]).strip()
    return f" (the device said: {printable(words)})" if words else ""
