"""Whether an archive belongs to a running kernel: named checks and what they amount to.

Pure: it compares what the kernel and the archive say, and reads nothing itself.  docs/matching.md
tells the same in prose.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping

from kheaders_adb.kernel.banner import find_doubt, parse_builder
from kheaders_adb.kernel.differences import check_config, compare_configs
from kheaders_adb.kernel.facts import require_kheaders
from kheaders_adb.model import (
    ArchiveFacts,
    Check,
    CheckStatus,
    KernelIdentity,
    Level,
    Verdict,
)
from kheaders_adb.untrusted.text import printable

_ONLY_CONFIG_NOTE = (
    "only the configuration differs: the archive is of an earlier or another build, or the configuration is "
    "not that of the running kernel; nothing compared here can tell which"
)

_SRCARCH = (
    (re.compile(r"x86_64|i[3-6]86"), "x86"),
    (re.compile(r"aarch64(_be)?|arm64"), "arm64"),
    (re.compile(r"arm(v\w+)?"), "arm"),
    (re.compile(r"riscv(32|64)?"), "riscv"),
    (re.compile(r"ppc(64)?(le)?"), "powerpc"),
    (re.compile(r"mips(64)?"), "mips"),
    (re.compile(r"s390x?"), "s390"),
    (re.compile(r"loongarch(32|64)"), "loongarch"),
)
# What a 64-bit kernel answers to a process of 32-bit personality (COMPAT_UTS_MACHINE).
_COMPAT_MACHINES = {
    "armv8l": "aarch64",
    "armv8b": "aarch64_be",
    "i686": "x86_64",
    "ppc": "ppc64",
    "ppcle": "ppc64le",
    "s390": "s390x",
}
# The machine name of the build and the one of the running kernel, where they differ by design: the
# latter names the processor.
_BUILD_MACHINES = {"arm": re.compile(r"armv\w+"), "i386": re.compile(r"i[3-6]86")}


def match(
    identity: KernelIdentity,
    config: Mapping[str, str] | None,
    facts: ArchiveFacts,
    *,
    vermagic: str | None = None,
    boot_id_after: str | None = None,
    unclaimed: Collection[str] = (),
) -> Verdict:
    """Judge whether an archive was made for the kernel that is running.

    A difference in how the archive is delivered (``CONFIG_IKHEADERS`` y or m) is tolerated: it
    changes no header.  The ``config`` check then agrees and its note names the difference.

    Args:
        identity: what the running kernel says of itself.
        config: its configuration, as parse_config() gives it; None if it cannot be read.  If its heading
            names another Linux than the archive, it is no proof: the ``config`` check is unknown at best.
        facts: what the archive says.
        vermagic: the vermagic of the module that the archive came with, if any.
        boot_id_after: the boot_id after the archive was read; None if unknown.
        unclaimed: the checks for which nobody said anything of the kernel, so that ``identity`` has the
            archive's own words: they are unknown.

    Returns:
        The checks ``release``, ``machine``, ``config``, ``builder``, ``version``, ``vermagic`` (with
        a module only) and ``continuity``, in this order, and the level: mismatch if any differs,
        else exact if release and configuration agree, else consistent.

    Raises:
        CorruptArchiveError: the archive does not say which kernel it is for.
    """
    require_kheaders(facts)
    differences, tolerated = compare_configs(config, facts.config)
    checks = [
        _check_release(identity, facts),
        _check_machine(identity.machine, facts),
        check_config(config, differences, tolerated, facts),
        _check_builder(identity, facts),
        _check_version(identity, facts.uts_version),
    ]
    if vermagic is not None:
        checks.append(_check_vermagic(identity.release, vermagic))
    checks.append(_check_continuity(identity.boot_id, boot_id_after))
    checks = [_not_claimed(check) if check.name in unclaimed else check for check in checks]

    differing = [check.name for check in checks if check.status is CheckStatus.DIFFER]
    if differing:
        level = Level.MISMATCH
    elif all(check.status is CheckStatus.AGREE for check in (checks[0], checks[2])):
        level = Level.EXACT
    else:
        level = Level.CONSISTENT
    if differing == ["config"]:
        note = f"{checks[2].note}; {_ONLY_CONFIG_NOTE}"
        checks[2] = dataclasses.replace(checks[2], note=note)
    return Verdict(level, tuple(checks), tuple(differences))


def _check_release(identity: KernelIdentity, facts: ArchiveFacts) -> Check:
    """Compare ``uname -r`` with the archive's release.

    A kernel that does not speak with one voice never agrees: an archive of the likelier release may be the
    right one, an archive of another is not.
    """
    assert facts.release is not None
    doubt = find_doubt(identity)
    if doubt is None:
        return _compare("release", identity.release, facts.release)
    status = CheckStatus.UNKNOWN if facts.release == doubt.release else CheckStatus.DIFFER
    return _check("release", status, doubt.said, facts.release, doubt.note)


def _check_machine(machine: str, facts: ArchiveFacts) -> Check:
    """Compare ``uname -m`` with UTS_MACHINE and with the archive's ``arch/`` directory."""
    built = facts.uts_machine
    arch = None if facts.srcarch is None else f"arch/{facts.srcarch}"
    found = ", ".join(filter(None, (built, arch))) or None
    wide = _COMPAT_MACHINES.get(machine)
    note = None
    verdicts = []
    if built is not None:
        pattern = _BUILD_MACHINES.get(built)
        same = built == machine or (pattern is not None and pattern.fullmatch(machine) is not None)
        verdicts.append(same or built == wide)
    else:
        same = srcarch_of(machine) == facts.srcarch and machine != "i686"
    if facts.srcarch is not None and (family := srcarch_of(machine)) is not None:
        compatible = wide is not None and srcarch_of(wide) == facts.srcarch
        verdicts.append(family == facts.srcarch or compatible)
    if not verdicts:
        status = CheckStatus.UNKNOWN
    elif all(verdicts):
        status = CheckStatus.AGREE
        if not same and wide is not None:
            note = f"a 32-bit shell sees {machine} on a {wide} kernel"
    else:
        status = CheckStatus.DIFFER
    return _check("machine", status, machine, found, note)


