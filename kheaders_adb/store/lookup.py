"""The files of a store, by name and as they are read: paths, records, pins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store import paths
from kheaders_adb.store.faults import store_error, wrapped
from kheaders_adb.store.records import (
    DeviceRecord,
    KernelRecord,
    device_from_json,
    kernel_from_json,
)

_READING = "reading a record of the store"
_MAX_RECORD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A file of the store that cannot be used, and why."""

    path: Path
    seen: str


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

    def use_lock_path(self, key: str) -> Path:
        """The lock file that is held while a kernel is in use.

        Raises:
            StoreError: that is no key.
        """
        return self.root / paths.LOCKS / f"use-{paths.require_sha256(key)}"

    def pin_path(self, key: str) -> Path:
        """The file that keeps a kernel from gc, if it is pinned.

        Raises:
            StoreError: that is no key.
        """
        return self.root / paths.PINS / paths.require_sha256(key)

    def records(self) -> list[KernelRecord]:
        """All kernels, staged last first; files that are no records are left out (see :meth:`scan`).

        Raises:
            StoreError: the disk failed.
        """
        return list(self.scan().records)

    def scan(self) -> Scan:
        """All kernels, staged last first, and the files in their folder that are no records.

        Raises:
            StoreError: the disk failed.
        """
        records, broken = [], []
        for path in self.listing(paths.KERNELS):
            try:
                record = self.read_kernel(path)
            except StoreError as error:
                broken.append(BrokenRecord(path, error.seen))
            else:
                if record is not None:
                    records.append(record)
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
            record = device_from_json(text[0])
        except StoreError:
            return None
        return record if record.serial == serial else None

    def running(self, serial: str) -> KernelRecord | None:
        """The kernel that a device was last seen running; None if it never was, or that is not staged.

        Raises:
            StoreError: the disk failed, or the kernel's record is broken.
        """
        device = self.device(serial)
        return None if device is None else self.read_kernel(self.kernel_path(device.kernel))

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
                    found.append(device_from_json(text[0]))
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
        if not self._exists:
            return []
        with wrapped("listing the store", path):
            return sorted(path.iterdir())

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
        record = kernel_from_json(found[0], last_used_at=found[1])
        if path.name != f"{record.key}.json":
            raise StoreError("it is the record of another kernel", step=_READING)
        return record
