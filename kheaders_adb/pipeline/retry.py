"""Waiting for a device, and trying again what may succeed the second time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.errors import (
    AmbiguousDeviceError,
    DeviceError,
    KheadersError,
)

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 8.0

T = TypeVar("T")


def patiently(
    attempt: Callable[[], T],
    *,
    wait_s: float,
    deadline: Deadline,
    say: Callable[[str], None] | None = None,
) -> T:
    """Call `attempt` until it succeeds, fails for good, or the patience is over.

    What is waited for: a device that is not there, offline or unauthorized, and a transfer that was lost.
    Nothing is staged by an attempt that failed, so that repeating one is safe.  The pause doubles from half a
    second to eight.

    Args:
        attempt: what to do.
        wait_s: for how many seconds new attempts may begin; 0 for one attempt only.
        deadline: bounds the attempts and the pauses together.
        say: told of each failure and of the pause that follows.

    Raises:
        KheadersError: that of the last attempt.
    """
    patience = deadline.sooner(wait_s)
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return attempt()
        except KheadersError as error:
            if not _may_pass(error) or pause_s >= patience.remaining_s:
                raise
            if say is not None:
                say(f"{error}; trying again in {pause_s:g} s")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, MAX_PAUSE_S)


def _may_pass(error: KheadersError) -> bool:
    if isinstance(error, DeviceError):
        # Which of several devices is meant does not become clearer with time.
        return not isinstance(error, AmbiguousDeviceError)
    return error.retryable
