"""The configurations of two kernels compared, symbol by symbol."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from kheaders_adb.kernel.survey import Mention


@dataclass(frozen=True, slots=True)
class SymbolChange:
    """One symbol that is not the same in two configurations; None stands for "is not set".

    Attributes:
        symbol: without its ``CONFIG_`` prefix.
        before, after: its values.
        mention: the header that says best what it is good for; None if none tests it.
    """

    symbol: str
    before: str | None
    after: str | None
    mention: Mention | None = None


def compare_symbols(
    before: Mapping[str, str], after: Mapping[str, str]
) -> tuple[SymbolChange, ...]:
    """Return what differs, by symbol; both must be of one form, ``.config``'s or ``autoconf.h``'s."""
    return tuple(
        SymbolChange(symbol, before.get(symbol), after.get(symbol))
        for symbol in sorted(before.keys() | after.keys())
        if before.get(symbol) != after.get(symbol)
    )


def ranked(
    changes: tuple[SymbolChange, ...], mentions: Mapping[str, Mention]
) -> tuple[SymbolChange, ...]:
    """Return them with their headers, those first that headers test."""

    def rank(change: SymbolChange) -> tuple[bool, int, str]:
        mention = change.mention
        return mention is None, 0 if mention is None else mention.rank[0], change.symbol

    found = [dataclasses.replace(one, mention=mentions.get(one.symbol)) for one in changes]
    return tuple(sorted(found, key=rank))
