"""What is written down while something is found, and what is never worth failing for: uses, devices,
configurations, and verdicts that were found again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kheaders_adb.errors import KheadersError
from kheaders_adb.store import paths
from kheaders_adb.store.faults import READ_ONLY_ERRNOS, is_there, store_error
from kheaders_adb.store.records import (
    DeviceRecord,
    KernelRecord,
    device_to_json,
    kernel_to_json,
)


class Bookkeeper:
    """Writes notes into a store, and collects what could not be written.

    Args:
        root: the store.
        clock: gives the time in seconds since the epoch.
    """

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._missed: dict[str, None] = {}

    def take(self) -> tuple[str, ...]:
        """What could not be noted since this was last asked, in sentences."""
        missed = tuple(self._missed)
        self._missed.clear()
        return missed

    def use(self, tree: Path, kernel: Path | None = None) -> bool:
        """Whether ``tree`` is there; if so it and the record of its kernel count as used now.

        Both get the same time.  A tree that was used later than all its records is one that somebody is
        about to record, which gc waits for.

        Raises:
            StoreError: nobody can tell whether it is there.
        """
        now = self._clock()
        if not self._stamp(tree, now):
            return False
        if kernel is not None:
            self._stamp(kernel, now)
        return True

    def device(
        self,
        device: DeviceRecord,
        boot_id: str | None,
        key: str,
        *,
        is_new: bool,
        archive: str | None = None,
        tree: str | None = None,
    ) -> None:
        """Note that a device runs a kernel now, and when.

        Args:
            device: what is known of it.
            boot_id, key: what it runs.
            is_new: whether nothing was known of it yet.
            archive: the archive that it has by its own word, if it was asked.
            tree: the tree that is used for it; None if there is none.
        """
        now = device.now_running(key, boot_id, archive, tree)
        path = self._root / paths.DEVICES / paths.device_file_name(device.serial)
        if not is_new and replace(now, history=(), seen_at=None) == replace(
            device, history=(), seen_at=None
        ):
            self._stamp(path, self._clock())
            return
        what = f"@{device.serial} goes on naming the kernel that it ran before"
        self._write(path, device_to_json(now), what, used_at=self._clock())

    def config(self, sha256: str | None, text: bytes | None) -> None:
        """Keep a kernel's configuration, if it is known, not kept already, and the one of this sha256."""
        if text is None or sha256 is None or paths.SHA256.fullmatch(sha256) is None:
            return
        path = self._root / paths.CONFIGS / f"{sha256}.gz"
        if os.path.lexists(path) or not os.access(self._root / paths.TMP, os.W_OK):
            return
        from kheaders_adb.store import configs

        if configs.is_text_of(text, sha256):
            what = "the kernel's configuration is not kept"
            self._write(path, configs.pack(text), what, mode=0o444)

    def turn(self, key: str | None, *, is_staged_now: bool = False) -> None:
        """Note that a kernel is the one last used, and what names mean from now on.

        Args:
            key: the kernel; None for one that no device uses, as what is imported.
            is_staged_now: whether its tree is new.

        Raises:
            StoreError: it was staged now, and the disk failed.
        """
        if key is None:
            self.names()
            return
        from kheaders_adb.store import turns
        from kheaders_adb.store.lookup import Lookup

        what = "`latest` goes on naming the kernel that was used before"
        try:
            turns.note(Lookup(self._root, exists=True), key)
        except OSError as error:
            path = self._root / paths.USED
            if not is_staged_now:
                self._go_on(what, path, error)
            elif error.errno in READ_ONLY_ERRNOS:  # of one folder, where the others can be written
                self.miss(what, store_error(error, step=what, path=path))
            else:
                raise store_error(error, step="recording the kernel", path=path) from error
        except KheadersError as error:
            if is_staged_now:
                raise
            self.miss(what, error)
        self.names()

    def names(self) -> None:
        """Note what the names that something was built with mean from now on."""
        if not (self._root / paths.NAMES).is_dir():
            return
        from kheaders_adb.store import meanings
        from kheaders_adb.store.lookup import Lookup

        what = "what was built for another kernel may not be built again by make"
        try:
            denied = meanings.refresh(Lookup(self._root, exists=True))
        except KheadersError as error:
            self.miss(what, error)
        else:
            if denied is not None:
                self.miss(what, denied)

    def kernel(self, record: KernelRecord) -> bool:
        """Write a kernel's record anew, without counting that as a use; whether it could be written."""
        path = self._root / paths.KERNELS / f"{record.key}.json"
        what = "that this kernel was judged again is not noted, so that it is each time"
        return self._write(path, kernel_to_json(record), what, used_at=record.last_used_at)

    def miss(self, what: str, error: KheadersError) -> None:
        """Note what could not be written down for another reason than the disk's."""
        self._missed[f"{what}: {error.seen}"] = None

    def _write(
        self,
        path: Path,
        content: bytes,
        what: str,
        *,
        mode: int | None = None,
        used_at: float | None = None,
    ) -> bool:
        from kheaders_adb.store import durable, scratch

        try:
            if not path.parent.is_dir():  # stores did not always have all of their folders
                path.parent.mkdir(exist_ok=True)
                durable.fsync_path(self._root)
            with scratch.draft(self._root, content) as draft:
                if mode is not None:
                    draft.chmod(mode)
                if used_at is not None:
                    os.utime(draft, (used_at, used_at))
                draft.rename(path)
            durable.fsync_path(path.parent)
        except OSError as error:
            self._go_on(what, path, error)
            return False
        return True

    def _stamp(self, path: Path, now: float) -> bool:
        try:
            os.utime(path, (now, now))
        except FileNotFoundError:
            return False
        except OSError as error:
            what = "that this was used now is not noted, so that gc may take it early"
            self._go_on(what, path, error)
            return is_there(path)
        return True

    def _go_on(self, what: str, path: Path, error: OSError) -> None:
        if error.errno not in READ_ONLY_ERRNOS:  # in somebody else's store, it is so always
            said = store_error(error, step=what, path=path)
            self._missed[f"{what}: {said.seen}" + (f"; {said.hint}" if said.hint else "")] = None
