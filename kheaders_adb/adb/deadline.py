"""One monotonic deadline, made once and passed down, so that waits cannot add up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from kheaders_adb.errors import DeadlineError

T = TypeVar("T")

_SHORTEST_S = 0.05
"""What a call is given that begins when the time is just over: most take less."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time by which everything has to be over.

    Attributes:
        at_s: the point, on ``time.monotonic``'s clock.
        idle_s: the longest that any one wait within it may take; it makes a peer that fell silent show
            early without shortening what a slow one is given.
    """

    at_s: float
    idle_s: float

    @classmethod
    def after(cls, timeout_s: float, *, idle_s: float | None = None) -> Deadline:
        """A deadline `timeout_s` seconds from now, with waits of at most `idle_s` seconds each."""
        return cls(time.monotonic() + timeout_s, timeout_s if idle_s is None else idle_s)

    def sooner(self, timeout_s: float) -> Deadline:
        """This deadline, or one `timeout_s` seconds from now, whichever comes first."""
        return Deadline(min(self.at_s, time.monotonic() + timeout_s), self.idle_s)

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return self.remaining_s == 0.0

    @property
    def wait_s(self) -> float:
        """How long the next single wait may take, in seconds."""
        return min(self.remaining_s, self.idle_s)

    def require(self, *, step: str, device: str | None = None, hint: str | None = None) -> None:
        """Go on only while there is time.

        Raises:
            DeadlineError: the time is over.
        """
        if self.expired:
            raise DeadlineError("the time is over", step=step, device=device, hint=hint)


def call_within(deadline: Deadline, call: Callable[[], T]) -> T:
    """What `call` returns or raises, if that comes in time.

    For what cannot be interrupted: it has a thread of its own, which is left alone when the time is over, and
    keeps no process from ending.

    Raises:
        TimeoutError: it took too long.
    """
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="call-within", daemon=True)
    thread.start()
    thread.join(max(deadline.wait_s, _SHORTEST_S))
    if raised:
        raise raised[0]
    if not returned:
        raise TimeoutError
    return returned[0]
