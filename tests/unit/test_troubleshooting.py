"""docs/troubleshooting.md: an entry for everything that an error can say, and a test that produces each.

What can be said is read out of the source (tests/unit/said.py).  Whether the tests that are named produce it
is looked at by running them, which takes a while: KHEADERS_LONG=1.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from kheaders_adb.untrusted.rules import Rule
from tests.conftest import LONG
from tests.unit.said import HOLE, messages, texts

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
TEXT = PAGE.read_text("utf-8")

# A message of fewer letters passes on another one's words: the operating system's or the device's.
_OWN_LETTERS = 8
_FIELD = re.compile(r"\{\w+(?:![rs])?\}")
_TEST = re.compile(r"<!-- (tests/\S+\.py)::(\w+) -->")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: the messages that it is for, what it says of them, and the tests that produce them."""

    line: int
    patterns: tuple[str, ...]
    advice: str
    tests: tuple[tuple[str, str], ...]


def read_entries() -> list[Entry]:
    found = []
    lines = TEXT.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith("- `"):
            continue
        body = []
        for more in lines[number:]:
            if not more.startswith("  "):
                break
            body.append(more.strip())
        text = "\n".join(body)
        patterns = tuple(re.findall(r"`([^`]+)`", line))
        advice = _TEST.sub("", text).strip()
        found.append(Entry(number, patterns, advice, tuple(_TEST.findall(text))))
    return found


ENTRIES = read_entries()


def holed(text: str) -> str:
    """A message with its holes alike, whichever way they are written in the source."""
    text = text.removesuffix(f" (the device said: {HOLE})")
    return re.sub(f"{HOLE}+", HOLE, _FIELD.sub(HOLE, text)).strip()


def letters(text: str) -> int:
    return len(re.findall(r"[A-Za-z]", holed(text)))


def expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split(HOLE))), re.DOTALL)


def test_the_page_is_in_the_form_that_is_read_here() -> None:
    assert len(ENTRIES) > 80
    assert [entry for entry in ENTRIES if not entry.advice or not entry.patterns] == []
    outside = [line for line in TEXT.splitlines() if line.startswith("- ")]
    assert len(outside) == len(ENTRIES)


def test_every_message_has_an_entry() -> None:
    patterns = [expression(pattern) for entry in ENTRIES for pattern in entry.patterns]
    missing = {
        f"{message.where}: {holed(message.text)}"
        for message in messages()
        if letters(message.text) >= _OWN_LETTERS
        and not any(pattern.fullmatch(holed(message.text)) for pattern in patterns)
    }
    assert sorted(missing) == [], f"add an entry to {PAGE}, with the test that produces it"


def test_every_entry_is_for_something_that_is_said() -> None:
    """By an error, or in a part of one; or by a script on the device."""
    scripts = [path.read_text() for path in (ROOT / "kheaders_adb/device/scripts").glob("*.sh")]
    said = [holed(message.text) for message in (*messages(), *texts())]
    for entry in ENTRIES:
        for pattern in entry.patterns:
            longest = max(re.split(f"{HOLE}|: ", pattern), key=len).strip(" :,()")
            known = any(longest in text for text in (*said, *scripts)) or longest in _SYSTEMS
            assert known, f"{PAGE}:{entry.line}: nothing says {pattern!r} any more"


_SYSTEMS = {"No space left on device", "Read-only file system"}
"""The operating system's own words."""


def test_an_entry_stands_once() -> None:
    patterns = [pattern for entry in ENTRIES for pattern in entry.patterns]
    assert sorted({pattern for pattern in patterns if patterns.count(pattern) > 1}) == []


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_entry_names_a_test_and_that_is_there() -> None:
    assert [entry for entry in ENTRIES if not entry.tests] == []
    wrong = [
        f"{path}::{name}"
        for path, name in _TEST.findall(TEXT)
        if not (ROOT / path).is_file() or name not in functions(path)
    ]
    assert wrong == []


def test_every_rule_for_archives_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \| (damaged|unsafe) \|$", TEXT, re.M)
    assert rows == [
        (rule.value, rule.meaning, "damaged" if rule.damaged else "unsafe") for rule in Rule
    ]


def test_the_readme_leads_there() -> None:
    assert "docs/troubleshooting.md" in (ROOT / "README.md").read_text()


@pytest.mark.skipif(not LONG, reason="runs some hundred tests once more: KHEADERS_LONG=1")
def test_the_tests_that_are_named_produce_the_messages(tmp_path: Path) -> None:
    named = {f"{path}::{name}" for entry in ENTRIES for path, name in entry.tests}
    files = sorted({test.partition("::")[0] for test in named})
    written = tmp_path / "messages"
    names = " or ".join(sorted({test.rpartition("::")[2] for test in named}))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.messages", *files, "-k", names],
        env={**os.environ, "KHEADERS_MESSAGES": str(written), "KHEADERS_LONG": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    said: dict[str, list[str]] = {}
    for line in written.read_text("utf-8").splitlines():
        test, message = json.loads(line)
        path, _, name = test.partition("[")[0].partition("::")
        said.setdefault(f"{path}::{name.rpartition('::')[2]}", []).append(message)
    unproduced = [
        f"{PAGE}:{entry.line}: {pattern}"
        for entry in ENTRIES
        for pattern in entry.patterns
        if not any(
            expression(pattern).search(message)
            for path, name in entry.tests
            for message in said.get(f"{path}::{name}", [])
        )
    ]
    assert not unproduced, "\n".join(unproduced)
