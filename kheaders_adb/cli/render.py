"""How values look: JSON for programs, lines for people."""

from __future__ import annotations

from typing import Any

from kheaders_adb.model import (
    Archive,
    CheckStatus,
    HeaderSource,
    KernelIdentity,
    Reuse,
    SourceKind,
    Staged,
    Verdict,
)
from kheaders_adb.store.records import archive_to_json, checks_to_json
from kheaders_adb.untrusted.text import harmless

_OMITTED_SHOWN = 3
_WORDS = {
    SourceKind.SYSFS: "read",
    SourceKind.PROC: "read",
    SourceKind.MODULE_LOADED: "read after loading",
    SourceKind.MODULE_CARVED: "carved out of",
    SourceKind.FILE: "imported from",
}


def staged_to_json(staged: Staged) -> dict[str, Any]:
    """The object of ``pull --json``."""
    return {
        "serial": staged.serial,
        "kernel": kernel_to_json(staged.kernel),
        "source": source_to_json(staged.source),
        "archive": archive_to_json(staged.archive),
        "verdict": verdict_to_json(staged.verdict),
        "tree": str(staged.tree),
        "cached": staged.cached,
        "reuse": None
        if staged.reuse is None
        else {"grounds": staged.reuse.grounds.value, "reason": staged.reuse.reason},
        "device_round_trips": staged.device_round_trips,
        "timing_s": {name: round(value, 6) for name, value in staged.timing_s.items()},
        "notes": list(staged.notes),
    }


def kernel_to_json(kernel: KernelIdentity) -> dict[str, Any]:
    """A kernel's identity."""
    return {
        "key": kernel.key,
        "release": kernel.release,
        "version": kernel.version,
        "machine": kernel.machine,
        "build_id": kernel.build_id,
        "config_sha256": kernel.config_sha256,
        "evidence": kernel.evidence.value,
        "boot_id": kernel.boot_id,
    }


def source_to_json(source: HeaderSource) -> dict[str, Any]:
    """Where an archive came from."""
    return {"kind": source.kind.value, "path": source.path}


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict with its checks and every differing configuration symbol."""
    return {
        "level": verdict.level.value,
        "checks": checks_to_json(verdict),
        "differences": [
            {"symbol": item.symbol, "kernel": item.kernel, "archive": item.archive}
            for item in verdict.differences
        ],
    }


def staged_lines(staged: Staged, *, verbose: bool = False) -> list[str]:
    """What a person is told of a pull: the kernel, where its headers came from, and the verdict.

    Args:
        verbose: say as well on what grounds what is staged was used again, or why it was not.
    """
    kernel, source = staged.kernel, staged.source
    build = f", build-id {kernel.build_id[:12]}" if kernel.build_id else ""
    size = f"{staged.archive.size_bytes / 1048576:.1f} MiB"
    origin = (
        "already staged, nothing was transferred"
        if staged.cached
        else f"{_WORDS[source.kind]} {source.path}, {size}"
    )
    left_out = omitted_line(staged.archive)
    return [
        f"{staged.serial}: kernel {kernel.release} ({kernel.machine}{build})",
        f"  headers: {origin}",
        *([f"  note: {left_out}"] if left_out else []),
        *([line] if (line := _reuse_line(staged.reuse, verbose=verbose)) else []),
        f"  verdict: {verdict_line(staged.verdict)}",
    ]


def _reuse_line(reuse: Reuse | None, *, verbose: bool) -> str | None:
    if reuse is None:
        return None
    if verbose:
        return f"  reuse: {reuse.grounds} ({reuse.reason})"
    if reuse.is_unproven:
        return f"  note: used again by its build-id alone: {reuse.reason}"
    return None


def omitted_line(archive: Archive) -> str | None:
    """What of an archive is not in its tree, in one line; None if all of it is."""
    count = archive.omitted_count
    if not count:
        return None
    reasons = {link.reason for link in archive.omitted}
    where = "nowhere inside it"
    if "link-to-directory" in reasons:
        where += " or to a folder"
    if "link-chain" in reasons:
        where += " or to another link"
    some = [f"{link.path} -> {link.target}" for link in archive.omitted[:_OMITTED_SHOWN]]
    more = [f"and {count - len(some)} more"] if count > len(some) else []
    links = "1 link of the archive leads" if count == 1 else f"{count} links of the archive lead"
    were = "was" if count == 1 else "were"
    return harmless(f"{links} {where} and {were} left out: {', '.join(some + more)}")


def verdict_line(verdict: Verdict) -> str:
    """A verdict in one line."""
    names = {
        status: ", ".join(check.name for check in verdict.checks if check.status is status)
        for status in CheckStatus
    }
    words = [str(verdict.level)]
    if names[CheckStatus.AGREE]:
        words.append(f"{names[CheckStatus.AGREE]} agree")
    if names[CheckStatus.DIFFER]:
        words.append(f"{names[CheckStatus.DIFFER]} differ")
    if names[CheckStatus.UNKNOWN]:
        words.append(f"{names[CheckStatus.UNKNOWN]} unknown")
    return words[0] + (f" ({'; '.join(words[1:])})" if words[1:] else "")


def or_dash(value: object) -> str:
    """`value` as text, or a dash where it is unknown."""
    return "-" if value is None else str(value)


def size_text(size_bytes: int) -> str:
    """A number of bytes for people, in the units of ``du -h``."""
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1023.5 or unit == "TiB":
            break
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"
