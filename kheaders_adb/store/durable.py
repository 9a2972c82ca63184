"""Getting bytes onto the disk in a known order."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    """``syncfs(2)``, or None where the C library has none (macOS)."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:
        return None

    def call(fd: int) -> int:
        ctypes.set_errno(0)
        return ctypes.get_errno() if function(fd) != 0 else 0

    return call


def sync_below(folder: Path, folder_fd: int) -> None:
    """Bring everything below ``folder`` to the disk; one ``syncfs`` on Linux, else file by file.

    Args:
        folder: the folder.
        folder_fd: a descriptor of it that was opened *before* the writing began: since Linux 5.8
            (735e4ae5ba28) syncfs reports the write-back errors that happened since then.

    Raises:
        OSError: something could not be written back.
    """
    syncfs = _syncfs()
    if syncfs is not None:
        error = syncfs(folder_fd)
        if error:
            raise OSError(error, os.strerror(error), os.fspath(folder))
        return
    for parent, _folders, files in os.walk(folder, topdown=False, onerror=_fail):
        for name in files:
            path = Path(parent, name)
            if not path.is_symlink():
                fsync_path(path)
        fsync_path(Path(parent))


def _fail(error: OSError) -> NoReturn:
    raise error


def fsync_path(path: Path) -> None:
    """``fsync`` a file or a folder.

    Raises:
        OSError: it cannot be opened or written back.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, content: bytes | memoryview) -> None:
    """``write(2)`` until all of it is written.

    Raises:
        OSError: it could not be.
    """
    written = os.write(fd, content)
    if written != len(content):
        rest = memoryview(content)[written:]
        while rest:
            rest = rest[os.write(fd, rest) :]
