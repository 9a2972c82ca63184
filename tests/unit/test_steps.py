"""Steps: told in pairs, in words that are harmless, and logged for whoever listens."""

from __future__ import annotations

import logging

import pytest

from kheaders_adb.steps import Step, StepKind, Steps


def test_a_step_ends_where_the_next_begins() -> None:
    told: list[Step] = []
    with Steps(told.append, "X1") as steps:
        steps.begin(StepKind.PROBE)
        steps.begin(StepKind.PROBE)
        steps.begin(StepKind.READ, "/proc/kheaders.tar.xz")
    steps.end()
    assert [(step.kind, step.duration_s is None) for step in told] == [
        (StepKind.PROBE, True),
        (StepKind.PROBE, False),
        (StepKind.READ, True),
        (StepKind.READ, False),
    ]
    assert not any(step.failed for step in told)
    assert steps.timing_s.keys() == {"probe", "read"}


def test_an_error_ends_the_step_as_failed() -> None:
    told: list[Step] = []
    steps = Steps(told.append)
    steps.begin(StepKind.GC)
    with pytest.raises(KeyboardInterrupt), steps:
        raise KeyboardInterrupt
    assert told[-1].failed


def test_every_kind_has_words_which_no_terminal_acts_on() -> None:
    for kind in StepKind:
        assert kind.doing
    text = Step(StepKind.READ, "X\x1b[2J1", "/a\nb\u202e").text
    assert text == "X\\x1b[2J1: reading /a b\\u202e"


def test_who_listens_is_told_with_the_times(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kheaders_adb"), Steps(serial="X1") as steps:
        steps.begin(StepKind.READ, "/proc/x")
        steps.end(failed=True)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("kheaders_adb.steps", "INFO")
    assert record.getMessage().startswith("X1: reading /proc/x: failed after 0.0")
    assert (record.step, record.serial) == ("read", "X1")  # type: ignore[attr-defined]
    assert record.duration_s >= 0  # type: ignore[attr-defined]
    with caplog.at_level(logging.DEBUG, "kheaders_adb"), Steps() as steps:
        steps.begin(StepKind.GC)
    assert [record.levelname for record in caplog.records[1:]] == ["DEBUG", "INFO"]
