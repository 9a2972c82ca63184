"""Choosing among the kheaders.ko files that lie on the host, by what is inside them."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.archive.carve import CarvedModule, carve, carve_module
from kheaders_adb.archive.pack import read_module
from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import Probe
from kheaders_adb.errors import ArchiveError, UsageError
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.match import match, vermagic_release
from kheaders_adb.model import Level, Verdict
from kheaders_adb.pipeline.plans import InModule
from kheaders_adb.pipeline.surveying import read_facts, survey_archive
from kheaders_adb.untrusted import host_file
from kheaders_adb.untrusted.host_file import Kind
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits

_CHOOSING = "choosing a module"
_RANK = {
    Level.EXACT: 0,
    Level.CONSISTENT: 1,
    Level.REPAIRED: 2,
    Level.UNMATCHED: 3,
    Level.MISMATCH: 4,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kheaders.ko on the host, how its archive fits the running kernel, and the sha256 of it unpacked."""

    path: Path
    carved: CarvedModule
    verdict: Verdict
    sha256: str


def best_module(
    device: Device, probe: Probe, module: Path, limits: Limits
) -> tuple[Candidate, tuple[str, ...]]:
    """The module in a file or folder whose archive fits the running kernel best, and why it was taken.

    Args:
        device: the device, for messages.
        probe: what it said of itself.
        module: a kheaders.ko, plain or packed, or a folder that is searched for them.
        limits: caps for modules and archives.

    Raises:
        UsageError: it is not there, or none of those in a folder can be used; the message says why.
        ArchiveError: the one that was named is damaged, unsafe or another module.
        DeadlineError: the device's time is over.
    """
    best: Candidate | None = None
    files, closed = _module_files(module)
    usable, rejected = 0, [error.seen for error in closed]
    for path in files:
        try:
            candidate = _examine(path, probe, limits, device.deadline)
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
            step=_CHOOSING,
            device=device.serial,
            hint="give the kheaders.ko of the running kernel's build",
        )
    if best.verdict.level is Level.MISMATCH:
        verdict, _ = survey_archive(
            (best.carved.archive,), best.verdict, limits, _within(device.deadline)
        )
        best = replace(best, verdict=verdict)
    if not module.is_dir():
        return best, ()
    return best, (
        f"of {usable} modules in {module}, {best.path.relative_to(module)} fits best: "
        f"its archive is {best.verdict.level} for this kernel",
    )


def holds_archive(module: Path, sha256: str, limits: Limits | None, deadline: Deadline) -> bool:
    """Whether a kheaders.ko, or one in a folder of them, holds the archive of this sha256.

    Raises:
        DeadlineError: it took too long to find out.
        UsageError: it is not there, or cannot be read.
        ArchiveError: the one that was named is damaged or another module.
    """
    for path in _module_files(module)[0]:
        deadline.require(step=_CHOOSING)
        try:
            archive = carve_module(path, limits or Limits()).archive
        except (ArchiveError, UsageError):
            if not module.is_dir():
                raise
            continue
        if hashlib.sha256(archive).hexdigest() == sha256:
            return True
    return False


def _rank(candidate: Candidate, probe: Probe) -> tuple[int, int, bool, str]:
    verdict = candidate.verdict
    release = probe.identity.release
    same_vermagic = vermagic_release(candidate.carved.vermagic or "", release) == release
    return (_RANK[verdict.level], len(verdict.differing), not same_vermagic, str(candidate.path))


def _examine(path: Path, probe: Probe, limits: Limits, deadline: Deadline) -> Candidate:
    deadline.require(step=_CHOOSING)
    data = read_module(path, limits)
    carved = carve(data, limits)
    verdict = examine(carved, probe, limits, deadline)
    return Candidate(path, carved, verdict, hashlib.sha256(data).hexdigest())


def examine(
    carved: CarvedModule | InModule, probe: Probe, limits: Limits, deadline: Deadline
) -> Verdict:
    """How a module's archive fits the running kernel, as far as can be told before it is loaded.

    Raises:
        ArchiveError: the archive is damaged or unsafe.
        DeadlineError: reading it took too long.
    """
    return match(
        probe.identity,
        parse_config(probe.config) if probe.config is not None else None,
        read_facts((carved.archive,), limits, _within(deadline)),
        vermagic=carved.vermagic,
    )


def _within(deadline: Deadline) -> Callable[[], None]:
    return functools.partial(deadline.require, step=_CHOOSING)


def _module_files(module: Path) -> tuple[list[Path], list[UsageError]]:
    """The file, or those of the folder that may be modules; and why parts of it cannot be looked into."""
    if host_file.kind_of(module, step=_CHOOSING) is not Kind.FOLDER:
        return [module], []
    found: list[Path] = []
    closed: list[UsageError] = []

    def pass_over(error: OSError) -> None:
        folder = Path(os.fsdecode(error.filename))
        closed.append(host_file.unreadable(folder, error, step=_CHOOSING))

    for folder, _, names in os.walk(module, onerror=pass_over):
        found += [Path(folder, name) for name in names if ".ko" in name]
    return sorted(filter(_may_be_file, found)), closed


def _may_be_file(path: Path) -> bool:
    try:
        return host_file.kind_of(path, step=_CHOOSING) is Kind.FILE
    except UsageError:
        return True  # why it is not is said where it is read


def read_payload(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """A module's bytes as the kernel takes them, to be brought to the device: unpacked, if it is packed.

    Raises:
        UsageError: it cannot be read.
        ArchiveError: it has become another file since it was examined, and does not unpack.
    """
    return read_module(path, limits)
