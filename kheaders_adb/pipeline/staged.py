"""Whether what the store holds may be used for the kernel that a device runs: the one place that decides it.

Only a build-id names a build.  A configuration or ``uname`` may be those of a rebuilt kernel, so that they
count for the device and the boot in which the headers were read, and for nothing else.  And what a device
says of itself, its serial too, may be another's words: where it can be asked for the archive's sha256, it is,
before a tree that was staged in another boot, or for another device, is used for this one; else for that of
the kheaders.ko that it would be taken from.  What it says holds for the boot.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import DeviceFile, Probe
from kheaders_adb.model import Evidence, Grounds, KernelIdentity, Reuse, SourceKind
from kheaders_adb.pipeline.options import Options
from kheaders_adb.store.records import RULES, DeviceRecord, KernelRecord
from kheaders_adb.store.store import Store

_ALONE = "it was staged in another boot or from another device; the build-id agrees"
_ALONE_NOW = (
    "it was staged in another boot or from another device; the build-id agrees, which this boot has shown to "
    "a user with more rights"
)
_SHOWN_BY_KERNEL = (SourceKind.SYSFS, SourceKind.PROC, SourceKind.MODULE_LOADED)
_STEP = "comparing the {} with the one that is staged"


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
    found = look(store, about, device, options)
    if (record := found.record) is None:
        return found
    reuse = found.reuse
    known = replace(record.identity, boot_id=about.identity.boot_id)
    archive = record.archive.sha256 if reuse.grounds is Grounds.DIGEST else None
    used = store.find(known, serial, proven=True, archive=archive, config=about.config)
    if used is None or used.archive != record.archive:
        return Found(None, Reuse(Grounds.NONE, "what was staged is not there any more"))
    return Found(used, reuse)


def look(store: Store, about: Probe, device: Device, options: Options) -> Found:
    """As `find_staged`, for one who only wants to know: nothing counts as used or seen."""
    record = store.find_kernel(about.identity.key) or _find_boot(
        store, about.identity, device.serial
    )
    if record is None:
        return Found(None, Reuse(Grounds.NONE, "nothing is staged for this kernel"))
    reuse = _judge(store, record, about, device, options)
    return Found(None if reuse.grounds is Grounds.NONE else record, reuse)


def _judge(
    store: Store, record: KernelRecord, about: Probe, device: Device, options: Options
) -> Reuse:
    if not options.tolerance.accepts_staged(record.verdict):
        return _no(f"what is staged is {record.verdict.level}, which was not asked for")
    if record.rules != RULES:
        return _no(f"it was judged by the rules of kheaders-adb {record.tool_version}")
    shown = [archive for archive in about.archives if archive.readable]
    if (
        options.module is not None
        and not shown
        and not _holds(device, options.module, record, options)
    ):
        return _no("the module given holds another archive than the one that is staged")
    # What counts is what was read now: a record may know more, by root's eyes.
    names_build = about.identity.evidence is Evidence.BUILD_ID
    is_own = record.serial == device.serial
    boot = _same_boot(store, record, about, device.serial)
    # What was carved or imported for this device, the kernel has not shown; what it shows now counts more.
    is_shown = bool(shown) and record.source.kind not in _SHOWN_BY_KERNEL
    if boot is not None and boot.archive == record.archive.sha256 and not is_shown:
        if is_own and names_build:
            return Reuse(Grounds.BUILD_ID, "it was staged for this device, and the build-id agrees")
        if is_own:
            return Reuse(Grounds.BOOT, "it was staged for this device in this boot")
        if names_build:
            return Reuse(Grounds.DIGEST, "this device has shown the same archive in this boot")
    if names_build or (boot is not None and is_shown):
        return _ask(device, record, about, options)
    if boot is not None and is_own and record.identity.evidence is Evidence.BUILD_ID:
        return Reuse(Grounds.BUILD_ID, _ALONE_NOW, is_unproven=True)
    return _no("the build-id cannot be read, and it was staged in another boot or elsewhere")


def _ask(device: Device, record: KernelRecord, about: Probe, options: Options) -> Reuse:
    """Whether this device has what was staged with its build-id: by its own sha256, where that can be had."""
    shown = next((archive for archive in about.archives if archive.readable), None)
    wanted: str | None
    if shown is not None:
        what, file, wanted = "archive", shown.path, record.archive.sha256
    elif (module := _its_module(record, about)) is not None and options.module is None:
        what, file, wanted = "module", module.path, record.module_sha256
    else:
        return _unproven("this shell sees no archive to compare")
    sha256 = device.sha256(file, step=_STEP.format(what))
    if sha256 is None:
        if about.identity.evidence is not Evidence.BUILD_ID:
            return _no(f"neither the build-id nor the {what}'s sha256 is to be had")
        return _unproven(f"the {what}'s sha256 is not to be had")
    if sha256 == wanted:
        return Reuse(Grounds.DIGEST, f"this device's own sha256 of the {what} is the staged one's")
    return _no(f"what was staged for this kernel is another {what} than this device shows")


def _its_module(record: KernelRecord, about: Probe) -> DeviceFile | None:
    """The module that it was staged from, or the one in its place here, if that can be read.

    Another one may hold the same archive, or one that somebody had a reason not to use.
    """
    if record.module_sha256 is None:
        return None
    places = (file for file in about.modules if str(file.path) == record.source.path)
    return next((file for file in places if file.readable), None)


def _same_boot(
    store: Store, record: KernelRecord, about: Probe, serial: str
) -> DeviceRecord | None:
    """What is known of this device, if it was seen running this kernel in the boot that it is in now."""
    last = store.device(serial)
    if last is None or last.kernel != record.key or last.boot_id is None:
        return None
    return last if last.boot_id == about.identity.boot_id else None


def _unproven(why: str) -> Reuse:
    return Reuse(Grounds.BUILD_ID, f"{_ALONE}, {why}", is_unproven=True)


def _no(reason: str) -> Reuse:
    return Reuse(Grounds.NONE, reason)


def _holds(device: Device, module: Path, record: KernelRecord, options: Options) -> bool:
    """Whether a module given, or one in the folder given, holds the archive that is staged."""
    from kheaders_adb.pipeline.candidates import holds_archive  # with all that carving takes

    return holds_archive(module, record.archive.sha256, options.limits, device.deadline)


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
