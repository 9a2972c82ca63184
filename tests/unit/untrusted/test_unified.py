"""Unified diffs of texts that anybody may have written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.untrusted import unified as module
from kheaders_adb.untrusted.unified import LineCounts, count_lines, unified

NAMES = ("a/x.h", "b/x.h")
LINES = st.lists(st.sampled_from([b"a", b"b", b"", b"\tc\r", b"\xff", b"--- a"]), max_size=25)
TEXTS = st.one_of(
    LINES.map(b"\n".join), LINES.map(lambda lines: b"".join(b"%s\n" % line for line in lines))
)


def lines_of(text: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+", text)


def patched(before: bytes, lines: list[str]) -> bytes:
    """What `patch` makes of a text, strictly: every line of the diff has to be where it says."""
    text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    old, new, at = lines_of(before), [], 0
    for hunk in re.split(rb"^@@ -", text, flags=re.M)[1:]:
        head, _, body = hunk.partition(b"\n")
        found = re.fullmatch(rb"(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", head)
        assert found is not None
        start, there = (int(found[n]) - (found[n + 1] != b"0") for n in (1, 3))
        new += old[at:start]
        at = start
        assert len(new) == there
        for line in lines_of(body.replace(b"\n\\ No newline at end of file", b"\\ No")):
            line = line.removesuffix(b"\\ No\n")
            if line[:1] in b" -":
                assert old[at] == line[1:]
                at += 1
            if line[:1] in b" +":
                new.append(line[1:])
        assert at - start == int(found[2] or 1)
        assert len(new) - there == int(found[4] or 1)
    return b"".join([*new, *old[at:]])


@given(TEXTS, TEXTS)
def test_the_one_and_the_diff_make_the_other(before: bytes, after: bytes) -> None:
    lines = unified(before, after, names=NAMES)
    assert bool(lines) is (before != after)
    if lines:
        assert patched(before, lines) == after


def test_as_diff_writes_it() -> None:
    before = b"".join(b"line %d\n" % at for at in range(1, 21))
    after = before.replace(b"line 10\n", b"line ten\n")
    assert unified(before, after, names=NAMES) == [
        *("--- a/x.h", "+++ b/x.h", "@@ -7,7 +7,7 @@"),
        *(" line 7", " line 8", " line 9", "-line 10", "+line ten"),
        *(" line 11", " line 12", " line 13"),
    ]


def test_a_text_that_is_not_there() -> None:
    assert unified(None, b"a\n", names=NAMES) == [
        "--- /dev/null",
        "+++ b/x.h",
        "@@ -0,0 +1 @@",
        "+a",
    ]
    assert unified(b"a\n", None, names=NAMES) == [
        "--- a/x.h",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-a",
    ]
    assert unified(None, None, names=NAMES) == []


def test_what_would_take_hours_is_given_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lines that are often there, but not often enough to be passed over, are compared each with each."""
    before = b"".join(b"%d\n" % (at % 100) for at in range(18_000))
    after = b"".join(b"%d\n" % (at * 7 % 100) for at in range(18_000))
    lines = unified(before, after, names=NAMES)
    assert not [line for line in lines if line.startswith(" ")]
    assert patched(before, lines) == after
    monkeypatch.setattr(module, "_MOST_LINES", 3)
    assert len(unified(b"a\nb\nc\nd\n", b"e\nb\nc\nf\n", names=NAMES)) == 3 + 8


def test_lines_are_counted_wherever_they_stand() -> None:
    assert count_lines(b"a\nb\n", b"b\na\n") == LineCounts(0, 0)
    assert count_lines(b"a\nb\nb\n", b"b\nc") == LineCounts(1, 2)
    assert count_lines(None, b"a\n\n") == LineCounts(2, 0)
    assert count_lines(b"a\n", None) == LineCounts(0, 1)
