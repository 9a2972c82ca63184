"""The error tree: its drawing is the truth, its fields are what the command line prints."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest

from kheaders_adb import errors
from kheaders_adb.errors import KheadersError, MismatchError, UnauthorizedError, UnsafeArchiveError

LINE = re.compile(r"^    (?P<lead>[│├└─ ]*)(?P<name>\w+Error) +(?P<code>\d+)?")


def drawn() -> dict[str, tuple[str | None, int, str]]:
    """The drawing in the module's docstring: name to parent, exit code, and the rest of the line."""
    assert errors.__doc__ is not None
    tree: dict[str, tuple[str | None, int, str]] = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines():
        found = LINE.match(line)
        if found is None:
            continue
        depth = len(found["lead"]) // 4
        parent = above[depth - 1] if depth else None
        code = int(found["code"]) if found["code"] else tree[parent][1] if parent else -1
        tree[found["name"]] = (parent, code, line[found.end() :])
        above[depth:] = [found["name"]]
    return tree


def classes() -> dict[str, type[KheadersError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, KheadersError)
    }


def test_the_drawing_is_the_tree() -> None:
    actual = {}
    for name, kind in classes().items():
        base = kind.__bases__[0]
        actual[name] = (None if base is Exception else base.__name__, kind.exit_code)
    assert {name: (parent, code) for name, (parent, code, _) in drawn().items()} == actual


def test_exit_codes_are_those_that_scripts_rely_on() -> None:
    assert {kind.exit_code for kind in classes().values()} == set(range(1, 11))
    top = {name: code for name, (parent, code, _) in drawn().items() if parent == "KheadersError"}
    assert top == {
        "UsageError": 2,
        "DeviceError": 3,
        "NoHeadersError": 4,
        "MismatchError": 5,
        "ArchiveError": 6,
        "TransferError": 7,
        "StoreError": 8,
        "CompileError": 9,
        "PartialError": 10,
    }


def test_only_lost_transfers_are_worth_repeating() -> None:
    retryable = {name for name, kind in classes().items() if kind.retryable}
    assert retryable == {"TransferError", "DeadlineError", "DeviceChangedError"}
    assert "(retryable)" in drawn()["TransferError"][2]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "it broke"),
        ({"step": "reading"}, "reading: it broke"),
        ({"device": "X1"}, "X1: it broke"),
        ({"step": "reading", "device": "X1"}, "X1: reading: it broke"),
    ],
)
def test_text(given: dict[str, Any], text: str) -> None:
    assert str(KheadersError("it broke", **given)) == text


def test_hint_is_the_class_s_own_unless_given() -> None:
    assert UnauthorizedError("x").hint == UnauthorizedError.default_hint
    assert UnauthorizedError("x", hint="do that").hint == "do that"
    assert KheadersError("x").hint is None


def test_fields_of_their_own() -> None:
    assert MismatchError("x").verdict is None
    error = UnsafeArchiveError("x", rule="path-escapes", member="../a", device="X1")
    assert (error.rule, error.member, error.device) == ("path-escapes", "../a", "X1")
    assert error.hint == UnsafeArchiveError.default_hint


@pytest.mark.parametrize("kind", classes().values(), ids=lambda kind: kind.__name__)
def test_every_error_survives_another_process(kind: type[KheadersError]) -> None:
    """Those too that cannot be made of their text alone; notes come along."""
    more = {"rule": "path-escapes", "member": "../a"} if kind is UnsafeArchiveError else {}
    error = kind("x", step="reading", device="X1", hint="do that", **more)
    error.add_note("clang said this")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind
        assert (str(other), other.args, vars(other)) == ("X1: reading: x", ("x",), vars(error))
