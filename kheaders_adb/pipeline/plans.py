"""The ways to an archive, as they are worked out before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kheaders_adb.errors import KheadersError
from kheaders_adb.model import HeaderSource


@dataclass(frozen=True, slots=True)
class InModule:
    """What is in a kheaders.ko on the device.

    Attributes:
        archive: the archive's bytes.
        vermagic: the module's.
        sha256: of the file.
        boot_id: the device's boot in which the file was read, or reckoned.
        is_packed: whether it has to be unpacked before it can be inserted.
        recalled: whether the archive is the store's, by the device's own sha256 of the file.
    """

    archive: bytes
    vermagic: str | None
    sha256: str
    boot_id: str | None
    is_packed: bool
    recalled: bool = False


@dataclass(frozen=True, slots=True)
class OnDevice:
    """The archive is read on the device, after loading a module if one is named.

    Attributes:
        module: a kheaders.ko on the device, or None.
        payload: a kheaders.ko to bring along, or empty.
        payload_path: where on the host it came from, for the record.
        archive_sha256: what the archive must then be, or None if that is not known.
        archive_bytes: its size, or None.
        vermagic: the module's, if known.
        notes: what was chosen, and why.
        archive: the archive itself, if it is at hand already; it is compared with what the kernel then shows.
        module_sha256: what the module must be; or empty.
        work: the folder for temporary files on the device; None for the probe's first.
        elsewhere: whether it is the same as the plan before it, in another folder: of use only if that plan's
            folder was to blame.
        beside: whether adbd itself may read the archive, faster than its shell.
        shown: whether the kernel shows the archive, so that no module has to be loaded.
        recalled: whether the archive at hand is the store's, by the device's own sha256 of the module.
    """

    module: PurePosixPath | None = None
    payload: bytes = b""
    payload_path: Path | None = None
    archive_sha256: str | None = None
    archive_bytes: int | None = None
    vermagic: str | None = None
    notes: tuple[str, ...] = ()
    archive: bytes = b""
    module_sha256: str = ""
    work: PurePosixPath | None = None
    elsewhere: bool = False
    beside: bool = True
    shown: bool = False
    recalled: bool = False

    @property
    def origin(self) -> str:
        """The module that it is about; empty where there is none."""
        return str(self.module or self.payload_path or "")


@dataclass(frozen=True, slots=True)
class Carved:
    """The archive was taken out of a kheaders.ko without loading it.

    Attributes:
        archive: its bytes.
        source: the module it was in.
        vermagic: the module's.
        notes: what was chosen, and why.
        boot_id: the device's boot in which the module was read; None for one on the host.
        module_sha256: of the module; or empty.
        recalled: whether the archive is the store's, by the device's own sha256 of the module.
    """

    archive: bytes
    source: HeaderSource
    vermagic: str | None
    notes: tuple[str, ...] = ()
    boot_id: str | None = None
    module_sha256: str = ""
    recalled: bool = False

    @property
    def origin(self) -> str:
        """The module that it is about."""
        return self.source.path


@dataclass(frozen=True, slots=True)
class Unusable:
    """A way that was looked at and does not lead to the headers, and why."""

    error: KheadersError


Plan = OnDevice | Carved