def srcarch_of(machine: str) -> str | None:
    """The directory under ``arch/`` for what ``uname -m`` says; None for one that is not known."""
    return next((arch for pattern, arch in _SRCARCH if pattern.fullmatch(machine)), None)


def is_srcarch(name: str) -> bool:
    """Whether it is one of the directories that `srcarch_of` gives."""
    return any(name == arch for _, arch in _SRCARCH)


def _check_builder(identity: KernelIdentity, facts: ArchiveFacts) -> Check:
    """Compare who built the kernel where and with what: /proc/version and ``compile.h``."""
    found = None
    if facts.compile_by is not None and facts.compile_host is not None:
        found = f"({facts.compile_by}@{facts.compile_host})"
        if facts.compiler is not None:
            found += f" ({facts.compiler})"
    built = parse_builder(identity)
    expected = None if built is None else f"({built[0]}) ({built[1]})"
    note = None
    if identity.banner is not None and built is None:
        note = "/proc/version has no form known here"
    if found is None or built is None:
        return _check("builder", CheckStatus.UNKNOWN, expected, found, note)
    same = built[0] == f"{facts.compile_by}@{facts.compile_host}" and facts.compiler in (
        None,
        built[1],
    )
    status = CheckStatus.AGREE if same else CheckStatus.DIFFER
    return _check("builder", status, expected, found, note)


def _check_version(identity: KernelIdentity, archived: str | None) -> Check:
    version = identity.version
    if archived is None:
        note = "kernels since 6.1 do not put it into the archive"
        return _check("version", CheckStatus.UNKNOWN, version, None, note)
    check = _compare("version", version, archived)
    if check.status is CheckStatus.AGREE:
        return check
    if (identity.banner or "").strip().endswith(f") {archived.strip()}"):
        note = "uname -v is forged: /proc/version has what the archive has"
        return dataclasses.replace(check, status=CheckStatus.UNKNOWN, note=note)
    note = "another build, or a compile.h left from an earlier step of an incremental one"
    return dataclasses.replace(check, note=note)


def _check_vermagic(release: str, vermagic: str) -> Check:
    words = vermagic.split(None, 1)
    note = f"vermagic: {printable(vermagic.strip())}" if len(words) > 1 else None
    return _compare("vermagic", release, vermagic_release(vermagic, release), note)


def vermagic_release(vermagic: str, release: str) -> str:
    """The release that a vermagic begins with: `release`, which may hold blanks, or else its first word."""
    if f"{vermagic.strip()} ".startswith(f"{release} "):
        return release
    return next(iter(vermagic.split()), "")


def _check_continuity(before: str | None, after: str | None) -> Check:
    if before is None or after is None:
        return _check("continuity", CheckStatus.UNKNOWN, before, after)
    return _compare("continuity", before, after)


def _not_claimed(check: Check) -> Check:
    return Check(
        check.name, CheckStatus.UNKNOWN, None, check.found, "nobody said what the kernel's is"
    )


def _compare(name: str, expected: str, found: str, note: str | None = None) -> Check:
    status = CheckStatus.AGREE if expected == found else CheckStatus.DIFFER
    return _check(name, status, expected, found, note)


def _check(
    name: str,
    status: CheckStatus,
    expected: str | None,
    found: str | None,
    note: str | None = None,
) -> Check:
    """Build a check whose texts are fit for a terminal."""
    return Check(
        name,
        status,
        None if expected is None else printable(expected),
        None if found is None else printable(found),
        note,
    )
