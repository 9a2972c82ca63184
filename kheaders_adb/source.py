"""Where this kernel's headers are to be read from, decided before anything is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kheaders_adb.archive.carve import CarvedModule, carve, carve_module
from kheaders_adb.archive.facts import FactCollector
from kheaders_adb.archive.kconfig import parse_config
from kheaders_adb.archive.limits import Limits
from kheaders_adb.archive.match import match
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.archive.rules import Rule
from kheaders_adb.device.device import Device, quote
from kheaders_adb.device.probe import DeviceFile, Probe
from kheaders_adb.device.wire import printable
from kheaders_adb.errors import (
    ArchiveError,
    KheadersError,
    NoHeadersError,
    PrivilegeError,
    UsageError,
)
from kheaders_adb.model import HeaderSource, Level, SourceKind, Verdict, Via
from kheaders_adb.stage import mismatch_error

_RANK = {
    Level.EXACT: 0,
    Level.CONSISTENT: 1,
    Level.REPAIRED: 2,
    Level.UNMATCHED: 3,
    Level.MISMATCH: 4,
}


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
    """

    archive: bytes
    source: HeaderSource
    vermagic: str | None
    notes: tuple[str, ...] = ()


Plan = OnDevice | Carved


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A kheaders.ko on the host and how its archive fits the running kernel."""

    path: Path
    carved: CarvedModule
    verdict: Verdict


def choose_source(
    device: Device,
    probe: Probe,
    *,
    via: Via = Via.AUTO,
    module: Path | None = None,
    allow_mismatch: bool = False,
    limits: Limits | None = None,
) -> Plan:
    """Decide where the archive comes from.

    Args:
        device: the device; read from only to fetch a module for carving.
        probe: what it said of itself.
        via: what the user allows.
        module: a kheaders.ko on the host or a folder of them, or None.
        allow_mismatch: carve a module known to be wrong instead of refusing it; it is never inserted.
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
        return _from_host(device, probe, via, module, allow_mismatch, limits)
    return _from_device(device, probe, via, limits)


def _from_host(
    device: Device,
    probe: Probe,
    via: Via,
    module: Path,
    allow_mismatch: bool,
    limits: Limits,
) -> Plan:
    best, notes = _best_module(device, probe, module, limits)
    carved = Carved(
        archive=best.carved.archive,
        source=HeaderSource(SourceKind.MODULE_CARVED, str(best.path)),
        vermagic=best.carved.vermagic,
        notes=notes,
    )
    if best.verdict.level is Level.MISMATCH:
        if not allow_mismatch:
            raise mismatch_error(
                best.verdict, device.serial, f"checking {best.path} before it is pushed"
            )
        return _noting(carved, "a module known to be wrong is not inserted, its archive was carved")
    if via is Via.CARVE:
        return carved
    if obstacle := _cannot_load(probe):
        if via is Via.LOAD:
            raise PrivilegeError(
                f"{best.path} cannot be loaded: {obstacle}",
                step="choosing a source",
                device=device.serial,
                hint="leave out --via load: the headers can be carved out of the module",
            )
        return _noting(carved, f"carved instead of loaded: {obstacle}")
    return OnDevice(
        payload=_read_module(best.path),
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
        raise PrivilegeError(
            f"{modules[0].path} cannot be loaded: {obstacle}",
            step="choosing a source",
            device=device.serial,
            hint="leave out --via load: the headers may be carved out of the module",
        )
    readable = [file for file in modules if file.readable]
    if not readable:
        raise PrivilegeError(
            f"{modules[0].path} can neither be loaded ({obstacle}) nor read",
            step="choosing a source",
            device=device.serial,
            hint="use a rooted device, or give the same module from the build: --module kheaders.ko",
        )
    path = readable[0].path
    module = _fetch_carved(device, path, limits)
    return Carved(
        archive=module.archive,
        source=HeaderSource(SourceKind.MODULE_CARVED, str(path)),
        vermagic=module.vermagic,
        notes=(f"carved out of {path} instead of loading it: {obstacle}",) if obstacle else (),
    )


def _best_module(
    device: Device, probe: Probe, module: Path, limits: Limits
) -> tuple[_Candidate, tuple[str, ...]]:
    best: _Candidate | None = None
    usable, rejected = 0, []
    for path in _module_files(module):
        try:
            candidate = _examine(path, probe, limits)
        except (ArchiveError, UsageError) as error:
            if not module.is_dir():
                raise
            rejected.append(f"{path.relative_to(module)}: {error.seen}")
            continue
        usable += 1
        # Only one is kept: each holds 4 MB, and a lab may have hundreds.
        best = min(best or candidate, candidate, key=lambda one: _rank(one, probe))
    if best is None:
        raise UsageError(
            f"{module} holds no usable kheaders.ko"
            + "".join(f"\n    {reason}" for reason in rejected[:5]),
            step="choosing a module",
            device=device.serial,
            hint="give the kheaders.ko of the running kernel's build",
        )
    if not module.is_dir():
        return best, ()
    return best, (
        f"of {usable} modules in {module}, {best.path.relative_to(module)} fits best: "
        f"its archive is {best.verdict.level} for this kernel",
    )


def _rank(candidate: _Candidate, probe: Probe) -> tuple[int, int, bool, str]:
    verdict = candidate.verdict
    same_vermagic = (candidate.carved.vermagic or "").split(" ")[0] == probe.identity.release
    return (_RANK[verdict.level], len(verdict.differing), not same_vermagic, str(candidate.path))


def _examine(path: Path, probe: Probe, limits: Limits) -> _Candidate:
    carved = carve_module(path, limits)
    collector = FactCollector()
    for member, content in read_archive((carved.archive,), limits):
        collector.add(member.path, content)
    verdict = match(
        probe.identity,
        parse_config(probe.config) if probe.config is not None else None,
        collector.facts(),
        vermagic=carved.vermagic,
        boot_id_after=probe.identity.boot_id,
    )
    return _Candidate(path, carved, verdict)


def _module_files(module: Path) -> Iterable[Path]:
    if module.is_dir():
        return sorted(path for path in module.rglob("*.ko*") if path.is_file())
    if not module.exists():
        raise UsageError(
            f"{module} does not exist", step="choosing a module", hint="check --module"
        )
    return (module,)


def _read_module(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", step="choosing a module"
        ) from error


def _fetch_carved(device: Device, path: PurePosixPath, limits: Limits) -> CarvedModule:
    step = f"reading {path}"
    stream = device.stream(f"cat {quote(path)}", step=step)
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
    if stream.exit_code != 0:
        said = printable(stream.stderr.decode("utf-8", "replace"))
        raise PrivilegeError(f"{path} cannot be read: {said}", step=step, device=device.serial)
    try:
        return carve(bytes(data), limits)
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


def _refusals(probe: Probe, form: str = " ({})") -> str:
    """Why root was not to be had, in `form`; empty if it was not tried."""
    return form.format("; ".join(probe.refusals)) if probe.refusals else ""


def _noting(plan: Carved, note: str) -> Carved:
    return Carved(plan.archive, plan.source, plan.vermagic, (*plan.notes, note))


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
