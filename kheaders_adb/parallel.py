"""Doing many things at once, in threads: only the main one gets signals, so that none is taken unawares."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

_LOOK_S = 0.1

A = TypeVar("A")
B = TypeVar("B")


class StoppedError(Exception):
    """Everything was stopped from outside, and so is not done; whoever stops has an error of its own."""


def in_parallel(
    do: Callable[[A], B], things: Sequence[A], *, at_once: int, stop: threading.Event | None = None
) -> list[B]:
    """Do something with each thing and return the results, in their order.

    The first error is raised here, and so is a signal's; then nothing more is begun.  (A pool of
    `concurrent.futures` is waited for whatever happens, even when the process ends.)

    Args:
        do: what is done.
        things: with what.
        at_once: how many threads there are at most.
        stop: set when nothing is wanted any more, upon which each `do` has to end soon: it is waited for.
            Without it `do` must be such that it can be left behind at any point; it ends with the process.

    Raises:
        StoppedError: somebody else set `stop`, and not everything was done.
    """
    waiting: queue.SimpleQueue[tuple[int, A]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, B] | BaseException] = queue.SimpleQueue()
    over = stop or threading.Event()
    for item in enumerate(things):
        waiting.put(item)

    def work() -> None:
        while not over.is_set():
            try:
                number, thing = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, do(thing)))
            except BaseException as error:  # raised where it is waited for
                done.put(error)
                over.set()

    threads = [
        threading.Thread(target=work, name="kheaders-adb", daemon=stop is None)
        for _ in range(min(max(1, at_once), len(things)))
    ]
    results: dict[int, B] = {}
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(things):
            # Looked at before the queue: what a thread leaves there is there once it has ended.
            at_work = any(thread.is_alive() for thread in threads)
            try:
                # The system may hand a signal to any thread, but the main one acts on it, once it is awake.
                result = done.get(timeout=_LOOK_S if at_work else 0)
            except queue.Empty:
                if at_work:
                    continue
                raise StoppedError(f"stopped with {len(results)} of {len(things)} done") from None
            if isinstance(result, BaseException):
                raise result
            results[result[0]] = result[1]
    finally:
        over.set()
        for thread in threads:
            if stop is not None and thread.ident is not None:
                thread.join()
    return [results[number] for number in range(len(things))]
