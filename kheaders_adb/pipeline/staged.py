"""Whether what the store holds may be used for the kernel that a device runs."""

from __future__ import annotations

from dataclasses import fields, replace

from kheaders_adb.device.probe import Probe
from kheaders_adb.model import KernelIdentity
from kheaders_adb.pipeline.options import Options
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store


def find_staged(store: Store, about: Probe, serial: str, options: Options) -> KernelRecord | None:
    """The record of the running kernel, if its tree may be used under `options`.

    A tree staged under a mismatch counts only where a mismatch is tolerated: without that, the archive is
    read and judged again.
    """
    record = store.find(about.identity, serial) or _find_boot(store, about.identity, serial)
    if record is None or not options.tolerance.accepts_staged(record.verdict):
        return None
    return record


def _find_boot(store: Store, seen: KernelIdentity, serial: str) -> KernelRecord | None:
    """What was staged for this very boot when more could be read of it, as by root.

    The boot_id says that it is the same running kernel; what was read this time must agree as well.
    """
    device = store.device(serial)
    if device is None or seen.boot_id is None or device.boot_id != seen.boot_id:
        return None
    record = store.find_kernel(device.kernel)  # a broken one is not there: this pull replaces it
    if record is None:
        return None
    known = replace(record.identity, boot_id=seen.boot_id)
    agree = all(
        getattr(seen, field.name) in (None, getattr(known, field.name)) for field in fields(known)
    )
    return store.find(known, serial) if agree else None
