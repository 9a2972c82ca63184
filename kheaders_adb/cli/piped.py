"""``-o -``: a result's bytes go to stdout, where a program reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from kheaders_adb.cli.console import Console
from kheaders_adb.errors import UsageError

STDOUT = Path("-")
P = TypeVar("P", Path, Path | None)


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
    if out != STDOUT:
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
    with tempfile.TemporaryDirectory(prefix="kheaders-adb-") as folder:
        own = Path(folder, name)
        yield own
        console.raw(own.read_bytes())
