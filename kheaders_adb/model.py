"""The values that the rest of the package passes around: frozen, slotted, no more than themselves."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Evidence(enum.StrEnum):
    """How firmly an identity names one build of a kernel, strongest first."""

    BUILD_ID = "build-id"
    CONFIG = "config"
    UNAME = "uname"


@dataclass(frozen=True, slots=True)
class KernelIdentity:
    """What a running kernel says of itself.

    ``None`` means that it could not be read, which is not the same as empty.

    Attributes:
        release: ``uname -r``.
        version: ``uname -v``.
        machine: ``uname -m``.
        banner: the one line of ``/proc/version``.
        build_id: vmlinux's GNU build-id from ``/sys/kernel/notes``, lower-case hex.
        config_sha256: sha256 of the *decompressed* ``/proc/config.gz``, hex.
        boot_id: ``/proc/sys/kernel/random/boot_id``.
    """

    release: str
    version: str
    machine: str
    banner: str | None = None
    build_id: str | None = None
    config_sha256: str | None = None
    boot_id: str | None = None

    @property
    def evidence(self) -> Evidence:
        """The grade of evidence: only ``uname`` cannot tell rebuilt kernels apart."""
        if self.build_id is not None:
            return Evidence.BUILD_ID
        if self.config_sha256 is not None:
            return Evidence.CONFIG
        return Evidence.UNAME

    @property
    def key(self) -> str:
        """The kernel's key: sha256 (64 hex digits) over all of the above but ``boot_id``."""
        import hashlib  # OpenSSL's start takes 3 ms, and `path` needs no key

        known = {
            "banner": self.banner,
            "build_id": self.build_id,
            "config_sha256": self.config_sha256,
            "machine": self.machine,
            "release": self.release,
            "version": self.version,
        }
        canonical = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class Via(enum.StrEnum):
    """Which ways to the archive a user allows; `auto` takes the first that works, in this order."""

    AUTO = "auto"
    SYSFS = "sysfs"
    LOAD = "load"
    CARVE = "carve"


class Privilege(enum.StrEnum):
    """How root may be got on a device: any way, not at all, or by one way only."""

    AUTO = "auto"
    NONE = "none"
    SU = "su"
    ADBD = "adbd"


class SourceKind(enum.StrEnum):
    """Where an archive was read from."""

    SYSFS = "sysfs"
    PROC = "proc"
    MODULE_LOADED = "module-loaded"
    MODULE_CARVED = "module-carved"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class HeaderSource:
    """The place an archive came from.

    Attributes:
        kind: what sort of place.
        path: its path: on the device for sysfs, proc and modules found there, else on the host.
    """

    kind: SourceKind
    path: str


@dataclass(frozen=True, slots=True)
class OmittedLink:
    """A symlink of an archive that leads to none of its files and is not made.

    The texts come from the archive; they are made printable and cut short, for reading only.

    Attributes:
        path: where it would stand.
        target: where it would lead.
        reason: why it is left out, by the names in ``docs/security.md``: "link-dangling", "link-absolute", …
    """

    path: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive's bytes, and what of their members is not in the tree.

    Attributes:
        sha256: of its bytes, hex.
        size_bytes: their number.
        members: how many members they hold, those left out among them.
        omitted: the links that are left out, the first of them where there are very many.
        omitted_count: how many there are in all.
    """

    sha256: str
    size_bytes: int
    members: int
    omitted: tuple[OmittedLink, ...] = ()
    omitted_count: int = 0


class MemberKind(enum.Enum):
    """The three kinds of archive member that can be staged; every other kind is refused."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Member:
    """One checked member of an archive.

    Attributes:
        path: relative, normalised, ``/``-separated, without ``./``: "include/linux/sched.h".
        kind: file, directory or symlink.
        size_bytes: the content's length; 0 unless it is a file.
        target: a symlink's relative target, verbatim; it resolves to a place inside the tree.
    """

    path: str
    kind: MemberKind
    size_bytes: int = 0
    target: str | None = None


