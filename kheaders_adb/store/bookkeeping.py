"""What is written down while something is found, and what is never worth failing for: uses and devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from kheaders_adb.store import paths
from kheaders_adb.store.faults import READ_ONLY_ERRNOS, is_there, store_error
from kheaders_adb.store.records import DeviceRecord, device_to_json


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

    def device(self, device: DeviceRecord, boot_id: str | None, key: str, *, is_new: bool) -> None:
        """Note that a device runs a kernel now.

        Args:
            device: what is known of it.
            boot_id, key: what it runs.
            is_new: whether nothing was known of it yet.
        """
        if not is_new and device.kernel == key and device.boot_id == boot_id:
            return
        from kheaders_adb.store import scratch

        path = self._root / paths.DEVICES / paths.device_file_name(device.serial)
        try:
            with scratch.draft(
                self._root, device_to_json(device.now_running(key, boot_id))
            ) as draft:
                draft.rename(path)
        except OSError as error:
            what = f"@{device.serial} goes on naming the kernel that it ran before"
            self._go_on(what, path, error)

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
