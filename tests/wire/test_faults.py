"""Hundreds of pulls under faults of cable, server and phone: never wrong bytes, never a hang, never a leak.

The cases are in ``cases.py`` and ``stream_cases.py``, what is asserted of each in ``campaign.py``: the exit
code is one of those allowed; bytes staged are the right ones; it ends by its deadline + 2 s (and a grace for
a busy machine, after which a watchdog calls it hung); no descriptor or thread is left; the store holds
complete trees and no litter; no module or file is left on the device; and where that is asked, the next pull
works.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.conftest import SCALE, SEED

from . import cases, stream_cases
from .campaign import Case, run_case, start_workers

# Much of a fault is waiting: two pools of processes, each for half of the families.
one_pool = pytest.mark.xdist_group("faults of peers")
other_pool = pytest.mark.xdist_group("faults of streams")


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Processes of their own, so that each can count its descriptors and threads."""
    with start_workers(8) as pool:
        yield pool


def check(workers: ProcessPoolExecutor, family: Iterable[Case], at_least: int) -> None:
    """Run a family of cases and fail with all that went wrong in any."""
    wanted = list(family)
    assert len({case.name for case in wanted}) == len(wanted) >= at_least
    reports = list(workers.map(run_case, wanted, chunksize=2))
    wrong = [
        f"{report.case} (exit {report.exit_code}, {report.over_s:+.1f} s, {report.error!r}):\n    "
        + "\n    ".join(report.problems)
        for report in reports
        if report.problems
    ]
    assert not wrong, f"{len(wrong)} of {len(reports)} cases, seed {SEED}:\n" + "\n".join(wrong)


@one_pool
def test_silence(workers: ProcessPoolExecutor) -> None:
    check(workers, cases.silent(), 30)


@one_pool
def test_trickling(workers: ProcessPoolExecutor) -> None:
    check(workers, cases.trickling(), 8)


@one_pool
def test_devices_in_every_state(workers: ProcessPoolExecutor) -> None:
    check(workers, cases.device_states(), 50)


@one_pool
def test_servers_that_go_or_are_none(workers: ProcessPoolExecutor) -> None:
    check(workers, cases.servers(), 90)


@other_pool
def test_reboots(workers: ProcessPoolExecutor) -> None:
    check(workers, cases.reboots(), 15)


@other_pool
def test_shells_that_say_more_or_less(workers: ProcessPoolExecutor) -> None:
    check(workers, cases.shells(), 20)


@other_pool
def test_a_module_on_its_way(workers: ProcessPoolExecutor) -> None:
    check(workers, stream_cases.pushes(), 25)


@other_pool
def test_the_end_of_the_stream_at_every_kind_of_byte(workers: ProcessPoolExecutor) -> None:
    check(workers, stream_cases.ends(SEED, 200 * SCALE), 300)
