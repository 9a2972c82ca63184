"""What the operating system's errors mean for a store, in words that lead somewhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kheaders_adb.errors import StoreError

_ELSEWHERE = "choose another place with --store or $KHEADERS_ADB_STORE"

_HINTS = {
    errno.ENOSPC: f"free some space there (`kheaders-adb gc` helps), or {_ELSEWHERE}",
    errno.EDQUOT: f"your disk quota is used up: free some space there, or {_ELSEWHERE}",
    errno.EIO: "the disk reports read or write errors: look into the kernel log (dmesg) before going on",
    errno.EROFS: f"the file system is mounted read-only: {_ELSEWHERE}",
    errno.EACCES: f"make the store's folders writable for this user, or {_ELSEWHERE}",
    errno.EPERM: f"make the store's folders writable for this user, or {_ELSEWHERE}",
    errno.ENOLCK: f"this file system gives no locks (NFS without its lock service?): {_ELSEWHERE}",
    errno.EOPNOTSUPP: f"this file system lacks something the store needs: {_ELSEWHERE}",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EISDIR: "a folder stands where the store has a file: move it away",
    errno.ELOOP: "a link stands where the store has a file or a folder: remove it",
    errno.EEXIST: f"something that is no folder has that name: remove it, or {_ELSEWHERE}",
    errno.ENAMETOOLONG: f"no file system takes such a long name: {_ELSEWHERE}",
    errno.ENFILE: "too many files are open on this machine: end some programs and try again",
    errno.ENOTDIR: f"a file stands where the store needs a folder: remove it, or {_ELSEWHERE}",
}

#: Errors which mean "you may look but not write"; hints such as "last used" are left out then.
READ_ONLY_ERRNOS = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def free_bytes(path: Path) -> int | None:
    """The bytes that an ordinary user can still write at ``path``, or None if nobody can say."""
    for place in (path, *path.parents):
        try:
            found = os.statvfs(place)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return None


def is_there(path: Path) -> bool:
    """Whether there is something at ``path``, a dangling link too.

    Unlike ``Path.exists``, which says no where it should say "I cannot tell": on some of that "no", files are
    removed and replaced.

    Raises:
        StoreError: nobody can tell, because the disk failed or a folder may not be entered.
    """
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether there is a folder at ``path``, not a link to one.

    Raises:
        StoreError: as :func:`is_there`.
    """
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise store_error(error, step="looking into the store", path=path) from error


def store_error(error: OSError, *, step: str, path: Path | str) -> StoreError:
    """An operating system error as the store's own.

    Args:
        error: what the system said; its own file name, if it has one, is only a detail.
        step: what was being done, as in "writing the header tree".
        path: the file or folder concerned.

    Returns:
        The error to raise ``from error``.
    """
    said = os.strerror(error.errno) if error.errno is not None else str(error)
    seen = f"{os.fspath(path)}: {said}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = free_bytes(Path(path))
        if free is not None:
            seen += f" ({free / 1e6:.1f} MB free; one kernel's headers need about 50 MB)"
    return StoreError(seen, step=step, hint=_HINTS.get(error.errno or 0))


@contextmanager
def wrapped(step: str, path: Path | str) -> Iterator[None]:
    """Within it, every OSError becomes a :class:`StoreError` that names ``step`` and ``path``."""
    try:
        yield
    except OSError as error:
        raise store_error(error, step=step, path=path) from error
