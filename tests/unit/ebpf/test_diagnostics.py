"""clang's messages as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.ebpf.diagnostics import Diagnostic, parse_diagnostics


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a b.c:3:5: error: no: such", Diagnostic("a b.c", 3, 5, "error", "no: such")),
        (b"x.h:3: fatal error: gone", Diagnostic("x.h", 3, None, "fatal error", "gone")),
        (b"clang: warning: \xff", Diagnostic("clang", None, None, "warning", "\\xff")),
        (b"x.c:1:2: note: ", Diagnostic("x.c", 1, 2, "note", "")),
    ],
)
def test_a_message(line: bytes, expected: Diagnostic) -> None:
    assert parse_diagnostics(b"In file included from y.c:1:\n" + line + b"\n") == [expected]


@pytest.mark.parametrize(
    "line",
    [b"    3 | x: error: quoted", b"      |     ^", b"1 error generated.", b"", b": error: x"],
)
def test_what_is_shown_below_a_message_is_none(line: bytes) -> None:
    assert parse_diagnostics(line) == []


@given(st.binary())
def test_anything(said: bytes) -> None:
    for found in parse_diagnostics(said + b"\nx.c:1:1: error: " + said):
        assert found.file
