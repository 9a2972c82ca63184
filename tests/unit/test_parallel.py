"""Doing many things at once: the results' order, the first error, and what an end means for the rest."""

from __future__ import annotations

import threading

import pytest

from kheaders_adb.parallel import StoppedError, in_parallel
from tests.wire.faults import wait_until


def test_results_are_in_the_order_of_the_things() -> None:
    first_may_end = threading.Event()

    def do(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(10)
        if number == 7:
            first_may_end.set()
        return number * 2

    assert in_parallel(do, range(8), at_once=2) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert in_parallel(do, (), at_once=2) == []


def test_an_error_may_be_a_result() -> None:
    error = ValueError("told, not raised")
    assert in_parallel(lambda _: error, "ab", at_once=2) == [error, error]


@pytest.mark.parametrize("waits", [True, False])
def test_an_error_ends_it_and_nothing_more_is_begun(waits: bool) -> None:
    stop = threading.Event()
    begun, ended = [], []
    both_are_at_work = threading.Barrier(2)

    def do(number: int) -> None:
        begun.append(number)
        both_are_at_work.wait(10)
        if number == 0:
            raise ValueError("the first")
        stop.wait(10)
        ended.append(number)

    with pytest.raises(ValueError, match="the first"):
        in_parallel(do, range(5), at_once=2, stop=stop if waits else None)
    if waits:
        assert ended == [1], "it was told to stop, and waited for"
    else:
        assert ended == [], "it was left behind"
        stop.set()
        assert wait_until(lambda: ended == [1])
    assert sorted(begun) == [0, 1]


def test_it_ends_when_somebody_else_stops_it() -> None:
    stop = threading.Event()

    def do(number: int) -> int:
        if number == 1:
            stop.set()
        return number

    with pytest.raises(StoppedError, match="2 of 5"):
        in_parallel(do, range(5), at_once=1, stop=stop)
    assert in_parallel(do, range(2), at_once=1, stop=threading.Event()) == [0, 1]
