"""``-o -``: a result's bytes go to stdout, where a program reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from kheaders_adb.cli.console import Console
from kheaders_adb.errors import UsageError

STDOUT = Path("-")
# To clang, which runs as another process, these would be another file.
_ALSO_STDOUT = tuple(map(Path, ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")))
P = TypeVar("P", Path, Path | None)


def is_stdout(out: Path | None) -> bool:
    """Whether a user means stdout by a file's name."""
    return out == STDOUT or out in _ALSO_STDOUT


def refuse_stdout(out: Path | None, option: str) -> None:
    """Refuse ``-`` where a file is needed, and its own name would be the surprise.

    Raises:
        UsageError: it is ``-``.
    """
    if out == STDOUT:
        raise UsageError(
            f"{option} - is no stdout here: this file is read again",
            hint="name a file; one that is called - is ./-",
        )


@contextmanager
def piped(out: P, console: Console, *, name: str, what: str) -> Iterator[P | Path]:
    """Give the file to write; where `out` is ``-``, one whose bytes go to stdout at the end of the block.

    So nothing is written there until all of it is good.

    Args:
        out: what the user has given.
        console: where they go.
        name: the file's name, where it is one of our own.
        what: what the bytes are, for messages.

    Raises:
        UsageError: stdout is a terminal, or has something else to take.
    """
    if not is_stdout(out):
        yield out
        return
    if console.wanted.json:
        raise UsageError(
            "-o - and --json exclude each other: both are for stdout", hint="give a file with -o"
        )
    if console.is_for_people:
        raise UsageError(
            f"{what} is not for a terminal",
            hint="send stdout to a file or a program, or give a file",
        )
    import tempfile  # slow to import

    with tempfile.TemporaryDirectory(prefix="kheaders-adb-") as folder:
        own = Path(folder, name)
        yield own
        console.raw(own.read_bytes())
