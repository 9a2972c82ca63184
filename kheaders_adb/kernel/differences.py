"""Two configurations compared: the running kernel's and an archive's, and how the differences are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from kheaders_adb.kernel.config import Configuration, as_compiled, same_hex
from kheaders_adb.kernel.heading import find_contradictions
from kheaders_adb.kernel.survey import Mention
from kheaders_adb.model import ArchiveFacts, Check, CheckStatus, SymbolDifference, Verdict
from kheaders_adb.untrusted.text import printable

# How the archive is delivered; no header tests it.  An incremental build that turns the one into the
# other keeps the old archive, because gen_kheaders.sh leaves autoconf.h out of its check for changes.
_DELIVERY_SYMBOLS = frozenset({"IKHEADERS", "IKHEADERS_PROC"})
_NAMED_SYMBOLS = 3
_NAMED_HEADERS = 5
_LONGEST_NOTE = 600
_LAST = 3


def compare_configs(
    kernel: Mapping[str, str] | None, archive: Mapping[str, str] | None
) -> tuple[list[SymbolDifference], list[SymbolDifference]]:
    """Return the differences, sorted by symbol: those that count, and those tolerated.

    Args:
        kernel: the running kernel's configuration, as parse_config() gives it.
        archive: the archive's, as parse_autoconf() gives it.
    """
    if kernel is None or archive is None:
        return [], []
    compiled = as_compiled(kernel)
    differences = []
    tolerated = []
    for symbol in sorted(compiled.keys() | archive.keys()):
        here, there = compiled.get(symbol), archive.get(symbol)
        if here == there or same_hex(kernel.get(symbol), there):
            continue
        difference = SymbolDifference(symbol, kernel.get(symbol, here), there)
        if symbol in _DELIVERY_SYMBOLS and {here, there} == {"y", "m"}:
            tolerated.append(difference)
        else:
            differences.append(difference)
    return differences, tolerated


def check_config(
    config: Mapping[str, str] | None,
    differences: Sequence[SymbolDifference],
    tolerated: Sequence[SymbolDifference],
    facts: ArchiveFacts,
) -> Check:
    """Return the check ``config``, from what `compare_configs` found."""
    if config is None:
        return Check(
            "config", CheckStatus.UNKNOWN, note="the running kernel's configuration is unknown"
        )
    notes = [
        f"{_assignment(one.symbol, one.kernel)} in the kernel, "
        f"{_assignment(one.symbol, one.archive)} in the archive: harmless, it only says how the "
        "archive is delivered; the archive is left from an earlier step of an incremental build"
        for one in tolerated
    ]
    heading = config.heading if isinstance(config, Configuration) else None
    contradictions = find_contradictions(heading, facts)
    notes = [*contradictions, *notes]
    if not differences:
        count = f"{len(config)} symbols"
        status = CheckStatus.UNKNOWN if contradictions else CheckStatus.AGREE
        return Check("config", status, count, count, "; ".join(notes) or None)
    expected, found = _sides(differences)
    note = "; ".join((_count(differences), *notes))
    return Check("config", CheckStatus.DIFFER, expected, found, note)


def with_mentions(verdict: Verdict, mentions: Mapping[str, Mention]) -> Verdict:
    """Return a verdict whose ``config`` check names first what matters to programs, and by which header.

    Args:
        verdict: what match() gave.
        mentions: by symbol, the header that depends on it.
    """
    last = Mention((_LAST, 0, ""), "", None)
    ordered = sorted(
        verdict.differences, key=lambda one: (mentions.get(one.symbol, last).rank[0], one.symbol)
    )
    tested = [one.symbol for one in ordered if one.symbol in mentions]
    if not tested:
        said = (
            "no header of the archive tests any of them"
            if len(ordered) > 1
            else "no header tests it"
        )
    else:
        named = [f"CONFIG_{one} ({mentions[one].header})" for one in tested[:_NAMED_HEADERS]]
        more = f", and {len(tested) - len(named)} more" if len(tested) > len(named) else ""
        said = f"tested by headers: {printable(', '.join(named), _LONGEST_NOTE)}{more}"
    count = _count(verdict.differences)
    expected, found = _sides(ordered)
    checks = tuple(
        dataclasses.replace(
            check,
            expected=expected,
            found=found,
            note=f"{count}; {said}{(check.note or count).removeprefix(count)}",
        )
        if check.name == "config" and check.status is CheckStatus.DIFFER
        else check
        for check in verdict.checks
    )
    return dataclasses.replace(verdict, checks=checks)


def _sides(differences: Sequence[SymbolDifference]) -> tuple[str, str]:
    """What the kernel and what the archive has, of the first few symbols."""
    named = differences[:_NAMED_SYMBOLS]
    more = ", …" if len(differences) > len(named) else ""
    expected = ", ".join(_assignment(one.symbol, one.kernel) for one in named)
    found = ", ".join(_assignment(one.symbol, one.archive) for one in named)
    return expected + more, found + more


def _count(differences: Sequence[SymbolDifference]) -> str:
    return "1 symbol differs" if len(differences) == 1 else f"{len(differences)} symbols differ"


def _assignment(symbol: str, value: str | None) -> str:
    if value is None:
        return f"# CONFIG_{printable(symbol)} is not set"
    return printable(f"CONFIG_{symbol}={value}")