@dataclass(frozen=True, slots=True)
class ArchiveFacts:
    """What an archive says about the kernel it was made for.

    Attributes:
        release: ``UTS_RELEASE`` of ``include/generated/utsrelease.h``, or None without that file.
        srcarch: the ``arch/`` directory it holds ("x86", "arm64", …), or None without one or with several.
        config: the symbols of ``include/generated/autoconf.h`` without their ``CONFIG_`` prefix:
            "y", "m", or the number or quoted string verbatim; None without that file.
        compile_by: ``LINUX_COMPILE_BY`` of ``compile.h``.
        compile_host: ``LINUX_COMPILE_HOST``.
        compiler: ``LINUX_COMPILER``.
        uts_machine: ``UTS_MACHINE``.
        uts_version: ``UTS_VERSION`` (older kernels only).
        version_code: ``LINUX_VERSION_CODE`` of ``include/generated/uapi/linux/version.h``.
        config_heading: the heading of ``autoconf.h`` ("Linux/arm64 6.1.75"), which most archives lack.
    """

    release: str | None = None
    srcarch: str | None = None
    config: Mapping[str, str] | None = None
    compile_by: str | None = None
    compile_host: str | None = None
    compiler: str | None = None
    uts_machine: str | None = None
    uts_version: str | None = None
    version_code: int | None = None
    config_heading: str | None = None


class CheckStatus(enum.StrEnum):
    """The outcome of one check."""

    AGREE = "agree"
    DIFFER = "differ"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison between the running kernel and the archive.

    Attributes:
        name: ``release``, ``machine``, ``config``, ``builder``, ``version``, ``vermagic`` or ``continuity``.
        status: whether the two agree.
        expected: what the running kernel says, shortened for a reader; None if unknown.
        found: what the archive says; None if unknown.
        note: what else a reader should know, such as a difference tolerated as harmless.
    """

    name: str
    status: CheckStatus
    expected: str | None = None
    found: str | None = None
    note: str | None = None


class Level(enum.StrEnum):
    """What the checks amount to.

    ``exact``: the configuration agrees and nothing differs.  ``consistent``: nothing differs, the
    running configuration is unknown.  ``mismatch``: something differs.  ``repaired``: only the
    configuration differed and ``autoconf.h`` was regenerated from the running kernel's.
    ``unmatched``: an imported archive that was compared with nothing.
    """

    EXACT = "exact"
    CONSISTENT = "consistent"
    MISMATCH = "mismatch"
    REPAIRED = "repaired"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True)
class SymbolDifference:
    """One configuration symbol that differs; None stands for "is not set"."""

    symbol: str
    kernel: str | None
    archive: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one archive for one running kernel.

    Attributes:
        level: the judgement.
        checks: what it rests on, in a fixed order.
        differences: every configuration symbol that differs and is not tolerated, sorted by name.
    """

    level: Level
    checks: tuple[Check, ...] = ()
    differences: tuple[SymbolDifference, ...] = ()

    @property
    def differing(self) -> tuple[Check, ...]:
        """The checks that differ."""
        return tuple(check for check in self.checks if check.status is CheckStatus.DIFFER)

    @property
    def is_repairable(self) -> bool:
        """Whether the release agrees and only the configuration differs."""
        agrees = any(
            check.name == "release" and check.status is CheckStatus.AGREE for check in self.checks
        )
        return agrees and [check.name for check in self.differing] == ["config"]


class Grounds(enum.StrEnum):
    """What a staged tree is used again on.

    ``build-id`` names the build; ``boot``: it was staged for this device in this boot; ``digest``: the
    device itself says that its archive, or its kheaders.ko, has the staged one's sha256; ``none``: it is not
    used again.
    """

    BUILD_ID = "build-id"
    BOOT = "boot"
    DIGEST = "digest"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Reuse:
    """Whether what was staged is used again: on what grounds, and why.

    Attributes:
        grounds: the grounds.
        reason: why, for a reader.
        is_unproven: whether it was staged elsewhere or in another boot, and nothing but the build-id, which a
            device may copy, says that it is the same.
    """

    grounds: Grounds
    reason: str
    is_unproven: bool = False


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete header tree in the store, and why it may be trusted.

    Attributes:
        serial: the device it was read from (or is used for); None for an imported archive.
        kernel: the running kernel it was matched with.
        source: where the archive was read from.
        archive: the archive's digest, size and member count.
        verdict: the judgement it was staged under.
        tree: the extracted tree on the host, read-only.
        cached: whether it was in the store already, so that no archive byte crossed the wire.
        device_round_trips: how many services were opened on the device for this result.
        timing_s: seconds by phase, "total" among them.
        notes: what a user should be told: fallbacks chosen, warnings, things left behind.
        reuse: on what grounds a stored tree or archive was used again, or why none was; None if none was
            looked for.
    """

    serial: str | None
    kernel: KernelIdentity
    source: HeaderSource
    archive: Archive
    verdict: Verdict
    tree: Path
    cached: bool = False
    device_round_trips: int = 0
    timing_s: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reuse: Reuse | None = None
