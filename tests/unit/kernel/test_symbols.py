"""Two configurations, symbol by symbol."""

from __future__ import annotations

from kheaders_adb.kernel.survey import Mention
from kheaders_adb.kernel.symbols import SymbolChange, compare_symbols, ranked


def test_added_removed_and_changed() -> None:
    assert compare_symbols({"A": "y", "B": "1", "C": "m"}, {"A": "y", "B": "2", "D": "y"}) == (
        SymbolChange("B", "1", "2"),
        SymbolChange("C", "m", None),
        SymbolChange("D", None, "y"),
    )


def test_what_headers_test_comes_first_and_with_them() -> None:
    mentions = {
        "C": Mention((2, 0, ""), "include/linux/c.h", None),
        "D": Mention((0, 0, ""), "include/linux/sched.h", "task_struct"),
    }
    found = ranked(compare_symbols({}, dict.fromkeys("ABCD", "y")), mentions)
    assert [one.symbol for one in found] == ["D", "C", "A", "B"]
    assert [one.mention for one in found] == [mentions["D"], mentions["C"], None, None]
