"""Whether what the store holds may be used for the kernel that a device runs: the one place that decides it.

Only a build-id names a build.  A configuration or ``uname`` may be those of a rebuilt kernel, so that they
count for the device and the boot in which the headers were read, and for nothing else.  And what a device
says of itself, its serial too, may be another's words: where it can be asked for the archive's sha256, it is,
before a tree that was staged in another boot, or for another device, is used for this one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import Probe
from kheaders_adb.model import Evidence, Grounds, KernelIdentity, Reuse
from kheaders_adb.pipeline.options import Options
from kheaders_adb.store.records import RULES, KernelRecord
from kheaders_adb.store.store import Store

_ALONE = "it was staged in another boot or from another device; the build-id agrees"
_STEP = "comparing the archive with the one that is staged"


@dataclass(frozen=True, slots=True)
class Found:
    """What the store holds for a kernel: the record, if it may be used, and why or why not."""

    record: KernelRecord | None
    reuse: Reuse


def find_staged(store: Store, about: Probe, device: Device, options: Options) -> Found:
    """The record of the running kernel, if its tree may be used under `options`.

    A tree staged under a mismatch counts only where a mismatch is tolerated: without that, the archive is
    read and judged again.

    Args:
        store: where trees are staged.
        about: what the device said of itself, in this boot.
        device: the device; asked for a digest where that is needed.
        options: what the user wants.

    Raises:
        StoreError: the disk failed.
        TransferError, DeadlineError: the connection broke.
    """
    serial = device.serial
    record = store.find_kernel(about.identity.key) or _find_boot(store, about.identity, serial)
    if record is None:
        return Found(None, Reuse(Grounds.NONE, "nothing is staged for this kernel"))
    reuse = _judge(store, record, about, device, options)
    if reuse.grounds is Grounds.NONE:
        return Found(None, reuse)
    known = replace(record.identity, boot_id=about.identity.boot_id)
    archive = record.archive.sha256 if reuse.grounds is Grounds.DIGEST else None
    used = store.find(known, serial, proven=True, archive=archive, config=about.config)
    if used is None or used.archive != record.archive:
        return Found(None, Reuse(Grounds.NONE, "what was staged is not there any more"))
    return Found(used, reuse)


def _judge(
    store: Store, record: KernelRecord, about: Probe, device: Device, options: Options
) -> Reuse:
    if not options.tolerance.accepts_staged(record.verdict):
        return _no(f"what is staged is {record.verdict.level}, which was not asked for")
    if record.rules != RULES:
        return _no(f"it was judged by the rules of kheaders-adb {record.tool_version}")
    shown = [archive for archive in about.archives if archive.readable]
    if options.module is not None and not shown and not _holds(options.module, record, options):
        return _no("the module given holds another archive than the one that is staged")
    # What counts is what was read now: a record may know more, by root's eyes.
    names_build = about.identity.evidence is Evidence.BUILD_ID
    if _is_same_boot(store, record, about, device.serial):
        return (
            Reuse(Grounds.BUILD_ID, "it was staged from this device, and the build-id agrees")
            if names_build
            else Reuse(Grounds.BOOT, "it was staged from this device in this boot")
        )
    if not names_build:
        return _no("the build-id cannot be read, and it was staged in another boot or elsewhere")
    if not shown:
        return Reuse(Grounds.BUILD_ID, f"{_ALONE}, this shell sees no archive to compare")
    sha256 = device.sha256(shown[0].path, step=_STEP)
    if sha256 is None:
        return Reuse(Grounds.BUILD_ID, f"{_ALONE}, the archive's sha256 is not to be had")
    if sha256 == record.archive.sha256:
        return Reuse(Grounds.DIGEST, "this device's own sha256 of the archive is the staged one's")
    return _no("what was staged with this build-id is another archive than this device shows")


def _is_same_boot(store: Store, record: KernelRecord, about: Probe, serial: str) -> bool:
    """Whether this device, in the boot that it is in now, was the last that this was staged from."""
    last = store.device(serial)
    return (
        last is not None
        and record.serial == serial
        and None is not last.boot_id == about.identity.boot_id
        and last.kernel == record.key
    )


def _no(reason: str) -> Reuse:
    return Reuse(Grounds.NONE, reason)


def _holds(module: Path, record: KernelRecord, options: Options) -> bool:
    """Whether a module given, or one in the folder given, holds the archive that is staged."""
    from kheaders_adb.pipeline.candidates import holds_archive  # with all that carving takes

    return holds_archive(module, record.archive.sha256, options.limits)


def _find_boot(store: Store, seen: KernelIdentity, serial: str) -> KernelRecord | None:
    """What was staged for this very boot when more could be read of it, as by root.

    The boot_id says that it is the same running kernel; what was read this time must agree as well.
    """
    device = store.device(serial)
    if device is None or seen.boot_id is None or device.boot_id != seen.boot_id:
        return None
    record = store.find_kernel(device.kernel)  # a broken one is not there: this pull replaces it
    if record is None or record.serial != serial:
        return None
    known = replace(record.identity, boot_id=seen.boot_id)
    agree = all(
        getattr(seen, field.name) in (None, getattr(known, field.name)) for field in fields(known)
    )
    return record if agree else None
