"""What takes a while, told as it begins and, with its time, when it is over.

`Steps` is what does something step by step; what it tells goes to a callback and to the log.  Several devices
are several `Steps`, in threads of their own.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from kheaders_adb.journal import DEBUG, INFO, logger
from kheaders_adb.untrusted.text import harmless


class StepKind(enum.StrEnum):
    """What is done; the values are names for programs, as in ``timing_s`` of ``pull --json``."""

    SELECT = "select"
    WAIT = "wait"
    ASK = "ask"
    PROBE = "probe"
    ROOT = "root"
    SOURCE = "source"
    LOAD = "load"
    READ = "read"
    CHECK = "check"
    STAGE = "stage"
    PUSH = "push"
    IMPORT = "import"
    EXPORT = "export"
    UNDO = "undo"
    VERIFY = "verify"
    GC = "gc"
    COMPILE = "compile"

    @property
    def doing(self) -> str:
        """In words, as what stands before the thing that it is done with."""
        return _DOING[self]


_DOING = {
    StepKind.SELECT: "looking for the device",
    StepKind.WAIT: "waiting for the device",
    StepKind.ASK: "asking the devices",
    StepKind.PROBE: "looking at the kernel",
    StepKind.ROOT: "becoming root",
    StepKind.SOURCE: "looking for the headers",
    StepKind.LOAD: "loading",
    StepKind.READ: "reading",
    StepKind.CHECK: "checking the headers",
    StepKind.STAGE: "staging the headers",
    StepKind.PUSH: "putting the headers onto the device",
    StepKind.IMPORT: "importing",
    StepKind.EXPORT: "exporting",
    StepKind.UNDO: "undoing what killed runs have left",
    StepKind.VERIFY: "verifying staged trees",
    StepKind.GC: "looking for what is not needed",
    StepKind.COMPILE: "compiling",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A step that begins or is over.

    Attributes:
        kind: what is done.
        serial: the device that it is done with; None where there is none, or none yet.
        what: the thing that it is done with, such as a file; may be empty.
        duration_s: how long it took; None when it begins.
        failed: whether it ended with an error.
    """

    kind: StepKind
    serial: str | None = None
    what: str = ""
    duration_s: float | None = None
    failed: bool = False

    @property
    def text(self) -> str:
        """What is done, in words that no terminal acts on: "1A2B3C4D: reading /proc/kheaders.tar.xz"."""
        device = f"{self.serial}: " if self.serial is not None else ""
        return harmless(" ".join(f"{device}{self.kind.doing} {self.what}".split()))


OnStep = Callable[[Step], None]
"""Told of each step as it begins and when it is over, in the thread that does it."""


@dataclass(slots=True)
class Steps:
    """Steps one after another, of which one goes on at a time; a context manager, which ends the last.

    Attributes:
        on_step: told of them.
        serial: the device that they are for.
        timing_s: the seconds of those that are over, by kind.
    """

    on_step: OnStep | None = None
    serial: str | None = None
    timing_s: dict[str, float] = field(default_factory=dict)
    _now: Step | None = field(default=None, init=False)
    _began_s: float = field(default=0.0, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.end(failed=error is not None)

    def begin(self, kind: StepKind, what: object = "") -> None:
        """Begin a step, which ends the one before it; the same again goes on."""
        step = Step(kind, self.serial, str(what))
        if step == self._now:
            return
        self.end()
        self._now, self._began_s = step, time.monotonic()
        self._tell(step)

    def end(self, *, failed: bool = False) -> None:
        """End the step that goes on, if one does."""
        if (step := self._now) is None:
            return
        self._now = None
        duration_s = time.monotonic() - self._began_s
        self.timing_s[step.kind.value] = self.timing_s.get(step.kind.value, 0.0) + duration_s
        self._tell(replace(step, duration_s=duration_s, failed=failed))

    def _tell(self, step: Step) -> None:
        if self.on_step is not None:
            self.on_step(step)
        level = DEBUG if step.duration_s is None else INFO
        if (log := logger("steps", level)) is None:
            return
        fields: dict[str, object] = {
            "step": step.kind.value,
            "serial": step.serial,
            "what": step.what,
        }
        if step.duration_s is None:
            log.log(level, "%s ...", step.text, extra={"event": "step-begun", **fields})
            return
        fields |= {"duration_s": round(step.duration_s, 6), "failed": step.failed}
        how = "failed after" if step.failed else "done in"
        log.log(
            level,
            "%s: %s %.2f s",
            *(step.text, how, step.duration_s),
            extra={"event": "step-ended", **fields},
        )
