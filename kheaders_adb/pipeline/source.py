"""Where this kernel's headers are to be read from, decided before anything is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath

from kheaders_adb.archive.carve import carve
from kheaders_adb.device.advice import OTHER_DOMAIN
from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import DeviceFile, Probe, parse_boot_id
from kheaders_adb.device.script import quote
from kheaders_adb.errors import (
    ArchiveError,
    DeviceChangedError,
    MismatchError,
    NoHeadersError,
    PrivilegeError,
)
from kheaders_adb.model import HeaderSource, Level, SourceKind, Via
from kheaders_adb.pipeline.absence import absence_error
from kheaders_adb.pipeline.candidates import best_module, examine, read_payload
from kheaders_adb.pipeline.options import Tolerance
from kheaders_adb.pipeline.plans import Carved, InModule, OnDevice, Plan, Unusable
from kheaders_adb.pipeline.stager import mismatch_error
from kheaders_adb.untrusted.limits import Limits
from kheaders_adb.untrusted.rules import Rule
from kheaders_adb.untrusted.text import one_line

_BOOT_ID = "/proc/sys/kernel/random/boot_id"

#: Gives what is in a module on the device, if that is known without reading it.
Recall = Callable[[PurePosixPath], InModule | None]


def _recall_nothing(_: PurePosixPath) -> None:
    """Every module has to be read."""


def ways(
    device: Device,
    probe: Probe,
    *,
    via: Via = Via.AUTO,
    module: Path | None = None,
    tolerance: Tolerance = Tolerance.NOTHING,
    limits: Limits | None = None,
    doubted: Collection[str] = (),
    recall: Recall = _recall_nothing,
) -> Iterator[Plan | Unusable]:
    """The ways to the archive, the best one first; each is worked out when the one before it has failed.

    Args:
        device: the device; read from only to examine its modules.
        probe: what it said of itself.
        via: what the user allows.
        module: a kheaders.ko on the host or a folder of them, or None.
        tolerance: carve a module known to be wrong instead of refusing it; it is never inserted.
        limits: caps for the archives inside modules.
        doubted: modules that the kernel refused as another build's, in the course of trying.
        recall: gives what is in a module on the device, if that is known without reading it.

    Raises:
        MismatchError: the module given does not belong to the running kernel; nothing was pushed.
        NoHeadersError, PrivilegeError: there is no way to the headers; the message says why.
        UsageError: the module given is not there, or `via` excludes everything.
    """
    limits = limits or Limits()
    shown = any(archive.readable for archive in probe.archives)
    if shown and via in (Via.AUTO, Via.SYSFS):
        yield from _shown(device, probe, module)
        if via is Via.SYSFS or (module is None and not probe.modules):
            return
    elif via is Via.SYSFS:
        raise absence_error(
            device.serial,
            probe,
            told=_refusals(probe, "{}"),
            other_ways=module is not None or bool(probe.modules),
        )
    if module is not None:
        yield from _from_host(device, probe, via, module, tolerance, limits)
    else:
        yield from _from_device(device, probe, via, tolerance, limits, doubted, recall)


def _shown(device: Device, probe: Probe, module: Path | None) -> Iterator[Plan]:
    path = next(archive.path for archive in probe.archives if archive.readable)
    # Shown by a loaded module, it may be gone by the time it is read: then all is looked at anew, and what is
    # loaded is said and noted.
    plan = OnDevice(
        notes=(f"--module is not needed: the kernel shows {path}",) if module else (),
        shown=True,
    )
    yield plan
    if device.su is None:
        # What the shell may read, adbd's own file service may not have been allowed.
        yield replace(plan, beside=False)


def _from_host(
    device: Device,
    probe: Probe,
    via: Via,
    module: Path,
    tolerance: Tolerance,
    limits: Limits,
) -> Iterator[Plan]:
    best, notes = best_module(device, probe, module, limits)
    carved = Carved(
        archive=best.carved.archive,
        source=HeaderSource(SourceKind.MODULE_CARVED, str(best.path)),
        vermagic=best.carved.vermagic,
        notes=notes,
        module_sha256=best.sha256,
    )
    if best.verdict.level is Level.MISMATCH:
        if not (tolerance.accepts(best.verdict) or tolerance.repairs(best.verdict)):
            raise mismatch_error(
                best.verdict,
                carved.source,
                device.serial,
                f"checking {best.path} before it is pushed",
            )
        yield _noting(carved, "a module known to be wrong is not inserted, its archive was carved")
        return
    if via is Via.CARVE:
        yield carved
        return
    if obstacle := cannot_load(probe) or _cannot_bring(device):
        if via is Via.LOAD:
            raise _not_loadable(device, best.path, obstacle)
        yield _noting(carved, f"carved instead of loaded: {obstacle}")
        return
    payload = read_payload(best.path, limits)
    plan = OnDevice(
        payload=payload,
        payload_path=best.path,
        archive_sha256=hashlib.sha256(best.carved.archive).hexdigest(),
        archive_bytes=len(best.carved.archive),
        module_sha256=best.sha256,  # only what was examined is inserted
        vermagic=best.carved.vermagic,
        notes=notes,
    )
    yield from _in_folders(probe, plan)
    if via is Via.AUTO:
        yield _noting(carved, "carved instead of loaded")


def _from_device(
    device: Device,
    probe: Probe,
    via: Via,
    tolerance: Tolerance,
    limits: Limits,
    doubted: Collection[str],
    recall: Recall,
) -> Iterator[Plan | Unusable]:
    modules = require_modules(device.serial, probe, via)
    obstacle = cannot_load(probe)
    if via is Via.LOAD and obstacle is not None:
        raise _not_loadable(device, modules[0].path, obstacle)
    for file in modules:
        # Where there is nothing to choose from, the kernel is the first to look at a module, and what it then
        # shows is matched.  Few tools unpack what they insert.
        is_alone = len(modules) == 1 and file.path.suffix == ".ko"
        if obstacle is None and via is not Via.CARVE and (is_alone or not file.readable):
            yield from _in_folders(probe, OnDevice(module=file.path))
            if via is Via.LOAD or not file.readable or str(file.path) in doubted:
                continue
            carve_only = True
        else:
            carve_only = via is Via.CARVE
        if file.readable:
            try:
                module = recall(file.path) or _fetch_carved(device, probe, file.path, limits)
                yield from _examined(
                    device,
                    probe,
                    file.path,
                    module,
                    Via.CARVE if carve_only else via,
                    obstacle,
                    tolerance,
                    limits,
                )
            except (ArchiveError, MismatchError, NoHeadersError) as error:
                yield Unusable(error)


def _in_folders(probe: Probe, plan: OnDevice) -> Iterator[OnDevice]:
    """A load in the first folder for temporary files, then in the others."""
    yield plan
    for work in probe.works[1:]:
        yield replace(plan, work=work, elsewhere=True)


def _examined(
    device: Device,
    probe: Probe,
    path: PurePosixPath,
    module: InModule,
    via: Via,
    obstacle: str | None,
    tolerance: Tolerance,
    limits: Limits,
) -> Iterator[Plan]:
    """The ways from a module on the device that can be read: nothing unseen is inserted."""
    carved = Carved(
        archive=module.archive,
        source=HeaderSource(SourceKind.MODULE_CARVED, str(path)),
        vermagic=module.vermagic,
        boot_id=module.boot_id,
        module_sha256=module.sha256,
        recalled=module.recalled,
    )
    if via is Via.CARVE:
        yield carved
        return
    verdict = examine(module, probe, limits, device.deadline)
    if verdict.level is Level.MISMATCH:
        if not (tolerance.accepts(verdict) or tolerance.repairs(verdict)):
            raise mismatch_error(
                verdict, carved.source, device.serial, f"checking {path} before it is inserted"
            )
        yield _noting(carved, "a module known to be wrong is not inserted, its archive was carved")
        return
    if obstacle is not None:
        yield _noting(carved, f"carved out of {path} instead of loading it: {obstacle}")
        return
    if module.is_packed:
        # Few tools on devices unpack what they insert.
        yield _noting(carved, f"carved out of {path}, which is compressed, instead of loading it")
        return
    plan = OnDevice(
        module=path,
        module_sha256=module.sha256,
        recalled=module.recalled,
        archive=module.archive,
        archive_sha256=hashlib.sha256(module.archive).hexdigest(),
        archive_bytes=len(module.archive),
        vermagic=module.vermagic,
    )
    yield from _in_folders(probe, plan)
    if via is Via.AUTO:
        yield _noting(carved, f"carved out of {path} instead of loading it")


def _fetch_carved(device: Device, probe: Probe, path: PurePosixPath, limits: Limits) -> InModule:
    """A module on the device, taken apart here."""
    step = f"reading {path}"
    # The boot_id is read by the same shell: another connection might reach another boot, or device.
    command = f"cat {_BOOT_ID} >&2; exec cat {quote(path)}"
    stream = device.stream(command, step=step, binary=True)
    data = bytearray()
    try:
        stream.close_stdin()
        for chunk in stream:
            data += chunk
            if len(data) > limits.module_bytes:
                raise Rule.MODULE_TOO_LARGE.error(f"more than {limits.module_bytes} bytes")
    except ArchiveError as error:
        error.device, error.step = device.serial, step
        raise
    finally:
        stream.close()
    boot_id, _, rest = stream.stderr.decode("utf-8", "replace").partition("\n")
    if stream.exit_code != 0:
        said = one_line(rest or boot_id)
        raise PrivilegeError(
            f"{path} cannot be read: {said}",
            step=step,
            device=device.serial,
            hint="use a rooted device, or give the same module from the build: --module kheaders.ko",
        )
    read_in, probed_in = parse_boot_id(boot_id), probe.identity.boot_id
    if None not in (read_in, probed_in) and read_in != probed_in:
        raise DeviceChangedError(
            f"the device rebooted between the probe and the read (boot_id {probed_in} → {read_in})",
            step=step,
            device=device.serial,
        )
    try:
        carved = carve(bytes(data), limits)
        sha256 = hashlib.sha256(data).hexdigest()
        is_packed = not data.startswith(b"\x7fELF")
        return InModule(carved.archive, carved.vermagic, sha256, read_in, is_packed)
    except ArchiveError as error:
        error.device, error.step = device.serial, f"carving {path}"
        raise


def require_modules(serial: str, probe: Probe, via: Via) -> list[DeviceFile]:
    """The modules on the device, those in a folder named after the running release first.  Pure.

    Raises:
        NoHeadersError: there is none.
        PrivilegeError: this user can do nothing with any of them.
    """
    release = probe.identity.release
    modules = sorted(probe.modules, key=lambda file: release not in file.path.parts)
    if not modules:
        raise absence_error(serial, probe, told=_refusals(probe, "{}"))
    obstacle = cannot_load(probe)
    if via is Via.LOAD or any(file.readable for file in modules):
        return modules
    if obstacle is not None or via is Via.CARVE:
        raise PrivilegeError(
            f"{modules[0].path} can neither be loaded ({obstacle}) nor read"
            if obstacle is not None
            else f"{modules[0].path} cannot be read, not even as root{_refusals(probe)}",
            step="choosing a source",
            device=serial,
            hint=f"{OTHER_DOMAIN if probe.is_root else 'use a rooted device'}, or give the same module from "
            "the build: --module kheaders.ko",
        )
    return modules


def cannot_load(probe: Probe) -> str | None:
    """What keeps this user from loading modules, or None."""
    if not probe.is_root:
        return f"only root may load modules{_refusals(probe)}"
    if probe.modules_disabled:
        return "loading modules is switched off until the next boot (kernel.modules_disabled=1)"
    return None


def _cannot_bring(device: Device) -> str | None:
    if device.shell.is_v2:
        return None
    return "without shell protocol 2 no file can be brought to the device"


def _not_loadable(device: Device, path: PurePath, obstacle: str | None) -> PrivilegeError:
    return PrivilegeError(
        f"{path} cannot be loaded: {obstacle}",
        step="choosing a source",
        device=device.serial,
        hint="leave out --via load: the headers may be carved out of the module",
    )


def _refusals(probe: Probe, form: str = " ({})") -> str:
    """Why root was not to be had, in `form`; empty if it was not tried."""
    return form.format("; ".join(probe.refusals)) if probe.refusals else ""


def _noting(plan: Carved, note: str) -> Carved:
    return replace(plan, notes=(*plan.notes, note))
