"""Where this kernel's headers are to be read from, decided before anything is touched."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

from kheaders_adb.archive.carve import CarvedModule, carve
from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import DeviceFile, Probe, parse_boot_id
from kheaders_adb.device.script import quote
from kheaders_adb.errors import (
    ArchiveError,
    DeviceChangedError,
    KheadersError,
    NoHeadersError,
    PrivilegeError,
)
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.model import HeaderSource, Level, SourceKind, Via
from kheaders_adb.pipeline.candidates import best_module, read_payload
from kheaders_adb.pipeline.options import Tolerance
from kheaders_adb.pipeline.stager import mismatch_error
from kheaders_adb.untrusted.limits import Limits
from kheaders_adb.untrusted.rules import Rule
from kheaders_adb.untrusted.text import one_line

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class OnDevice:
    """The archive is read on the device, after loading a module if one is named.

    Attributes:
        module: a kheaders.ko on the device, or None.
        payload: a kheaders.ko to bring along, or empty.
        payload_path: where on the host it came from, for the record.
        archive_sha256: what the archive must then be, or None if that is not known.
        archive_bytes: its size, or None.
        vermagic: the module's, if known.
        notes: what was chosen, and why.
    """

    module: PurePosixPath | None = None
    payload: bytes = b""
    payload_path: Path | None = None
    archive_sha256: str | None = None
    archive_bytes: int | None = None
    vermagic: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Carved:
    """The archive was taken out of a kheaders.ko without loading it.

    Attributes:
        archive: its bytes.
        source: the module it was in.
        vermagic: the module's.
        notes: what was chosen, and why.
        boot_id: the device's boot in which the module was read; None for one on the host.
    """

    archive: bytes
    source: HeaderSource
    vermagic: str | None
    notes: tuple[str, ...] = ()
    boot_id: str | None = None


Plan = OnDevice | Carved


def choose_source(
    device: Device,
    probe: Probe,
    *,
    via: Via = Via.AUTO,
    module: Path | None = None,
    tolerance: Tolerance = Tolerance.NOTHING,
    limits: Limits | None = None,
) -> Plan:
    """Decide where the archive comes from.

    Args:
        device: the device; read from only to fetch a module for carving.
        probe: what it said of itself.
        via: what the user allows.
        module: a kheaders.ko on the host or a folder of them, or None.
        tolerance: carve a module known to be wrong instead of refusing it; it is never inserted.
        limits: caps for the archives inside modules.

    Raises:
        MismatchError: the module given does not belong to the running kernel; nothing was pushed.
        NoHeadersError, PrivilegeError: there is no way to the headers; the message says why.
        UsageError: the module given is not there, or `via` excludes everything.
    """
    limits = limits or Limits()
    shown = [archive for archive in probe.archives if archive.readable]
    if shown and via in (Via.AUTO, Via.SYSFS):
        # Shown by a loaded module, it may be gone by the time it is read: then that is loaded again.
        again = probe.module_loaded and not module and probe.modules and _cannot_load(probe) is None
        return OnDevice(
            module=_in_order(probe)[0].path if again else None,
            notes=(f"--module is not needed: the kernel shows {shown[0].path}",) if module else (),
        )
    if via is Via.SYSFS:
        raise _no_archive(device, probe)
    if module is not None:
        return _from_host(device, probe, via, module, tolerance, limits)
    return _from_device(device, probe, via, limits)


def _from_host(
    device: Device,
    probe: Probe,
    via: Via,
    module: Path,
    tolerance: Tolerance,
    limits: Limits,
) -> Plan:
    best, notes = best_module(device, probe, module, limits)
    carved = Carved(
        archive=best.carved.archive,
        source=HeaderSource(SourceKind.MODULE_CARVED, str(best.path)),
        vermagic=best.carved.vermagic,
        notes=notes,
    )
    if best.verdict.level is Level.MISMATCH:
        if not (tolerance.accepts(best.verdict) or tolerance.repairs(best.verdict)):
            raise mismatch_error(
                best.verdict,
                carved.source,
                device.serial,
                f"checking {best.path} before it is pushed",
            )
        return _noting(carved, "a module known to be wrong is not inserted, its archive was carved")
    if via is Via.CARVE:
        return carved
    if obstacle := _cannot_load(probe):
        if via is Via.LOAD:
            raise _not_loadable(device, best.path, obstacle)
        return _noting(carved, f"carved instead of loaded: {obstacle}")
    return OnDevice(
        payload=read_payload(best.path, limits),
        payload_path=best.path,
        archive_sha256=hashlib.sha256(best.carved.archive).hexdigest(),
        archive_bytes=len(best.carved.archive),
        vermagic=best.carved.vermagic,
        notes=notes,
    )


def _from_device(device: Device, probe: Probe, via: Via, limits: Limits) -> Plan:
    modules = _in_order(probe)
    if not modules:
        raise _no_archive(device, probe)
    obstacle = _cannot_load(probe)
    if via is not Via.CARVE and obstacle is None:
        return OnDevice(module=modules[0].path)
    if via is Via.LOAD:
        raise _not_loadable(device, modules[0].path, obstacle)
    readable = [file for file in modules if file.readable]
    if not readable:
        raise PrivilegeError(
            f"{modules[0].path} can neither be loaded ({obstacle}) nor read",
            step="choosing a source",
            device=device.serial,
            hint="use a rooted device, or give the same module from the build: --module kheaders.ko",
        )
    path = readable[0].path
    module, boot_id = _fetch_carved(device, probe, path, limits)
    return Carved(
        archive=module.archive,
        source=HeaderSource(SourceKind.MODULE_CARVED, str(path)),
        vermagic=module.vermagic,
        notes=(f"carved out of {path} instead of loading it: {obstacle}",) if obstacle else (),
        boot_id=boot_id,
    )


def _fetch_carved(
    device: Device, probe: Probe, path: PurePosixPath, limits: Limits
) -> tuple[CarvedModule, str | None]:
    """A module on the device, taken apart here, and the boot in which it was read."""
    step = f"reading {path}"
    # The boot_id is read by the same shell: another connection might reach another boot, or device.
    stream = device.stream(f"cat {_BOOT_ID} >&2; exec cat {quote(path)}", step=step)
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
        raise PrivilegeError(f"{path} cannot be read: {said}", step=step, device=device.serial)
    read_in, probed_in = parse_boot_id(boot_id), probe.identity.boot_id
    if None not in (read_in, probed_in) and read_in != probed_in:
        raise DeviceChangedError(
            f"the device rebooted between the probe and the read (boot_id {probed_in} → {read_in})",
            step=step,
            device=device.serial,
        )
    try:
        return carve(bytes(data), limits), read_in
    except ArchiveError as error:
        error.device, error.step = device.serial, f"carving {path}"
        raise


def _in_order(probe: Probe) -> list[DeviceFile]:
    """The modules on the device, those in a folder named after the running release first."""
    release = probe.identity.release
    return sorted(probe.modules, key=lambda file: release not in file.path.parts)


def _cannot_load(probe: Probe) -> str | None:
    if not probe.is_root:
        return f"only root may load modules{_refusals(probe)}"
    if probe.modules_disabled:
        return "loading modules is switched off until the next boot (kernel.modules_disabled=1)"
    return None


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


def _no_archive(device: Device, probe: Probe) -> KheadersError:
    step = "looking for the headers"
    release = probe.identity.release
    if probe.archives:
        return PrivilegeError(
            f"{probe.archives[0].path} is there, but only root may read it "
            f"(this shell is uid {probe.uid}{_refusals(probe, '; {}')})",
            step=step,
            device=device.serial,
            hint="use a rooted device, or carve them out of the module's file: "
            "--module kheaders.ko --via carve",
        )
    symbols = parse_config(probe.config) if probe.config is not None else {}
    setting = symbols.get("IKHEADERS") or symbols.get("IKHEADERS_PROC")
    hint = "give the kheaders.ko of this kernel's build with --module FILE"
    if probe.config is None:
        why = "its configuration cannot be read either"
    elif setting == "m":
        why = "its configuration says CONFIG_IKHEADERS=m, but there is no kheaders.ko on the device"
    elif setting == "y":
        why = "its configuration says CONFIG_IKHEADERS=y, but this shell does not see the file"
        hint = "look for it as root: `adb root`, or a rooted device"
    else:
        why = "it was built without CONFIG_IKHEADERS"
        hint = (
            "build the kernel with CONFIG_IKHEADERS=m and give its kheaders.ko with --module FILE"
        )
    return NoHeadersError(
        f"kernel {release} shows no headers: {why}",
        step=step,
        device=device.serial,
        hint=hint,
    )
