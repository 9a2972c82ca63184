"""What became of a read: the script's events and exit code, and what they mean.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kheaders_adb.device.advice import for_root_only
from kheaders_adb.device.insmod import explain_insmod, lines_after
from kheaders_adb.device.probe import ARCHIVE_PATHS, Probe
from kheaders_adb.errors import (
    DeviceChangedError,
    KheadersError,
    ModuleRefusedError,
    NoHeadersError,
    PrivilegeError,
    TransferError,
)
from kheaders_adb.model import HeaderSource, SourceKind
from kheaders_adb.untrusted.text import one_line

_NOT_OPENED = "98"
"""The code with which a load ends whose file the shell may not open; see `scripts/load.sh`."""


class ArchiveGoneError(TransferError):
    """The archive that the probe saw is gone: whoever had its module loaded has unloaded it."""


class NoWorkFolderError(NoHeadersError):
    """A module cannot be loaded because nothing can be put into the work folder; another may do."""


@dataclass(slots=True)
class Events:
    """What a script of `lease` said on stderr, by event; what others said there is noise."""

    run: str
    said: dict[str, list[str]] = field(default_factory=dict)
    noise: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, stderr: bytes, run: str) -> Events:
        """The events of the run of this name."""
        events = cls(run)
        for line in stderr.decode("utf-8", "replace").splitlines():
            mark, _, rest = line.partition(" ")
            if mark == f"@{run}":
                name, _, value = rest.partition(" ")
                events.said.setdefault(name, []).append(value)
            elif line.strip():
                events.noise.append(one_line(line))
        return events

    def has(self, name: str) -> bool:
        """Whether there was such an event."""
        return name in self.said

    def last(self, name: str) -> str:
        """What the last of these events said; empty if there was none."""
        return self.said.get(name, [""])[-1]

    def text(self, name: str) -> str:
        """What all of these events said, line by line."""
        return "\n".join(self.said.get(name, []))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should be told of how it was left."""
        notes = []
        if self.has("elsewhere"):
            notes.append(
                "the device rebooted, or another one answered: nothing was cleaned up there"
            )
        if self.has("stuck"):
            notes.append(f"kheaders could not be unloaded: {one_line(self.last('stuck'))}")
        if self.has("kept"):
            notes.append("kheaders stays loaded for another run that is reading it")
        if self.has("nolease"):
            notes.append(f"read without a lease: {one_line(self.last('nolease'))}")
        return tuple(notes)

    @property
    def quoted(self) -> str:
        """The device's own words, in parentheses; empty if it said nothing."""
        words = " ".join(self.noise or [self.last("nolease")]).strip()
        return f" (the device said: {one_line(words)})" if words else ""


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


