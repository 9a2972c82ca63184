"""One run of pytest in several processes (xdist): what one worker has found out, the others are told.

So a device is read, and what is changed on it is changed, once a run, and an error is explained once.
"""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Shared:
    """What the workers of a run know together, in a folder that its controller has made for them.

    Args:
        folder: that folder, which nobody else may write to; None where there is one process.  A worker on
            another host does not see it, and is by itself.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = Path(folder) if folder is not None and Path(folder).is_dir() else None

    def once(self, name: str, find: Callable[[], T]) -> T:
        """What `find` gives in the one process that calls it; the others wait for it.

        Where that process dies meanwhile, the next one calls it.
        """
        if self._folder is None:
            return find()
        path = self._path(name)
        with _alone(path.with_suffix(".lock")):
            if path.exists():
                found: T = pickle.loads(path.read_bytes())  # noqa: S301 - written below
                return found
            found = find()
            draft = path.with_suffix(".draft")
            draft.write_bytes(pickle.dumps(found))
            draft.rename(path)
            return found

    def is_first(self, name: str) -> bool:
        """Whether nobody has asked this before."""
        if self._folder is None:
            return True
        try:
            self._path(name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        # A device chooses its serial.
        return self._folder / sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits for as long as the other one works; the operating system lets go where it dies."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
