"""One run of pytest in several processes (xdist): what one worker has found out, the others are told.

So a device is read, and what is changed on it is changed, once a run, and an error is explained once.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Shared:
    """What the workers of a run know together, in a folder that its controller has made for them.

    Args:
        folder: that folder, which nobody else may enter; None where there is one process.  A worker that
            does not see it, being on another host, or that finds another one in its place, is by itself.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder)

    def once(self, name: str, find: Callable[[], T]) -> T:
        """What `find` gives in the one process that calls it; the others wait for it.

        Where that process dies meanwhile, or what it wrote is lost or torn, the next one calls it.
        """
        path = self._path(name)
        if path is None:
            return find()
        with _alone(path.with_suffix(".lock")):
            # Whatever pickle says of a torn file, it is no answer.
            with suppress(Exception):
                found: T = pickle.loads(path.read_bytes())  # noqa: S301 - written below
                return found
            found = find()
            draft = path.with_suffix(".draft")
            content = pickle.dumps(found)
            with suppress(OSError):
                draft.write_bytes(content)
                draft.rename(path)
            return found

    def is_first(self, name: str) -> bool:
        """Whether nobody has asked this before."""
        path = self._path(name)
        if path is None:
            return True
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        except OSError:
            return True
        return True

    def _path(self, name: str) -> Path | None:
        """The file for a question; None unless the folder is surely ours, since it is unpickled."""
        if self._folder is None or not _is_private(self._folder):
            return None
        # A device chooses its serial.
        return self._folder / sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _is_private(folder: Path) -> bool:
    """Whether it is as mkdtemp makes it: a folder of this user, that nobody else may enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and stat.S_IMODE(found.st_mode) == stat.S_IRWXU
        and found.st_uid == os.geteuid()
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits for as long as the other one works; the operating system lets go where it dies.

    Where there can be no lock, as in a folder that was swept, nobody waits.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
