"""A folder for what clang reads and writes while it works, and nobody needs afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kheaders_adb.errors import CompileError


@contextlib.contextmanager
def temporary_folder(step: str) -> Iterator[Path]:
    """Give an empty folder of this run's own, which is gone when the block is left.

    Args:
        step: what it is for, as errors say it.

    Raises:
        CompileError: it cannot be made.
    """
    import tempfile  # slow to import

    try:
        folder = tempfile.TemporaryDirectory(prefix="kheaders-adb-", ignore_cleanup_errors=True)
    except OSError as error:
        raise CompileError(
            f"no temporary folder can be made: {error.strerror}",
            step=step,
            hint="name a folder that can be written with TMPDIR",
        ) from error
    with folder as name:
        yield Path(name)
