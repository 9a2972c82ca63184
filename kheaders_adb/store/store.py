"""The content-addressed store: finding, recording and naming kernels.

Opening a store and finding a kernel in it is the warm path of every command, so this module imports the
rest of the package (staging, gc, verify, export) only where it is needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb.errors import StoreError
from kheaders_adb.model import Evidence, KernelIdentity
from kheaders_adb.store import choose, paths
from kheaders_adb.store.bookkeeping import Bookkeeper
from kheaders_adb.store.changes import Changes
from kheaders_adb.store.faults import is_there, wrapped
from kheaders_adb.store.locks import TimeLeft, guarded, locked, patient
from kheaders_adb.store.lookup import Lookup
from kheaders_adb.store.records import DeviceRecord, KernelRecord
from kheaders_adb.untrusted import host_file

if TYPE_CHECKING:
    from kheaders_adb.store.staging import Staging

_PROBED_S = 5.0
"""A use lock is taken alone only for a moment, to see whether anybody holds it."""


class Store(Lookup):
    """A store on the host.  Several processes and threads may use one at the same time.

    Attributes:
        root: its folder.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float], exists: bool) -> None:
        super().__init__(root, exists=exists)
        self._clock = clock
        self._case_sensitive: bool | None = None
        self._books = Bookkeeper(root, clock)
        self._time_left: TimeLeft = patient

    @classmethod
    def open(
        cls, root: Path, *, create: bool = True, clock: Callable[[], float] = time.time
    ) -> Store:
        """Open the store at ``root``.

        Args:
            root: its folder.
            create: make it if there is none; if False, a missing store behaves as an empty one.
            clock: gives the time in seconds since the epoch, for "staged at" and "last used".

        Raises:
            UsageError: `root` starts from the working folder, which has been removed.
            StoreError: its format is newer than ours, the folder is something else, or the disk failed.
        """
        root = host_file.absolute(root, step="opening the store")
        return cls(root, clock=clock, exists=paths.open_root(root, create=create))

    def within(self, time_left: TimeLeft) -> Store:
        """The same store, for a run that has only so many seconds left, which are then all that it waits.

        What cannot be written down is the run's own to tell: other threads use the store meanwhile.
        """
        bounded = Store(self.root, clock=self._clock, exists=self._exists)
        bounded._case_sensitive = self._case_sensitive
        bounded._time_left = time_left
        return bounded

    def guarded(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """Hold the store's own lock: shared to find, use or make something, exclusive to publish or remove.

        Raises:
            StoreError: on entering the block: not to be had in time.
        """
        return guarded(self.root, exclusive=exclusive, time_left=self._time_left)

    def take_notes(self) -> tuple[str, ...]:
        """What could not be written down, though nothing depends on it, since this was last asked."""
        return self._books.take()

    @property
    def changes(self) -> Changes:
        """What runs of this host have changed on devices."""
        return Changes(self.root, self._time_left)

    def now(self) -> float:
        """The time by the store's clock, in seconds since the epoch."""
        return self._clock()

    @property
    def case_sensitive(self) -> bool:
        """Whether names that differ only in case are two names here; found out once.

        Raises:
            StoreError: the disk failed.
        """
        if self._case_sensitive is None:
            self._case_sensitive = paths.is_case_sensitive(self.root)
        return self._case_sensitive

    def find(
        self,
        identity: KernelIdentity,
        serial: str | None,
        *,
        proven: bool = False,
        archive: str | None = None,
        config: bytes | None = None,
    ) -> KernelRecord | None:
        """The kernel's record, if its tree is complete and may be used for this device.

        With evidence ``uname`` only, a tree is found only for the device and the boot that it was staged
        for, unless the caller has `proven` that it may be used.  What is found counts as used now, so that gc
        leaves it for a while, and the device as running this kernel.

        Args:
            identity: what the running kernel says of itself.
            serial: the device.
            archive: the sha256 of the archive that the device has by its own word, if it was asked.
            config: the running kernel's configuration, if it can be read: it is kept, if it is not yet.

        Returns:
            The record, or None: not staged, or not to be trusted without reading the archive again.

        Raises:
            StoreError: the disk failed.
        """
        if not self._exists:
            return None
        key = identity.key
        device = self.device(serial) if serial is not None else None
        if (
            not proven
            and identity.evidence is Evidence.UNAME
            and (
                device is None
                or device.kernel != key
                or identity.boot_id is None
                or device.boot_id != identity.boot_id
            )
        ):
            return None
        path = self.kernel_path(key)
        with self.guarded(exclusive=False):
            record = self.find_kernel(key)
            if (
                record is None
                or not is_there(self.manifest_path(record.tree))
                or not self._books.use(self.tree_path(record.tree), path)
            ):
                return None
            if serial is not None:
                known = device or DeviceRecord(serial, None, key)
                self._books.device(
                    known,
                    identity.boot_id,
                    key,
                    is_new=device is None,
                    archive=archive,
                    tree=record.tree,
                )
                self._books.turn(key)
            self._books.config(record.identity.config_sha256, config)
        return record

    def seen(self, serial: str, identity: KernelIdentity) -> None:
        """Note that a device that is known has booted, maybe into a kernel of which nothing is staged.

        Within one boot, the kernel that it was noted with stays: another user may see less of it.
        """
        device = self.device(serial) if self._exists else None
        if device is None or identity.boot_id in (None, device.boot_id):
            return
        tree = device.tree if device.kernel == identity.key else ""
        with self.guarded(exclusive=False):
            self._books.device(device, identity.boot_id, identity.key, is_new=False, tree=tree)
            self._books.names()

    def use(self, record: KernelRecord) -> bool:
        """Count a record's tree as used now, so that gc leaves it for a while.

        Returns:
            Whether the tree is there.

        Raises:
            StoreError: the disk failed.
        """
        if not self._exists:
            return False
        with self.guarded(exclusive=False):
            return self._books.use(self.tree_path(record.tree), self.kernel_path(record.key))

    @contextmanager
    def in_use(self, record: KernelRecord) -> Iterator[None]:
        """Keep gc and ``remove`` from taking this kernel while in the block.

        Raises:
            StoreError: the tree is gone already, or the disk failed.
        """
        with self.in_use_if_there(record) as is_there:
            if not is_there:
                raise StoreError(
                    f"{self.tree_path(record.tree)} is not there",
                    step="using the header tree",
                    hint="it was removed meanwhile: run `kheaders-adb pull` again",
                )
            yield

    @contextmanager
    def in_use_if_there(self, record: KernelRecord) -> Iterator[bool]:
        """As :meth:`in_use`, but give False where the tree is gone already.

        Raises:
            StoreError: the disk failed.
        """
        with ExitStack() as held:
            with self.guarded(exclusive=False):
                for path in (self.use_lock_path(record.key), self.tree_lock_path(record.tree)):
                    held.enter_context(
                        locked(
                            path,
                            exclusive=False,
                            timeout_s=min(_PROBED_S, self._time_left()),
                            purpose="removing this kernel",
                        )
                    )
                found = self._books.use(self.tree_path(record.tree), self.kernel_path(record.key))
            yield found

    def find_archive(self, size_bytes: int) -> tuple[str, ...]:
        """The stored archives of exactly this size whose trees and manifests are there and whole.

        They count as used now, so that gc leaves them until the caller has recorded its kernel.

        Args:
            size_bytes: the size of the archive on the device.

        Returns:
            Their sha256, sorted.

        Raises:
            StoreError: the disk failed.
        """
        if not self._exists:
            return ()
        found = []
        folder = self.root / paths.ARCHIVES
        with (
            wrapped("looking for the archive", folder),
            self.guarded(exclusive=False),
            os.scandir(folder) as entries,
        ):
            for entry in entries:
                sha256 = entry.name.removesuffix(".tar.xz")
                if (
                    paths.SHA256.fullmatch(sha256) is not None
                    and entry.stat().st_size == size_bytes
                    and self.tree_info(sha256) is not None
                    and self._books.use(self.tree_path(sha256))
                ):
                    found.append(sha256)
        return tuple(sorted(found))

    def archive_lock(
        self, size_bytes: int, *, timeout_s: float | None = None
    ) -> AbstractContextManager[None]:
        """Take turns with other processes that fetch an archive of the same size.

        Whoever comes second looks again (:meth:`find_archive`) and finds what the first one staged.  The
        lock is released when the block ends or the process dies.

        Args:
            size_bytes: the size of the archive on the device.
            timeout_s: seconds to wait for the others; None for all that the run has left.

        Raises:
            StoreError: on entering the block: not to be had in time, or no locks on this file system.
        """
        return locked(
            self.root / paths.LOCKS / f"archive-{size_bytes:d}",
            exclusive=True,
            timeout_s=self._time_left() if timeout_s is None else timeout_s,
            purpose=f"staging an archive of {size_bytes} bytes",
        )

    def mend_archive(self, sha256: str, chunks: Iterable[bytes]) -> None:
        """Replace the archive of a tree that is there, if it is missing or damaged.

        Args:
            sha256: its digest.
            chunks: its bytes; not touched where they are not needed.

        Raises:
            StoreError: the disk failed, or these are not its bytes.
        """
        from kheaders_adb.store.staging import mend_archive

        mend_archive(self.root, sha256, chunks, self._time_left)

    def stage(self) -> Staging:
        """A new tree in the making, to be used as a context manager.

        Raises:
            StoreError: the disk failed.
        """
        from kheaders_adb.store.staging import Staging

        return Staging(self.root, case_sensitive=self.case_sensitive, time_left=self._time_left)

    def record(self, record: KernelRecord, config: bytes | None = None) -> None:
        """Remember a kernel whose tree is published, and its device as running it.

        Args:
            record: it; one with the same key is replaced.
            config: the running kernel's configuration, if it is known; it is kept if that can be.

        Raises:
            StoreError: the tree is not there (gc took it because more than its grace period has passed
                since it was staged or found), or the disk failed.

        Guarantees:
            Each file is on the disk before it replaces the one that was there.
        """
        from kheaders_adb.store.recording import record_kernel

        with self.guarded(exclusive=False):
            record_kernel(self, record)
            # Within the lock under which the record is there, or gc might take it for nobody's.
            self._books.config(record.identity.config_sha256, config)
            self._books.turn(record.key if record.serial else None, is_staged_now=True)
            self._books.use(self.tree_path(record.tree), self.kernel_path(record.key))

    def amend(self, old: KernelRecord, new: KernelRecord) -> bool:
        """Replace a kernel's record by one that says more; its use and its device stay as they are.

        Args:
            old: the record as it was read; if it is another one by now, nothing is done.
            new: of the same kernel.

        Returns:
            Whether it was replaced.  Where it cannot be, `take_notes` says so, if it should be possible.
        """
        if not os.access(self.root / paths.KERNELS, os.W_OK):
            return False  # somebody else's store
        try:
            with self.guarded(exclusive=True):
                return self.find_kernel(old.key) == old and self._books.kernel(new)
        except StoreError as error:
            self._books.miss("that this kernel was judged again is not noted", error)
            return False

    def resolve(self, text: str) -> KernelRecord:
        """The kernel that a user means.

        Args:
            text: ``latest``, ``@SERIAL``, a release or its beginning, or at least 4 digits of a key, as
                `choose.resolve` says.

        Raises:
            UsageError: none or several are meant; the message lists them.
            StoreError: the disk failed, or the record of the one that is meant is broken.
        """
        return choose.resolve(self, text)

    def pin(self, key: str) -> None:
        """Keep a kernel from being removed by gc.

        Raises:
            StoreError: it is not staged, or not any more; or the disk failed.
        """
        path = self.pin_path(key)
        step = "pinning the kernel"
        with wrapped(step, path), self.guarded(exclusive=False):
            if not is_there(self.kernel_path(key)):
                raise StoreError(f"no kernel {key} is staged in {self.root}", step=step)
            path.touch()

    def unpin(self, key: str) -> bool:
        """Undo :meth:`pin`.

        Returns:
            Whether it was pinned.

        Raises:
            StoreError: the disk failed.
        """
        path = self.pin_path(key)
        with wrapped("unpinning the kernel", path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
        return True
