"""The rules are documented, and documented as they are: ``python -m tests.unit.untrusted.test_rules``."""

from __future__ import annotations

import re
from pathlib import Path

from kheaders_adb.untrusted.rules import Omission, Origin, Rule

_PAGE = Path(__file__).parents[3] / "docs" / "security.md"
_TABLE = re.compile(r"(<!-- rules: .*? -->\n).*?(<!-- end of rules -->)", re.DOTALL)


def table() -> str:
    """The table of docs/security.md as it ought to be."""
    lines = ["| rule | origin | what it refuses |", "|---|---|---|"]
    lines += [f"| `{rule.value}` | {rule.origin} | {rule.meaning} |" for rule in Rule]
    lines += ["", "| left out | what it is |", "|---|---|"]
    lines += [f"| `{omission.value}` | {omission.meaning} |" for omission in Omission]
    return "\n".join(lines) + "\n"


def test_the_page_lists_every_rule_as_it_is() -> None:
    match = _TABLE.search(_PAGE.read_text("utf-8"))
    assert match is not None
    assert table() in match[0], "run: python -m tests.unit.untrusted.test_rules"


def test_names_are_for_reading_aloud() -> None:
    for rule in (*Rule, *Omission):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.value)
        assert rule.value == rule.name.lower().replace("_", "-")


def test_only_what_no_honest_build_makes_is_called_hostile() -> None:
    """What other options of tar, a vendor's script or an unusual source tree may bring about is odd."""
    honest = {
        *("hard-link", "fifo", "sparse", "special-mode", "duplicate", "unknown-kind"),
        *("pax-keyword", "pax-global", "pax-disagrees"),
        *("path-not-utf8", "path-not-normal", "path-too-long", "link-not-normal"),
        *("file-too-large", "total-too-large", "too-many-members", "module-too-large"),
    }
    for rule in Rule:
        accuses = "treat the device or the file as hostile" in (rule.error("seen").hint or "")
        assert accuses is (rule.origin is Origin.HOSTILE)
        assert not (accuses and rule.value in honest)
    assert Rule.PARENT_IS_LINK.origin is Rule.PATH_ESCAPES.origin is Origin.HOSTILE


if __name__ == "__main__":
    text = _PAGE.read_text("utf-8")
    _PAGE.write_text(_TABLE.sub(lambda old: old[1] + table() + old[2], text), "utf-8")
