"""Modules on a device that need not be read, because the store has the archive that is in them.

What a file holds is known for good by its sha256.  The digests in the records are of files that were read and
taken apart here; what a device says of its own file names one of them, or none.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import Probe, parse_boot_id
from kheaders_adb.device.script import quote
from kheaders_adb.errors import StoreError
from kheaders_adb.pipeline.plans import InModule
from kheaders_adb.store.store import Store

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def recall(device: Device, probe: Probe, store: Store, path: PurePosixPath) -> InModule | None:
    """What is in a module on the device, if its sha256 is one that the store knows; None: it has to be read.

    The device is asked only where the store knows any.

    Raises:
        TransferError, DeadlineError: the connection broke.
        StoreError: the records cannot be read.
    """
    known = {record.module_sha256: record for record in store.records() if record.module_sha256}
    if not known:
        return None
    # By one shell, as where it is read: another connection might reach another boot, or device.
    result = device.run(
        f"cat {_BOOT_ID}; exec sha256sum {quote(path)}",
        step=f"comparing {path} with what is staged",
    )
    first, _, second = result.stdout.decode("utf-8", "replace").partition("\n")
    record = known.get(second[:64])
    boot_id = parse_boot_id(first)
    if record is None or boot_id != probe.identity.boot_id:
        return None
    try:
        archive = store.read_archive(record.archive.sha256)
    except StoreError:
        return None  # missing or damaged: the module brings a sound one
    return InModule(
        archive,
        record.vermagic,
        second[:64],
        boot_id,
        is_packed=path.suffix != ".ko",
        recalled=True,
    )
