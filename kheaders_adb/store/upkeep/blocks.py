"""What files and folders take on the disk: allocated blocks, each inode once, as ``du`` counts them."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kheaders_adb.store.faults import wrapped

#: The unit of ``st_blocks``, whatever the file system's own blocks are.
BLOCK_BYTES = 512
# Gone meanwhile, or another user's: du says so and goes on as well.
_LEFT_OUT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Blocks:
    """The inodes at and below some path.

    Attributes:
        inodes: their numbers, each once.
        counts: for each of them, how many blocks of `BLOCK_BYTES` it has.
    """

    inodes: array[int]
    counts: array[int]

    @classmethod
    def at(cls, *places: Path) -> Self:
        """Look at everything at and below some paths; what is not there counts nothing.

        Raises:
            StoreError: the disk failed.
        """
        found = {look.st_ino: look.st_blocks for place in places for look in looks(place)}
        return cls(array("Q", found.keys()), array("Q", found.values()))

    @property
    def size_bytes(self) -> int:
        """What they take together."""
        return sum(self.counts) * BLOCK_BYTES


class Freed:
    """What it gives back to delete some names: an inode's blocks, once all of its names are among them.

    A file that another tree, or anybody's hard link, still names is not freed.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._names_left: dict[int, int] = {}

    def add(self, place: Path) -> None:
        """Count what is at and below a path; before it is deleted.

        Raises:
            StoreError: the disk failed.
        """
        for look in looks(place):
            left = 1
            if not stat.S_ISDIR(look.st_mode):
                left = self._names_left.get(look.st_ino, look.st_nlink)
                self._names_left[look.st_ino] = left - 1
            if left == 1:
                self.size_bytes += look.st_blocks * BLOCK_BYTES


def looks(place: Path) -> Iterator[os.stat_result]:
    """A look at a path and at everything below it; links are not followed.

    Raises:
        StoreError: the disk failed.
    """
    with wrapped("looking how much disk is taken", place):
        try:
            top = place.lstat()
        except OSError as error:
            _leave_out(error)
            return
        yield top
        waiting = [os.fspath(place)] if stat.S_ISDIR(top.st_mode) else []
        while waiting:
            try:
                entries = os.scandir(waiting.pop())
            except OSError as error:
                _leave_out(error)
                continue
            with entries:
                for entry in entries:
                    try:
                        look = entry.stat(follow_symlinks=False)
                    except OSError as error:
                        _leave_out(error)
                        continue
                    yield look
                    if stat.S_ISDIR(look.st_mode):
                        waiting.append(entry.path)


def _leave_out(error: OSError) -> None:
    if error.errno not in _LEFT_OUT:
        raise error
