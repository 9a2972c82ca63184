"""What programs hand on to other processes: every value comes back equal, every error with all it says."""

from __future__ import annotations

import copy
import dataclasses
import enum
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kheaders_adb
from fixtures.reference.public import error_classes, values
from kheaders_adb import Level, Outcome, Staged, Verdict, errors
from kheaders_adb.device.su import SuCommand
from kheaders_adb.errors import Candidate, KheadersError
from kheaders_adb.model import ArchiveFacts, Check, CheckStatus, Member
from kheaders_adb.pipeline.options import Options, Tolerance
from kheaders_adb.store import DeviceRecord, KernelRecord
from kheaders_adb.store.upkeep.gc import Policy
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS

VERDICT = Verdict(Level.MISMATCH, (Check("release", CheckStatus.DIFFER, "6.1", "6.2"),))
MORE: dict[str, dict[str, Any]] = {
    "CorruptArchiveError": {"rule": "xz-truncated"},
    "MismatchError": {"verdict": VERDICT},
    "UnsafeArchiveError": {"rule": "path-escapes", "member": "../x"},
    "UsageError": {"candidates": [Candidate("ab" * 32, "6.1", "x86_64", "A1")]},
}
#: Those of the rest of the package that a program may meet, beside those of the reference.
OTHERS = (ArchiveFacts, DeviceRecord, KernelRecord, Member, Policy)
# NaN is not equal to itself anywhere.
st.register_type_strategy(float, st.floats(allow_nan=False))
PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(
    lambda name: Path("/", name)
)
st.register_type_strategy(Path, PATHS)
st.register_type_strategy(kheaders_adb.Store, PATHS.map(kheaders_adb.Store))
st.register_type_strategy(KheadersError, st.none())  # compared by themselves, below
COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda thing, protocol=protocol: pickle.loads(pickle.dumps(thing, protocol))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("kind", [*values(), *OTHERS], ids=lambda kind: kind.__qualname__)
@settings(max_examples=20)
@given(data=st.data())
def test_a_value_comes_back_equal(kind: type, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    for copied in COPIES:
        other = copied(value)
        assert (type(other), other) == (kind, value)
        assert repr(other) == repr(value)
        if isinstance(value, enum.Enum):
            assert other is value


def test_every_value_is_looked_at() -> None:
    found = {kind.__name__ for kind in values()}
    assert found >= {"Check", "KernelIdentity", "OmittedLink", "Problem", "Reuse", "SourceKind"}
    assert found >= {"Collected", "Outcome", "Staged", "StagedKernel", "Store", "Verified", "Via"}


def test_options_come_back_equal() -> None:
    options = Options(
        module=Path("kheaders.ko"),
        tolerance=Tolerance.of(allow_mismatch=True, repair_config=True),
        su=SuCommand.parse("sudo -n", "here"),
        limits=DEFAULT_LIMITS,
        on_note=print,
    )
    for copied in COPIES:
        assert copied(options) == options


def made(kind: type[KheadersError]) -> KheadersError:
    error = kind(
        "it broke", step="reading", device="A1", hint="mend it", **MORE.get(kind.__name__, {})
    )
    error.add_note("a note")
    return error


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_with_all_it_says(kind: type[KheadersError]) -> None:
    error = made(kind)
    assert {"seen", "step", "device", "hint", "__notes__"} <= vars(error).keys()
    for copied in COPIES:
        for one in (error, Outcome("A1", error=error)):
            other = copied(one)
            other = other.error if isinstance(other, Outcome) else other
            assert type(other) is kind
            assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_every_argument_of_an_error_is_tried() -> None:
    own = {kind.__name__ for kind in error_classes() if "__init__" in vars(kind)}
    assert own - {"KheadersError"} == MORE.keys()


def judged(outcome: Outcome) -> tuple[Outcome, str]:
    """What a worker of a cluster does: takes a result, and hands on another; raises what it cannot."""
    if outcome.staged is None:
        assert outcome.error is not None
        raise outcome.error
    return dataclasses.replace(outcome, serial="B2"), repr(outcome)


def test_results_and_errors_pass_between_processes() -> None:
    @given(st.from_type(Staged))
    @settings(max_examples=1)
    def staged(found: Staged) -> None:
        good = Outcome("A1", found)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(judged, good).result() == (Outcome("B2", found), repr(good))
            for kind in (errors.MismatchError, errors.UsageError, errors.UnsafeArchiveError):
                error = made(kind)
                raised = pool.submit(judged, Outcome("A1", error=error)).exception()
                assert type(raised) is kind
                assert (str(raised), vars(raised).keys()) == (str(error), vars(error).keys())

    staged()
