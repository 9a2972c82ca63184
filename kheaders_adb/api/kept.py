"""What `Store` tells of kernels that are staged."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb.model import Archive, HeaderSource, KernelIdentity, Verdict


@dataclass(frozen=True, slots=True)
class StagedKernel:
    """A kernel whose headers are in a store.

    Attributes:
        key: its key, 64 hex digits.
        kernel: what it said of itself.
        verdict: the judgement on its headers, by today's rules, unless `unjudged` says why not.
        source: where the archive was read from.
        archive: the archive's digest, size and member count.
        tree: the extracted tree on the host, read-only.
        serial: the device that it was last staged for; None for an imported archive.
        staged_at: when, in seconds since the epoch.
        last_used_at: when it was last used, in seconds since the epoch.
        pinned: whether gc leaves it in any case.
        unjudged: why the verdict is still that of the older rules under which it was staged; None mostly.
    """

    key: str
    kernel: KernelIdentity
    verdict: Verdict
    source: HeaderSource
    archive: Archive
    tree: Path
    serial: str | None
    staged_at: float
    last_used_at: float | None
    pinned: bool
    unjudged: str | None = None


class Part(enum.StrEnum):
    """What of a staged kernel is exported."""

    ARCHIVE = "archive"
    TREE = "tree"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Collected:
    """What gc removed, or would remove.

    Attributes:
        removed: the kernels, least recently used first.
        kept: how many kernels are left.
        litter: how many unfinished things of dead processes went.
        freed_bytes: how much disk that gave back, or would: what another tree shares is not freed.
        broken: files among the records that are no records; they stay, and whatever may be theirs.
    """

    removed: tuple[StagedKernel, ...]
    kept: int
    litter: int
    freed_bytes: int
    broken: tuple[Path, ...]
