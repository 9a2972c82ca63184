"""The rules are documented, and documented as they are: ``python -m tests.unit.untrusted.test_rules``."""

from __future__ import annotations

import re
from pathlib import Path

from kheaders_adb.untrusted.rules import Rule

_PAGE = Path(__file__).parents[3] / "docs" / "security.md"
_TABLE = re.compile(r"(<!-- rules: .*? -->\n).*?(<!-- end of rules -->)", re.DOTALL)


def table() -> str:
    """The table of docs/security.md as it ought to be."""
    lines = ["| rule | damaged | what it refuses |", "|---|---|---|"]
    lines += [
        f"| `{rule.value}` | {'yes' if rule.damaged else ''} | {rule.meaning} |" for rule in Rule
    ]
    return "\n".join(lines) + "\n"


def test_the_page_lists_every_rule_as_it_is() -> None:
    match = _TABLE.search(_PAGE.read_text("utf-8"))
    assert match is not None
    assert table() in match[0], "run: python -m tests.unit.untrusted.test_rules"


def test_names_are_for_reading_aloud() -> None:
    for rule in Rule:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.value)
        assert rule.value == rule.name.lower().replace("_", "-")


if __name__ == "__main__":
    text = _PAGE.read_text("utf-8")
    _PAGE.write_text(_TABLE.sub(lambda old: old[1] + table() + old[2], text), "utf-8")
