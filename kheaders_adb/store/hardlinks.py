"""Storing the content of a file once: the trees that are there lend their files to a new one.

Rebuilt kernels share nearly all their headers.  The pool that a new tree draws from is the trees already
in the store, addressed by content through their manifests, which hold the digest of every file.  A folder
of its own for the pool would make the first staging of a source half as long again (one more name for each
of 6,000 files) and would need sweeping; the trees need neither.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store import manifest, paths

#: How many trees are asked at most, those that were used last first.
_MAX_LENDERS = 16
#: How many files are not found before the next tree is asked: a kernel of the same source lacks a handful.
_PATIENCE = 8


class Lenders:
    """Finds the content of a new tree's files in the trees that are there.

    A file is lent only while it looks untouched: a regular file of the right size without write
    permission, last modified no later than its tree's manifest was written.  A file that somebody edited
    in place is therefore written anew and not spread further; one that was changed behind the file
    system's back (a failing disk) is found by ``verify``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._trees_fd: int | None = None
        self._waiting: Iterator[str] | None = None
        self._known: dict[bytes, tuple[bytes, int]] = {}
        self._missed = _PATIENCE
        self._usable = True
        self.refused: str | None = None
        """Why nothing is lent, if this file system has no hard links."""

    def link(self, digest: str, size_bytes: int, name: str, folder_fd: int) -> bool:
        """Give ``name`` in ``folder_fd`` the content with this digest, if some tree has it.

        Returns:
            Whether that was done; if not, nothing has changed.

        Raises:
            OSError: the disk failed (a lack of hard links or too many of them is no failure).
        """
        if not self._usable:
            return False
        lender = self._find(digest.encode("ascii"))
        if lender is None:
            return False
        path, written_ns = lender
        assert self._trees_fd is not None
        try:
            found = os.stat(path, dir_fd=self._trees_fd, follow_symlinks=False)
            if (
                found.st_size != size_bytes
                or not stat.S_ISREG(found.st_mode)
                or found.st_mode & 0o222
                or found.st_mtime_ns > written_ns
            ):
                return False
            os.link(
                path, name, src_dir_fd=self._trees_fd, dst_dir_fd=folder_fd, follow_symlinks=False
            )
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EMLINK):
                return (
                    False  # its tree was removed just now, or it has as many names as it may have
                )
            if error.errno in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EACCES):
                self._usable = False
                self.refused = os.strerror(error.errno)
                return False
            raise
        return True

    def close(self) -> None:
        """Let go of the folder of trees."""
        if self._trees_fd is not None:
            os.close(self._trees_fd)
            self._trees_fd = None

    def _find(self, digest: bytes) -> tuple[bytes, int] | None:
        while (found := self._known.get(digest)) is None:
            self._missed += 1
            if self._missed < _PATIENCE or not self._ask_next():
                return None
            self._missed = 0
        return found

    def _ask_next(self) -> bool:
        """Learn what one more tree holds; False when there is none left."""
        if self._waiting is None:
            self._trees_fd = os.open(
                self._root / paths.TREES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
            self._waiting = iter(self._recent())
        for tree in self._waiting:
            path = self._root / paths.MANIFESTS / f"{tree}.manifest"
            try:
                with path.open("rb") as file:
                    written_ns = os.fstat(file.fileno()).st_mtime_ns
                    files = list(manifest.file_digests(file.read()))
            except (FileNotFoundError, StoreError):
                continue  # removed meanwhile, or damaged: then its digests prove nothing
            prefix = tree.encode("ascii") + b"/"
            for digest, _, name in files:
                self._known.setdefault(digest, (prefix + name, written_ns))
            return True
        return False

    def _recent(self) -> list[str]:
        with os.scandir(self._root / paths.TREES) as found:
            used = []
            for entry in found:
                try:
                    used.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
                except FileNotFoundError:
                    continue  # removed meanwhile
        trees = [name for _, name in sorted(used, reverse=True) if paths.TREE.fullmatch(name)]
        return trees[:_MAX_LENDERS]