@dataclass(frozen=True, slots=True)
class Reading:
    """One read, as far as what is said of it depends on what was asked for.

    Attributes:
        serial: the device.
        probe: what it said of itself.
        module: a kheaders.ko on the device to load if need be, or None.
        payload_path: where on the host the kheaders.ko that is brought along came from, or None.
        work: the folder for temporary files on the device.
    """

    serial: str
    probe: Probe
    module: PurePosixPath | None = None
    payload_path: Path | None = None
    work: PurePosixPath = field(kw_only=True)

    @property
    def step(self) -> str:
        """What is being done, for messages."""
        if self.payload_path is not None:
            return "loading kheaders.ko and reading the archive"
        if self.module is not None:
            return f"loading {self.module} and reading the archive"
        return "reading the archive"

    def parse_header(self, line: bytes, run: str) -> ArchiveHeader:
        """The script's first line.

        Raises:
            TransferError: it is something else.
        """
        words = line.decode("utf-8", "replace").split(" ", 4)
        if (
            len(words) != 5
            or words[:2] != [f"@{run}", "reading"]
            or not re.fullmatch("[0-9]{1,15}", words[2])
        ):
            raise TransferError(
                f"the device's shell wrote {one_line(line[:80].decode('utf-8', 'replace'))!r} "
                "instead of announcing the archive",
                step=self.step,
                device=self.serial,
                hint="does a login script on the device print something?",
            )
        return ArchiveHeader(
            size_bytes=int(words[2]),
            sha256=None if words[3] == "-" else words[3],
            path=words[4],
        )

    def report(
        self,
        events: Events,
        exit_code: int | None,
        header: ArchiveHeader | None,
        received_bytes: int | None,
    ) -> ReadReport:
        """How a read went whose script has ended.

        Args:
            events: what the script said.
            exit_code: the script's; None where that did not come.
            header: what it announced; None if nothing.
            received_bytes: how much of the archive came; None where none was wanted.

        Raises:
            ModuleRefusedError: the kernel refused the module.
            NoHeadersError, PrivilegeError: there is no archive, or it may not be read.
            ArchiveGoneError: there is none any more; probe again.
            DeviceChangedError: the device rebooted since the probe.
            TransferError: the archive did not come whole.
        """
        self._require_begun(events)
        if header is None:
            raise TransferError(
                "the device announced no archive", step=self.step, device=self.serial
            )
        if events.last("read") != "0" or exit_code != 0 or not events.has("end"):
            raise self._unreadable(events, header.path, received_bytes or 0)
        if received_bytes is not None and header.size_bytes not in (0, received_bytes):
            raise TransferError(
                f"{header.path} has {header.size_bytes} bytes, {received_bytes} came",
                step=self.step,
                device=self.serial,
            )
        self._require_same_boot(events.last("boot"))
        return ReadReport(
            source=self._source(events, header.path),
            boot_id=events.last("boot") or None,
            notes=events.notes,
        )

    def _require_begun(self, events: Events) -> None:
        """Raise what fits where the script ended before it read anything."""
        where = {"step": self.step, "device": self.serial}
        if events.has("elsewhere"):
            self._require_same_boot(events.last("elsewhere"))
        if events.has("refused"):
            raise self._refused(events)
        if events.has("short"):
            got = " of ".join(events.last("short").split()[:2])
            raise NoWorkFolderError(
                f"there is no room for kheaders.ko in {self.work}: {got} bytes fit{events.quoted}",
                hint=f"make room below {self.work.parent} on the device, or carve: --via carve",
                **where,
            )
        if events.has("nomark"):
            raise NoWorkFolderError(
                "kheaders.ko was not loaded: that it has to be unloaded again cannot be noted on the device "
                f"({one_line(events.last('nomark'))})",
                hint=f"see whether {self.work.parent} can be written and has room, or carve: --via carve",
                **where,
            )
        if events.has("absent") and events.has("loaded"):
            raise NoHeadersError(
                "the module was loaded, but no archive appeared",
                hint="read the headers out of the file without loading it: --via carve",
                **where,
            )
        if events.has("absent"):
            raise ArchiveGoneError(
                "the archive was there a moment ago and is gone: its module was unloaded",
                hint="run the same command again",
                **where,
            )
        if not events.has("read"):
            raise NoWorkFolderError(
                f"the device's shell could not even begin{events.quoted}",
                hint=f"see whether {self.work.parent} on the device can be written and has room",
                **where,
            )

    def _require_same_boot(self, boot_id: str) -> None:
        before = self.probe.identity.boot_id
        if before is not None and boot_id != before:
            raise DeviceChangedError(
                "the device rebooted between the probe and the read, or another one answered in its place "
                f"(boot_id {before} → {boot_id})",
                step=self.step,
                device=self.serial,
            )

    def _source(self, events: Events, path: str) -> HeaderSource:
        if events.has("loaded"):
            return HeaderSource(SourceKind.MODULE_LOADED, str(self.module or self.payload_path))
        return HeaderSource(ARCHIVE_PATHS.get(PurePosixPath(path), SourceKind.SYSFS), path)

    def _unreadable(self, events: Events, path: str, received_bytes: int) -> KheadersError:
        noise = " ".join(events.noise)
        if "Permission denied" in noise and received_bytes == 0:
            return PrivilegeError(
                f"{path} may not be read, not even by root"
                if self.probe.is_root
                else f"{path} may be read by root only",
                step=self.step,
                device=self.serial,
                hint=for_root_only(self.probe),
            )
        return TransferError(
            f"{path} broke off after {received_bytes} bytes{events.quoted}",
            step=self.step,
            device=self.serial,
            hint="was the module unloaded meanwhile? run the same command again",
        )

    def _refused(self, events: Events) -> ModuleRefusedError:
        # It is inserted through a descriptor, whose name says nothing.
        name = str(self.module or "kheaders.ko")
        text = events.text("text").strip().replace("/proc/self/fd/0", name)
        log = "\n".join(lines_after(events.run, events.said.get("before", []), events.text("log")))
        refusal = explain_insmod(
            text,
            log,
            modules_disabled=self.probe.modules_disabled,
            uid=self.probe.uid,
            opened=events.last("refused") != _NOT_OPENED,
        )
        said = one_line(refusal.said)
        error = ModuleRefusedError(
            f"{refusal.seen} (the device said: {said})" if said else refusal.seen,
            step=f"loading {self.module or 'kheaders.ko'}",
            device=self.serial,
            hint=refusal.hint,
        )
        error.doubts_build = refusal.doubts_build
        error.doubts_folder = refusal.doubts_folder and self.module is None
        return error
