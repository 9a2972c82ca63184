"""The files of a store, by name and as they are read: paths, records, pins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb.errors import StoreError
from kheaders_adb.store import paths
from kheaders_adb.store.faults import is_folder, is_there, store_error, wrapped
from kheaders_adb.store.records import (
    DeviceRecord,
    KernelRecord,
    device_from_json,
    kernel_from_json,
)

if TYPE_CHECKING:
    from kheaders_adb.store.manifest import Entry, TreeInfo, TreeSize

_READING = "reading a record of the store"
#: Copies of a store may lack empty folders.
_NEED_NOT_BE = {paths.DEVICES, paths.PINS, paths.CONFIGS, paths.SIZES, paths.NAMES, paths.USED}
_MAX_RECORD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A file among the records that is none, and why not.

    Attributes:
        path: the file.
        seen: why it is no record.
        key: the key of the kernel whose record it would be; None for a stranger, which was not read.
    """

    path: Path
    seen: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """All that ``kernels/`` holds: the kernels, staged last first, and the files that are no records."""

    records: tuple[KernelRecord, ...]
    broken: tuple[BrokenRecord, ...]


class Lookup:
    """Reads what is in a store; nothing here writes, locks or counts as use.

    Attributes:
        root: the store's folder.
    """

    def __init__(self, root: Path, *, exists: bool) -> None:
        self.root = root
        self._exists = exists

    @property
    def exists(self) -> bool:
        """False only for a missing store that was opened without making it."""
        return self._exists

    def archive_path(self, sha256: str) -> Path:
        """Where an archive's bytes are, if they are stored.

        Raises:
            StoreError: that is no sha256.
        """
        name = f"{paths.require_sha256(sha256)}.tar.xz"
        return self.root / paths.ARCHIVES / name

    def tree_path(self, tree: str) -> Path:
        """Where a tree is, if it is stored.

        Args:
            tree: its name: an archive's sha256, or ``KernelRecord.tree``.

        Raises:
            StoreError: that is no name of a tree.
        """
        return self.root / paths.TREES / paths.require_tree(tree)

    def manifest_path(self, tree: str) -> Path:
        """Where a tree's manifest is, if the tree is stored.

        Raises:
            StoreError: that is no name of a tree.
        """
        return self.root / paths.MANIFESTS / f"{paths.require_tree(tree)}.manifest"

    def kernel_path(self, key: str) -> Path:
        """Where a kernel's record is, if there is one.

        Raises:
            StoreError: that is no key.
        """
        return self.root / paths.KERNELS / f"{paths.require_sha256(key)}.json"

    def device_path(self, serial: str) -> Path:
        """Where a device's record is, if there is one."""
        return self.root / paths.DEVICES / paths.device_file_name(serial)

    def config_path(self, sha256: str) -> Path:
        """Where a kernel's configuration is, if it is kept.

        Raises:
            StoreError: that is no sha256.
        """
        return self.root / paths.CONFIGS / f"{paths.require_sha256(sha256)}.gz"

    def use_lock_path(self, key: str) -> Path:
        """The lock file that is held while a kernel is in use.

        Raises:
            StoreError: that is no key.
        """
        return self.root / paths.LOCKS / f"use-{paths.require_sha256(key)}"

    def tree_lock_path(self, tree: str) -> Path:
        """The lock file that is held while a tree is in use, whatever record names it by then.

        Raises:
            StoreError: that is no name of a tree.
        """
        return self.root / paths.LOCKS / f"tree-{paths.require_tree(tree)}"

    def pin_path(self, key: str) -> Path:
        """The file that keeps a kernel from gc, if it is pinned.

        Raises:
            StoreError: that is no key.
        """
        return self.root / paths.PINS / paths.require_sha256(key)

    def tree_info(self, tree: str) -> TreeInfo | None:
        """What a tree's archive says of its kernel, and in what the tree differs from that archive.

        Args:
            tree: its name: an archive's sha256, or ``KernelRecord.tree``.

        Returns:
            That, or None if the tree is not there or its manifest is damaged.

        Raises:
            StoreError: the disk failed.
        """
        from kheaders_adb.store import manifest

        path = self.manifest_path(tree)
        try:
            if not is_folder(self.tree_path(tree)):
                return None
            return manifest.decode_info(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise store_error(error, step="reading a manifest", path=path) from error
        except StoreError:
            return None  # damaged: the tree counts as absent, and `verify` says so

    def read_archive(self, sha256: str) -> bytes:
        """An archive's bytes, checked against its digest.

        Raises:
            StoreError: it is not there or damaged, or the disk failed.
        """
        from kheaders_adb.store import digest

        path = self.archive_path(sha256)
        with wrapped("reading the archive", path):
            if digest.has_digest(path, sha256):
                return path.read_bytes()
        raise StoreError(
            f"{path} is missing or damaged",
            step="reading the archive",
            hint="run `kheaders-adb pull --refresh`, or import the archive again",
        )

    def read_config(self, sha256: str | None) -> bytes | None:
        """A kernel's configuration, by the sha256 of its text; None if it is not kept, or not any more.

        Raises:
            StoreError: the disk failed.
        """
        if sha256 is None or paths.SHA256.fullmatch(sha256) is None:
            return None
        from kheaders_adb.store import configs

        data = self.read_if_there(self.config_path(sha256))
        return None if data is None else configs.unpack(data, sha256)

    def tree_entries(self, tree: str) -> tuple[Entry, ...]:
        """What a tree holds, entry by entry.

        Raises:
            StoreError: its manifest is not there or damaged, or the disk failed.
        """
        from kheaders_adb.store import manifest

        path = self.manifest_path(tree)
        text = self._read(path)
        seen = "it is not there"
        if text is not None:
            try:
                return manifest.decode(text[0]).entries
            except StoreError as error:
                seen = error.seen
        raise StoreError(
            f"{path}: {seen}",
            step="reading a manifest",
            hint="run `kheaders-adb pull --refresh`, or import the archive again",
        )

    def tree_size(self, tree: str) -> TreeSize | None:
        """How many files a tree has and how long they are, quickly; None if its manifest is not there.

        Raises:
            StoreError: the disk failed.
        """
        from kheaders_adb.store import manifest

        path = self.manifest_path(tree)
        try:
            with path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - manifest.TAIL_BYTES))
                return manifest.decode_size(file.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, step="reading a manifest", path=path) from error
        except StoreError:
            return None  # damaged, as in tree_info

    def records(self) -> list[KernelRecord]:
        """All kernels, staged last first; files that are no records are left out (see :meth:`scan`).

        Raises:
            StoreError: the disk failed.
        """
        return list(self.scan().records)

    def scan(self) -> Scan:
        """All kernels, staged last first, and the files in their folder that are no records.

        Raises:
            StoreError: the disk failed.  A file that cannot be read may well be a record, so that it is
                neither left out nor called broken.
        """
        records, broken = [], []
        for path in self.listing(paths.KERNELS):
            key = path.name.removesuffix(".json")
            if paths.SHA256.fullmatch(key) is None or key == path.name:
                broken.append(BrokenRecord(path, "this is not the name of a record"))
                continue
            found = self._read(path)
            if found is None:
                continue  # removed meanwhile
            try:
                records.append(_kernel(path, *found))
            except StoreError as error:
                broken.append(BrokenRecord(path, error.seen, key))
        records.sort(key=lambda record: (-record.staged_at, record.key))
        return Scan(tuple(records), tuple(broken))

    def device(self, serial: str) -> DeviceRecord | None:
        """What a device was last seen running; None if it never was, or its record is broken.

        Raises:
            StoreError: the disk failed.
        """
        path = self.device_path(serial)
        text = self._read(path)
        if text is None:
            return None
        try:
            record = device_from_json(*text)
        except StoreError:
            return None
        return record if record.serial == serial else None

    def running(self, device: str | DeviceRecord) -> KernelRecord | None:
        """The kernel that a device was last seen running; None if it never was, or that is not staged for it.

        What several devices say of themselves may be the same, and the record of that kernel then another's.

        Raises:
            StoreError: the disk failed, or the kernel's record is broken.
        """
        known = self.device(device) if isinstance(device, str) else device
        record = known and self.read_kernel(self.kernel_path(known.kernel))
        return record if record and known and known.has(record) else None

    def devices(self) -> list[DeviceRecord]:
        """All devices that kernels were staged for; broken records are left out.

        Raises:
            StoreError: the disk failed.
        """
        found = []
        for path in self.listing(paths.DEVICES):
            text = self._read(path)
            if text is not None:
                try:
                    found.append(device_from_json(*text))
                except StoreError:
                    continue  # the next pull of that device writes it anew
        return sorted(found, key=lambda device: device.serial)

    def pinned(self) -> frozenset[str]:
        """The keys of the kernels that gc never removes.

        Raises:
            StoreError: the disk failed.
        """
        names = (path.name for path in self.listing(paths.PINS))
        return frozenset(name for name in names if paths.SHA256.fullmatch(name))

    def listing(self, folder: str) -> list[Path]:
        """What one of the store's folders (``paths.TREES`` and so on) holds, sorted.

        Raises:
            StoreError: the disk failed.
        """
        path = self.root / folder
        if not self._exists or (folder in _NEED_NOT_BE and not is_there(path)):
            return []
        with wrapped("listing the store", path):
            # NFS shows what is removed and still open; nobody can do anything with that.
            return sorted(item for item in path.iterdir() if not item.name.startswith(".nfs"))

    def read_if_there(self, path: Path) -> bytes | None:
        """A file's content, or None if it is not there.

        Raises:
            StoreError: the disk failed.
        """
        found = self._read(path)
        return None if found is None else found[0]

    def _read(self, path: Path) -> tuple[bytes, float] | None:
        """A file's content and modification time, or None if it is not there."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                found = os.fstat(fd)
                if found.st_size > _MAX_RECORD_BYTES:
                    return b"", found.st_mtime  # not one of ours: it will be called broken
                with os.fdopen(os.dup(fd), "rb") as file:
                    return file.read(), found.st_mtime
            finally:
                os.close(fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, step=_READING, path=path) from error

    def read_kernel(self, path: Path) -> KernelRecord | None:
        """The kernel's record in a file of ``kernels/``; None if it is not there.

        Raises:
            StoreError: the file is no record, or the disk failed.
        """
        found = self._read(path)
        if found is None:
            return None
        try:
            return _kernel(path, *found)
        except StoreError as error:
            raise StoreError(
                f"{path}: {error.seen}",
                step=_READING,
                hint="run `kheaders-adb pull` again, or import the archive again: that replaces the record",
            ) from error

    def find_kernel(self, key: str) -> KernelRecord | None:
        """A kernel's record; None if it is not there, or was read and is none.

        Raises:
            StoreError: the disk failed.
        """
        path = self.kernel_path(key)
        found = self._read(path)
        if found is None:
            return None
        try:
            return _kernel(path, *found)
        except StoreError:
            return None  # staging again repairs it, and `list` and `verify` name it


def _kernel(path: Path, text: bytes, modified_at: float) -> KernelRecord:
    record = kernel_from_json(text, last_used_at=modified_at)
    if path.name != f"{record.key}.json":
        raise StoreError("it is the record of another kernel", step=_READING)
    return record
