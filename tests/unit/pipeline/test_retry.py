"""Waiting for a device, and trying again what may succeed the second time."""

from __future__ import annotations

import pytest

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.errors import (
    AmbiguousDeviceError,
    DeadlineError,
    DeviceChangedError,
    KheadersError,
    MismatchError,
    NoDeviceError,
    NoHeadersError,
    OfflineError,
    StoreError,
    TransferError,
    UnauthorizedError,
    UsageError,
)
from kheaders_adb.pipeline import retry
from kheaders_adb.pipeline.retry import patiently
from kheaders_adb.steps import Step, StepKind, Steps


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(retry, "MAX_PAUSE_S", 0.04)


class Attempts:
    """Fails with each of `failures` in turn, then succeeds."""

    def __init__(self, *failures: KheadersError) -> None:
        self.failures = list(failures)
        self.made = 0

    def __call__(self) -> int:
        self.made += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.made


MAY_PASS = [
    NoDeviceError,
    OfflineError,
    UnauthorizedError,
    TransferError,
    DeadlineError,
    DeviceChangedError,
]
FOR_GOOD = [AmbiguousDeviceError, UsageError, NoHeadersError, MismatchError, StoreError]


@pytest.mark.parametrize("kind", MAY_PASS)
def test_what_may_pass_is_tried_again(kind: type[KheadersError]) -> None:
    attempts = Attempts(kind("x"), kind("x"))
    assert patiently(attempts, wait_s=30, deadline=Deadline.after(30)) == 3


@pytest.mark.parametrize("kind", FOR_GOOD)
def test_what_does_not_pass_is_not(kind: type[KheadersError]) -> None:
    attempts = Attempts(kind("x"))
    with pytest.raises(kind):
        patiently(attempts, wait_s=30, deadline=Deadline.after(30))
    assert attempts.made == 1


def test_without_patience_there_is_one_attempt() -> None:
    attempts = Attempts(TransferError("x"))
    with pytest.raises(TransferError):
        patiently(attempts, wait_s=0, deadline=Deadline.after(30))
    assert attempts.made == 1


def test_patience_ends_with_the_last_error() -> None:
    failures = [OfflineError(f"failure {number}") for number in range(1000)]
    attempts = Attempts(*failures)
    with pytest.raises(OfflineError) as caught:
        patiently(attempts, wait_s=0.2, deadline=Deadline.after(30))
    assert 2 < attempts.made < 30
    assert caught.value is failures[attempts.made - 1]


def test_the_deadline_is_over_all_of_it() -> None:
    attempts = Attempts(*(OfflineError("x") for _ in range(1000)))
    with pytest.raises(OfflineError):
        patiently(attempts, wait_s=1000, deadline=Deadline.after(0.1))
    assert attempts.made < 20


def test_each_pause_is_told_and_twice_the_one_before() -> None:
    said: list[str] = []
    failures = [OfflineError("gone", device="X1") for _ in range(4)]
    patiently(Attempts(*failures), wait_s=30, deadline=Deadline.after(30), say=said.append)
    assert said == [
        f"X1: gone; trying again in {pause} s" for pause in ("0.01", "0.02", "0.04", "0.04")
    ]


def test_each_pause_is_a_step() -> None:
    told: list[Step] = []
    attempts = Attempts(OfflineError("gone"), OfflineError("gone"))
    patiently(attempts, wait_s=30, deadline=Deadline.after(30), steps=Steps(told.append))
    assert [(step.kind, step.duration_s is None) for step in told] == [
        (StepKind.WAIT, True),
        (StepKind.WAIT, False),
    ] * 2
