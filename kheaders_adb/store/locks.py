"""Locks between processes: ``flock``, so that the operating system lets go of them when a process dies.

The package filelock takes 40 ms to import and has shared locks through SQLite files only.  Threads of one
process exclude each other as well, because every lock is taken on a descriptor of its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store import paths
from kheaders_adb.store.faults import READ_ONLY_ERRNOS, store_error

_POLL_S = 0.01
#: Why a reader cannot make a lock file: not his store, a full disk, a read-only copy without empty folders.
_UNMADE = READ_ONLY_ERRNOS | {errno.ENOSPC, errno.EDQUOT, errno.ENOENT}
#: Nobody holds the store's own lock for longer than a few system calls.
PATIENCE_S = 60.0

#: Gives the seconds that a run has left.
TimeLeft = Callable[[], float]


def patient() -> float:
    """As if any time were left; no lambda, since a store may be handed to another process."""
    return PATIENCE_S


def try_lock(fd: int, *, exclusive: bool) -> bool:
    """Take the lock on an open file if that is possible at once.

    Returns:
        Whether it was taken.

    Raises:
        OSError: the file system gives no locks.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether some process (this one included) holds the lock file ``path``.

    It is taken for a moment to see that, so hold the store's own lock alone meanwhile: else two that look at
    once take each other for holders.

    Raises:
        StoreError: the disk failed.
    """
    try:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in READ_ONLY_ERRNOS:
                raise
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # on local file systems that will do
    except FileNotFoundError:
        return False
    except OSError as error:
        raise store_error(error, step="looking at a lock", path=path) from error
    try:
        return not try_lock(fd, exclusive=True)
    except OSError as error:
        raise store_error(error, step="looking at a lock", path=path) from error
    finally:
        os.close(fd)


@contextmanager
def locked(path: Path, *, exclusive: bool, timeout_s: float, purpose: str) -> Iterator[None]:
    """Hold the lock file ``path`` while in the block.

    Args:
        path: the lock file; created when missing, never removed (removing one that somebody waits
            for would let two in).
        exclusive: alone, or together with other holders that are not exclusive.
        timeout_s: seconds to wait for others.
        purpose: what the others do with it, for the message: "staging an archive of 4 MB".

    Raises:
        StoreError: not to be had in time, or no locks on this file system.
    """
    fd = _open_lock_file(path, exclusive=exclusive)
    if fd is None:
        yield
        return
    try:
        deadline = time.monotonic() + timeout_s
        try:
            while not try_lock(fd, exclusive=exclusive):
                if time.monotonic() >= deadline:
                    from kheaders_adb.store.holders import holders, named

                    raise StoreError(
                        f"{named(holders(fd))} been {purpose} for {timeout_s:.3g} s ({path} is locked)",
                        step="waiting for the store",
                        hint="let it finish or end it, then run the same command again",
                    )
                time.sleep(_POLL_S)
        except OSError as error:
            raise store_error(error, step="locking the store", path=path) from error
        yield
    finally:
        os.close(fd)


@contextmanager
def guarded(root: Path, *, exclusive: bool, time_left: TimeLeft = patient) -> Iterator[None]:
    """Hold the store's own lock: shared to find, use or make something, exclusive to publish or remove.

    Args:
        root: the store.
        exclusive: which of the two.
        time_left: gives the seconds that the run has left; a minute is waited at most.

    Raises:
        StoreError: not to be had in time.
    """
    with locked(
        root / paths.LOCKS / "store",
        exclusive=exclusive,
        timeout_s=min(time_left(), PATIENCE_S),
        purpose="changing the store",
    ):
        yield


def _open_lock_file(path: Path, *, exclusive: bool) -> int | None:
    """A descriptor to lock; None where a reader cannot even create the lock file.

    Whoever cannot write to the store cannot remove anything from it either, so for a reader of somebody
    else's store a missing lock is no danger to others; it merely does not keep a gc from what it reads.  On a
    full disk that must do as well: what is staged is served.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if exclusive or error.errno not in _UNMADE:
            raise store_error(error, step="locking the store", path=path) from error
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT or error.errno in READ_ONLY_ERRNOS:
            return None
        raise store_error(error, step="locking the store", path=path) from error
