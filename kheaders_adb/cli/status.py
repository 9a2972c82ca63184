"""The line on a terminal that says what goes on: drawn once it takes longer than a moment."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO

from kheaders_adb.steps import OnStep, Step

_MOMENT_S = 0.3
_TICK_S = 0.1
_PATIENCE_S = 0.2
"""How long anything waits for a line that is being drawn; a message may share the line then."""
_BAR_COLUMNS = 60
"""Narrower lines have room for a figure only."""
_BESIDES_COLUMNS = 36
"""What a bar and its figures are left."""


@dataclass(slots=True)
class _Running:
    """A step that goes on.

    Attributes:
        step: the step.
        since_s: when it began, on ``time.monotonic``'s clock.
        is_shown: whether it was drawn, or is to be without waiting for a moment.
        bytes_done: how far it is, in bytes, where that is known.
    """

    step: Step
    since_s: float
    is_shown: bool = False
    bytes_done: tuple[int, int] | None = None


class StatusLine:
    """What goes on, in one line that is written over in place; a context manager, after which it is gone.

    A thread draws it, since who works has no time to, nor may wait for a terminal whose output is paused.  Of
    several steps that go on at once it shows the last.  What follows a step that was shown, or is part of it,
    is drawn as it begins, however short it is.

    Args:
        terminal: where it is drawn; None where there is no terminal to show it.
        width: how many columns that has now.
    """

    def __init__(self, terminal: IO[str] | None, width: Callable[[], int]) -> None:
        self._terminal = terminal
        self._width = width
        self._state = threading.Lock()  # never held while anything is written
        self._running: list[_Running] = []
        self._turn = threading.Lock()  # to write; for `_drawn` too
        self._drawn = ""
        self._shown_until_s = -1.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self.aside():
            pass
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)

    @property
    def on_step(self) -> OnStep | None:
        """What to tell of steps; None where nothing can be shown."""
        return self._step if self._terminal is not None else None

    @property
    def on_progress(self) -> Callable[[int, int], None] | None:
        """What to tell of the last step's bytes, done and in all; None where nothing can be shown."""
        return self._progress if self._terminal is not None else None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Out of the way of what is written in the block; it comes back by itself."""
        has_turn = self._turn.acquire(timeout=_PATIENCE_S)
        try:
            if has_turn:
                self._show("")
            yield
        finally:
            if has_turn:
                self._turn.release()

    def _step(self, step: Step) -> None:
        now_s, follows = time.monotonic(), False
        with self._state:
            if step.duration_s is None:
                follows = any(each.is_shown for each in self._running)
                follows = follows or now_s - self._shown_until_s < _TICK_S
                self._running.append(_Running(step, now_s, is_shown=follows))
            else:
                begun = replace(step, duration_s=None, failed=False)
                if any(each.is_shown for each in self._running if each.step == begun):
                    self._shown_until_s = now_s
                self._running = [each for each in self._running if each.step != begun]
            if self._thread is None:
                self._thread = threading.Thread(target=self._tick, name="status-line", daemon=True)
                self._thread.start()
        if follows and self._turn.acquire(blocking=False):
            try:
                self._draw()
            finally:
                self._turn.release()

    def _progress(self, done_bytes: int, total_bytes: int) -> None:
        with self._state:
            if self._running:
                self._running[-1].bytes_done = (done_bytes, total_bytes)

    def _tick(self) -> None:
        while not self._over.wait(_TICK_S):
            shown = self._running[-1:]
            if shown and shown[0].bytes_done is not None and self._is_due(shown[0]):
                import tqdm  # noqa: F401 - a tenth of a second, for which nobody is to wait for the turn
            with self._turn:
                self._draw()

    def _is_due(self, running: _Running) -> bool:
        return running.is_shown or time.monotonic() - running.since_s >= _MOMENT_S

    def _draw(self) -> None:
        shown = self._running[-1:]
        text = ""
        if shown and self._is_due(shown[0]):
            shown[0].is_shown = True
            text = self._text(shown[0], self._width() - 1)
        if not self._over.is_set():  # nobody may have waited for this
            self._show(text)

    def _text(self, running: _Running, columns: int) -> str:
        elapsed_s = time.monotonic() - running.since_s
        encoding = self._encoding
        text = running.step.text.encode(encoding, "backslashreplace").decode(encoding)
        done_bytes, total_bytes = running.bytes_done or (0, 0)
        if total_bytes and columns >= _BAR_COLUMNS:
            from tqdm import tqdm

            return tqdm.format_meter(
                done_bytes,
                total_bytes,
                elapsed_s,
                ncols=columns,
                prefix=_cut(text, columns - _BESIDES_COLUMNS),
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {elapsed}",
                ascii=not encoding.lower().startswith("utf"),
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
            )
        tail = f" {100 * done_bytes // total_bytes}%" if total_bytes else ""
        if done_bytes and not total_bytes:
            tail = f" {done_bytes >> 10} KiB"
        tail += f" {elapsed_s:.0f} s" if elapsed_s >= 1 else ""
        if len(tail) > columns:
            tail = ""  # half a figure would be a wrong one
        return _cut(text, columns - len(tail)) + tail

    @property
    def _encoding(self) -> str:
        return getattr(self._terminal, "encoding", None) or "ascii"

    def _show(self, text: str) -> None:
        """Have this in the line, unless the terminal takes nothing now, as between Ctrl-S and Ctrl-Q."""
        if text == self._drawn:
            return
        assert self._terminal is not None
        with contextlib.suppress(OSError, ValueError):  # the terminal may go away
            # Not through the file object: who waits for the lock in that cannot be ended by a signal.
            fd = self._terminal.fileno()
            if select.select([], [fd], [], 0)[1]:
                os.write(fd, f"\r{text}\x1b[K".encode(self._encoding))
                self._drawn = text


def _cut(text: str, columns: int) -> str:
    """As much of a text as fits; what is not ASCII may be two columns wide."""
    if sum(1 if char.isascii() else 2 for char in text) <= columns:
        return text
    kept, left = "", columns - len("...")
    for char in text:
        left -= 1 if char.isascii() else 2
        if left < 0:
            break
        kept += char
    return f"{kept}..."[: max(columns, 0)]
