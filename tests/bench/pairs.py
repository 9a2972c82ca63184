"""Paired timings: two things done in turn, compared pair by pair, so that a noisy machine cancels out."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pairs:
    """The wall times of two things measured in turn.

    Attributes:
        name: what was compared.
        ours_s, theirs_s: seconds, pair by pair.
        limit: the ratio of the medians that must not be exceeded, or None.
    """

    name: str
    ours_s: tuple[float, ...]
    theirs_s: tuple[float, ...]
    limit: float | None = None

    @property
    def ratio(self) -> float:
        """The median of the ratios of the pairs."""
        return statistics.median(
            ours / theirs for ours, theirs in zip(self.ours_s, self.theirs_s, strict=True)
        )

    @property
    def row(self) -> str:
        """One line of the report."""
        limit = f"  (at most {self.limit:g})" if self.limit is not None else ""
        verdict = "" if self.limit is None else "  ok" if self.ratio <= self.limit else "  ABOVE"
        return (
            f"{self.name:48} {statistics.median(self.ours_s):7.3f} s  "
            f"{statistics.median(self.theirs_s):7.3f} s  × {self.ratio:5.2f}{limit}{verdict}"
        )


def measure(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    pairs: int = 9,
    limit: float | None = None,
) -> Pairs:
    """Time `ours` and `theirs` in turn, after one uncounted run of each."""
    ours()
    theirs()
    times = [(_time(ours), _time(theirs)) for _ in range(pairs)]
    return Pairs(name, tuple(a for a, _ in times), tuple(b for _, b in times), limit)


def command(
    arguments: Sequence[object], environ: Mapping[str, str] | None = None
) -> Callable[[], object]:
    """A function that runs a program to its end and fails with what it said."""

    def run() -> None:
        done = subprocess.run(
            list(map(str, arguments)), env=environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{arguments[0]} ended with {done.returncode}: {done.stderr}")

    return run


def _time(action: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    action()
    return time.perf_counter() - started_s
