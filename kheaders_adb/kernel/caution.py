"""What must be known of headers that are used although they are not simply the kernel's."""

from __future__ import annotations

from kheaders_adb.model import Level, Verdict


def verdict_warning(verdict: Verdict, *, quiet: bool = False) -> str | None:
    """What must be said each time a tree staged under `verdict` is used, or None.

    Args:
        quiet: the user asked for silence, which a repair that was asked for too respects.
    """
    if verdict.level is Level.MISMATCH:
        names = ", ".join(check.name for check in verdict.differing)
        return (
            f"these headers do NOT belong to this kernel ({names} differ); "
            "programs compiled against them may load and read garbage"
        )
    if verdict.level is Level.REPAIRED and not quiet:
        return (
            f"these headers are repaired: the kernel's configuration differed ({_many(verdict)}) and was "
            "put in the place of their autoconf.h; where it is not the one that the kernel was built "
            "with, programs compiled against them may load and read garbage"
        )
    if verdict.level is Level.UNMATCHED:
        return "these headers were imported without a kernel to compare them with"
    return None


def _many(verdict: Verdict) -> str:
    symbols = [f"CONFIG_{difference.symbol}" for difference in verdict.differences]
    return symbols[0] if len(symbols) == 1 else f"{len(symbols)} symbols"
