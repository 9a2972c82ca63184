"""Asking many devices at once, in a way that ends at once when the user has had enough."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_parallel(ask: Callable[[A], B], things: Sequence[A], *, at_once: int) -> list[B]:
    """What `ask` says of each thing, in their order; the first error that it raises is raised here.

    A signal, which arrives in the main thread, ends the waiting: what the other threads still do is left
    behind, and ends with the process.  (A pool of `concurrent.futures` is waited for, even at exit.)

    Args:
        ask: what can be left undone at any point, and writes nothing.
        things: what it is asked of.
        at_once: how many threads there are at most.
    """
    waiting: queue.SimpleQueue[tuple[int, A]] = queue.SimpleQueue()
    said: queue.SimpleQueue[tuple[int, B | BaseException]] = queue.SimpleQueue()
    for item in enumerate(things):
        waiting.put(item)

    def work() -> None:
        while True:
            try:
                number, thing = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                said.put((number, ask(thing)))
            except BaseException as error:  # raised where it is waited for
                said.put((number, error))

    for _ in range(min(at_once, len(things))):
        threading.Thread(target=work, name="kheaders-adb-ask", daemon=True).start()
    answers: dict[int, B] = {}
    while len(answers) < len(things):
        number, answer = said.get()
        if isinstance(answer, BaseException):
            raise answer
        answers[number] = answer
    return [answers[number] for number in range(len(things))]
