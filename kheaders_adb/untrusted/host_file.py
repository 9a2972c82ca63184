"""Files and folders of this host that a user names: looked at before they are opened, read within bounds.

A name may lead to a pipe, at which opening waits for ever, to a device without end, round in a circle, or
through a folder that this user may not enter.  Each is said in the same words, as a mistake of usage.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kheaders_adb.errors import KheadersError, StoreError, UsageError


class Kind(enum.Enum):
    """What a path leads to."""

    FILE = "a file"
    FOLDER = "a folder"
    PIPE = "a pipe"
    SOCKET = "a socket"
    DEVICE = "a device"


_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFIFO: Kind.PIPE,
    stat.S_IFSOCK: Kind.SOCKET,
}
_CHECK = "check the path"
_READ_HINTS = {
    errno.EACCES: "let this user read it, and enter each folder on the way to it",
    errno.EPERM: "let this user read it, and enter each folder on the way to it",
    errno.ELOOP: "its links lead round in a circle: name what they were meant for",
    errno.ENAMETOOLONG: "name it by a shorter path",
    errno.ENOTDIR: "something that is no folder stands within the path",
}
_WRITE_HINTS = {
    errno.EACCES: "let this user write into its folder, or name another one",
    errno.EPERM: "let this user write into its folder, or name another one",
    errno.EROFS: "its file system is mounted read-only: name another folder",
    errno.ENOENT: "make its folder first, or name another one",
}
_MISNAMED = frozenset(
    {*_READ_HINTS, *_WRITE_HINTS, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL}
)
"""The errors that another path would mend; all others are the disk's."""


def kind_of(path: Path, *, step: str) -> Kind | None:
    """What a path leads to, or None if nothing is there.

    Raises:
        UsageError: nobody can tell, because of the path itself or of a folder on the way.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise unreadable(path, error, step=step) from error
    return _KINDS.get(stat.S_IFMT(mode), Kind.DEVICE)


def absolute(path: Path, *, step: str) -> Path:
    """The same path from the root on; links on the way stay as the user gave them.

    Raises:
        UsageError: it starts from the working folder, and that has been removed.
    """
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 - Path's leaves .. in it
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: the folder that it starts from has been removed",
            step=step,
            hint="change to a folder that is there, or name it by a path that begins with /",
        ) from error


def require(path: Path, wanted: Kind, *, step: str) -> None:
    """Make sure that a path leads to a file, or to a folder.

    Raises:
        UsageError: it leads to something else, to nothing, or nobody can tell.
    """
    found = kind_of(path, step=step)
    if found is None:
        raise missing(path, step=step)
    if found is not wanted:
        raise _misfit(path, found, wanted, step)


def missing(path: Path, *, step: str) -> UsageError:
    """The error for a path that leads to nothing."""
    seen = "is a link that leads nowhere" if path.is_symlink() else "does not exist"
    return UsageError(f"{path} {seen}", step=step, hint=_CHECK)


@contextmanager
def opened(path: Path, *, step: str) -> Iterator[BinaryIO]:
    """A file, open for reading; what goes wrong with it in the block is said as when it is opened.

    Raises:
        UsageError: it is no file, or cannot be read.
    """
    require(path, Kind.FILE, step=step)
    try:
        # It may have become a pipe meanwhile.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(fd, "rb") as file:
            found = _KINDS.get(stat.S_IFMT(os.fstat(fd).st_mode), Kind.DEVICE)
            if found is not Kind.FILE:
                raise _misfit(path, found, Kind.FILE, step)
            yield file
    except OSError as error:
        raise unreadable(path, error, step=step) from error


def read(path: Path, cap_bytes: int, *, step: str) -> bytes:
    """A file's content, but no more than `cap_bytes` of it and one byte.

    Raises:
        UsageError: as `opened`.
    """
    with opened(path, step=step) as file:
        return file.read(cap_bytes + 1)


def unreadable(path: Path, error: OSError | ValueError, *, step: str) -> UsageError:
    """The error for a path of which the system says that it cannot be read, or that it is none."""
    if isinstance(error, OSError):
        hint = _READ_HINTS.get(error.errno or 0, _CHECK)
        return UsageError(f"{path} cannot be read: {_said(error)}", step=step, hint=hint)
    why = "it holds a NUL" if "\0" in str(path) else "it cannot be written in this locale"
    return UsageError(f"{path} cannot be a path: {why}", step=step, hint=_CHECK)


@contextmanager
def writing(path: Path, *, step: str) -> Iterator[None]:
    """Within it, errors of the system become errors that name `path`, which the user wants to be written.

    Raises:
        UsageError: another path would do.
        StoreError: the disk failed.
    """
    try:
        yield
    except OSError as error:
        misnamed = error.errno in _MISNAMED
        kind: type[KheadersError] = UsageError if misnamed else StoreError
        raise kind(
            f"{path} cannot be written: {_said(error)}",
            step=step,
            hint=_WRITE_HINTS.get(error.errno or 0, _CHECK if misnamed else "look at that disk"),
        ) from error


def draft_of(path: Path) -> Path:
    """A new name beside `path`, of a length that every file system takes."""
    return path.with_name(f".kheaders-adb-{os.urandom(6).hex()}.tmp")


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Give a new name as `draft_of` does; the file that has it at the end of the block is removed."""
    draft = draft_of(path)
    try:
        yield draft
    finally:
        with suppress(OSError):  # that of the block is the one to tell
            draft.unlink()


def _misfit(path: Path, found: Kind, wanted: Kind, step: str) -> UsageError:
    hint = "name a folder" if wanted is Kind.FOLDER else "put its content into a file and name that"
    if (found, wanted) == (Kind.FOLDER, Kind.FILE):
        hint = "name a file in it"
    return UsageError(f"{path} is {found.value}, not {wanted.value}", step=step, hint=hint)


def _said(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno is not None else str(error)
