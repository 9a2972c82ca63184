"""The process that a command runs in: its descriptors, the signals that end it, its exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from kheaders_adb.cli.console import Console, OutputError, Wanted, let_go
from kheaders_adb.errors import KheadersError, StoreError

ISSUES = "https://github.com/kheaders-adb/kheaders-adb/issues"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a command to clean up and end."""


class Ended(BaseException):
    """A signal asked the program to end; cleaning up goes on as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def occupy_descriptors() -> None:
    """Give stdin, stdout and stderr a descriptor each, where whoever started us had closed one.

    The next file or socket opened would get that number, and what is said to the user would go into it.
    What is written to a stdout that was closed fails, as it does for other programs: the result must not
    vanish without a word.
    """
    for fd, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest number that is free; those below are taken by now.
            os.set_inheritable(os.open(os.devnull, mode), True)
    # Python makes no objects of what was closed; these stay open to the end of the process.
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", errors="backslashreplace", closefd=False)


def guarded(function: Callable[[], int | None], wanted: Wanted) -> int:
    """Run `function` and return the exit code, having told the user of any error.

    Args:
        function: the command; what it returns is the exit code, None for 0.
        wanted: how it is told.
    """
    console = Console.begin(wanted)
    for number in ENDING:
        # nohup, and a shell that starts something in the background, have signals ignored: so they stay.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        return _told(function, console)
    except BrokenPipeError as error:
        # Whoever read our messages has gone; that is their business.
        code = exit_code_of(error)
    except OutputError as error:
        with contextlib.suppress(BrokenPipeError):
            console.complain(error)
        code = exit_code_of(error)
    except Ended as ended:  # while the end was being told
        code = exit_code_of(ended)
    for stream in (sys.stdout, sys.stderr):
        let_go(stream)
    return code


def _told(function: Callable[[], int | None], console: Console) -> int:
    try:
        return function() or 0
    except (OutputError, BrokenPipeError):
        raise
    except KheadersError as error:
        console.error(error)
        return exit_code_of(error)
    except (Ended, KeyboardInterrupt) as ended:
        number = ended.number if isinstance(ended, Ended) else signal.SIGINT
        for each in ENDING:
            # A second one need not wait for whoever reads what is said now.
            if signal.getsignal(each) is _end:
                signal.signal(each, signal.SIG_DFL)
        console.interrupted(ended, signal.Signals(number))
        return exit_code_of(ended)
    except OSError as error:
        console.error(disk_error(error))
        return exit_code_of(error)
    except Exception as error:
        console.bug(error, traceback.format_exc(), f"please report the lines above at {ISSUES}")
        return exit_code_of(error)


def exit_code_of(error: BaseException) -> int:
    """The exit code of a program that this error, or signal, ended."""
    if isinstance(error, Ended | KeyboardInterrupt):
        return 128 + (error.number if isinstance(error, Ended) else signal.SIGINT)
    if isinstance(error, BrokenPipeError):
        return OutputError.READER_GONE
    if isinstance(error, OSError):
        return StoreError.exit_code
    return error.exit_code if isinstance(error, KheadersError) else KheadersError.exit_code


def disk_error(error: OSError) -> StoreError:
    """The error for what nobody has seen coming; what is opened for a purpose has an error of its own."""
    where = os.fsdecode(error.filename) + ": " if isinstance(error.filename, str | bytes) else ""
    return StoreError(
        f"{where}{error.strerror or error}",
        hint="look at the file or folder named, at the disk and at your limits (ulimit -a)",
    )


def _end(number: int, _frame: FrameType | None) -> None:
    raise Ended(number)
