"""One monotonic deadline, made once and passed down, so that waits cannot add up."""

from __future__ import annotations

import time
from dataclasses import dataclass


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
