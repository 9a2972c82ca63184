"""Writing down that a kernel's tree is published, and that its device runs it."""

from __future__ import annotations

import os
from contextlib import ExitStack

from kheaders_adb.errors import StoreError
from kheaders_adb.store import scratch
from kheaders_adb.store.faults import is_folder, is_there, wrapped
from kheaders_adb.store.lookup import Lookup
from kheaders_adb.store.records import (
    DeviceRecord,
    KernelRecord,
    device_to_json,
    kernel_to_json,
)


def record_kernel(store: Lookup, record: KernelRecord) -> None:
    """As `Store.record`, for a caller who holds the store's own lock."""
    path = store.kernel_path(record.key)
    step = "recording the kernel"
    with wrapped(step, path), ExitStack() as drafts:
        tree = store.tree_path(record.tree)
        if not is_folder(tree) or not is_there(store.manifest_path(record.tree)):
            raise StoreError(f"{tree} is not there", step=step, hint="run the same command again")
        kernel = drafts.enter_context(scratch.draft(store.root, kernel_to_json(record)))
        device = None
        if record.serial is not None:
            known = store.device(record.serial) or DeviceRecord(record.serial, None, record.key)
            now = known.now_running(
                record.key, record.identity.boot_id, record.archive.sha256, record.tree
            )
            device = drafts.enter_context(scratch.draft(store.root, device_to_json(now)))
            os.utime(device, (record.staged_at, record.staged_at))
        kernel.rename(path)
        if device is not None and record.serial is not None:
            device.rename(store.device_path(record.serial))
