"""The store's ``tmp``: every entry belongs to a living process, or is litter.

An entry's owner holds an exclusive ``flock`` on it (on ``<entry>/lock`` where it is a folder), which the
operating system releases when the process dies.  Entries are made while the store's own lock is held
shared, and litter is recognised while it is held exclusively, so that nobody mistakes an entry that is
being made for one that was left behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kheaders_adb.store import paths
from kheaders_adb.store.faults import wrapped
from kheaders_adb.store.locks import PATIENCE_S, TimeLeft, guarded, try_lock

_LOCK = "lock"
_WITHOUT_OWNER = frozenset({errno.ENOENT, errno.ELOOP})


def new_name() -> str:
    """A name in ``tmp`` that nobody else uses; the process in it is for a person who looks."""
    return f"{os.getpid()}-{os.urandom(8).hex()}"


def make_folder(root: Path, time_left: TimeLeft = lambda: PATIENCE_S) -> tuple[Path, int]:
    """Make a folder in ``tmp`` that lives until :func:`discard` or the end of this process.

    Returns:
        The folder, and the descriptor that holds its lock.

    Raises:
        StoreError: the disk failed.
    """
    folder = root / paths.TMP / new_name()
    fd = -1
    try:
        with (
            wrapped("making a folder in the store", folder),
            guarded(root, exclusive=False, time_left=time_left),
        ):
            folder.mkdir()
            fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.flock(fd, fcntl.LOCK_EX)
    except BaseException:  # too few descriptors, a full disk, Ctrl-C
        with suppress(OSError):  # not rmtree, which needs a descriptor
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()
        if fd >= 0:
            os.close(fd)
        raise
    return folder, fd


def require_writable(root: Path) -> None:
    """Make sure, as far as that can be seen, that something can be staged in a store.

    Raises:
        StoreError: the disk, or this user's rights, do not let it.
    """
    path = root / paths.TMP / new_name()
    with wrapped("preparing to stage", path.parent):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        path.unlink(missing_ok=True)
    for name in (paths.TREES, paths.KERNELS, paths.LOCKS):
        with wrapped("preparing to stage", root / name):
            if not os.access(root / name, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def discard(folder: Path, lock_fd: int) -> None:
    """Remove a folder of :func:`make_folder`; what cannot be removed is left to the next sweep."""
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock_fd)


@contextmanager
def draft(root: Path, content: bytes, *, synced: bool = True) -> Iterator[Path]:
    """A file in ``tmp`` with this content, on the disk, to be renamed to its place within the block.

    The caller holds the store's own lock.  Without `synced`, a power cut may leave another content.

    Raises:
        OSError: the disk failed.
    """
    path = root / paths.TMP / new_name()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def sweep(
    root: Path,
    time_left: TimeLeft = lambda: PATIENCE_S,
    on_removal: Callable[[Path], None] | None = None,
) -> int:
    """Remove the entries of ``tmp`` whose owners are dead.

    Args:
        root: the store.
        time_left: gives the seconds that the run has left.
        on_removal: told of each before it goes.

    Returns:
        How many were removed.

    Raises:
        StoreError: the folder cannot be read, or something in it cannot be removed.
    """
    tmp = root / paths.TMP
    with wrapped("sweeping the store", tmp):
        if not any(tmp.iterdir()):
            return 0
        litter: list[tuple[Path, int | None]] = []
        try:
            with guarded(root, exclusive=True, time_left=time_left):
                for path in tmp.iterdir():
                    dead, fd = _take_over(path)
                    if dead:
                        litter.append((path, fd))
            for path, _fd in litter:
                if on_removal is not None:
                    on_removal(path)
                _remove(path)
        finally:
            for _path, fd in litter:
                if fd is not None:
                    os.close(fd)
    return len(litter)


def _take_over(path: Path) -> tuple[bool, int | None]:
    """Whether an entry's owner is dead; if so, own it, so that no other sweeper takes it as well."""
    is_folder = path.is_dir() and not path.is_symlink()
    try:
        fd = os.open(path / _LOCK if is_folder else path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        # Entries are made under the lock that is held here, so one without a lock file lost its owner
        # while it was made or unmade; and nobody here makes links.  Whatever else keeps a lock from being
        # looked at (another user's entry, too few descriptors, a disk that fails) says nothing of its owner.
        return error.errno in _WITHOUT_OWNER, None
    if try_lock(fd, exclusive=True):
        return True, fd
    os.close(fd)
    return False, None


def _remove(path: Path) -> None:
    for _attempt in range(3):  # an owner that is unmaking it at the same time makes names vanish
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            continue
        return
