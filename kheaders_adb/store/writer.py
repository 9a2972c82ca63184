"""The writer of one tree: checked members in, files with known digests out."""

from __future__ import annotations

import os
import unicodedata
from hashlib import sha256
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.model import Member, MemberKind
from kheaders_adb.store import durable, manifest
from kheaders_adb.store.faults import store_error
from kheaders_adb.store.hardlinks import Lenders
from kheaders_adb.store.manifest import EntryKind, TreeSize

_STEP = "writing the header tree"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Open folders are kept, because members come folder by folder; macOS allows 256 open files by default.
_MAX_OPEN_FOLDERS = 64
_MAX_DEPTH = 200


class TreeWriter:
    """Writes the members of one tree below a new folder, reached only through descriptors of its folders.

    A path is made once and never through a symlink: every parent is a folder that this writer made.

    Attributes:
        collisions: (kept, lost) pairs of paths that this file system cannot hold together.
        regenerated: the paths that were replaced, sorted.
    """

    def __init__(self, root: Path, top: Path, *, case_sensitive: bool) -> None:
        self._top = top
        self._lenders = Lenders(root)
        self._folded: dict[str, str] | None = None if case_sensitive else {}
        self._folders: set[str] = {""}
        self._files: dict[str, tuple[EntryKind, str, int]] = {}
        self._other_lines: list[str] = []
        self.collisions: list[tuple[str, str]] = []
        top.mkdir(mode=0o755)
        self._open: dict[str, int] = {"": os.open(top, _FOLDER)}

    @property
    def regenerated(self) -> list[str]:
        """The paths that were replaced, sorted."""
        return sorted(
            path for path, (kind, _, _) in self._files.items() if kind is EntryKind.REGENERATED
        )

    @property
    def unshared(self) -> str | None:
        """Why no content is shared with other trees, if this file system refuses hard links."""
        return self._lenders.refused

    @property
    def size(self) -> TreeSize:
        """How much was written; files that collided with others are not there and do not count."""
        sizes = [
            size_bytes
            for kind, _, size_bytes in self._files.values()
            if kind is not EntryKind.COLLIDED
        ]
        return TreeSize(len(sizes), sum(sizes))

    def digest_of(self, path: str) -> str:
        """The sha256 of a file that was added."""
        return self._files[path][1]

    def lines(self) -> list[str]:
        """The manifest's lines, in the order in which the members came."""
        return self._other_lines + [
            manifest.file_line(kind, digest, size_bytes, path)
            for path, (kind, digest, size_bytes) in self._files.items()
        ]

    def add(self, member: Member, content: bytes) -> None:
        """Write one member.

        Raises:
            StoreError: the disk failed, the path is there already, or it is not a safe one.
        """
        path = member.path
        folder, _, name = path.rpartition("/")
        if not name.isascii() or not name.isprintable() or name in ("", ".", ".."):
            self._check(path)
        try:
            if member.kind is not MemberKind.DIRECTORY and self._collides(member, content):
                return
            fd = self._open.get(folder)
            if fd is None:
                fd = self._folder_fd(folder)
            match member.kind:
                case MemberKind.FILE:
                    self._write(path, name, fd, content)
                case MemberKind.DIRECTORY:
                    if path not in self._folders:
                        self._make_folder(path, name, fd)
                case MemberKind.SYMLINK:
                    self._make_symlink(path, name, fd, member.target)
        except OSError as error:
            raise self._error(error, path) from error

    def replace(self, path: str, content: bytes) -> None:
        """Write other content in the place of a file that was added.

        Raises:
            StoreError: the disk failed, or there is no such file.
        """
        known = self._files.get(path)
        if known is None or known[0] is EntryKind.COLLIDED:
            raise StoreError(f"the archive has no file {path!r} to replace", step=_STEP)
        folder, _, name = path.rpartition("/")
        try:
            fd = self._folder_fd(folder)
            os.unlink(name, dir_fd=fd)
            self._write(path, name, fd, content, EntryKind.REGENERATED)
        except OSError as error:
            raise self._error(error, path) from error

    def close(self) -> None:
        """Let go of all open folders.  Calling it again does nothing."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        self._lenders.close()

    def _write(
        self, path: str, name: str, fd: int, content: bytes, kind: EntryKind = EntryKind.FILE
    ) -> None:
        digest = sha256(content).hexdigest()
        if not self._lenders.link(digest, len(content), name, fd):
            file = os.open(name, _CREATE, 0o444, dir_fd=fd)
            try:
                if content:
                    durable.write_all(file, content)
            finally:
                os.close(file)
        self._files[path] = (kind, digest, len(content))

    def _make_symlink(self, path: str, name: str, fd: int, target: str | None) -> None:
        if target is None or not manifest.is_safe_target(target, path):
            raise StoreError(f"unsafe target of the symlink {path!r}: {target!r}", step=_STEP)
        os.symlink(target, name, dir_fd=fd)
        self._other_lines.append(manifest.symlink_line(target, path))

    def _make_folder(self, path: str, name: str, fd: int) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=fd)
        except FileExistsError:
            if self._folded is None:
                raise
            # "Foo" and "foo" are one folder here, and hold the members of both.
        self._folders.add(path)
        self._other_lines.append(manifest.directory_line(path))

    def _folder_fd(self, folder: str) -> int:
        """A descriptor of a folder of this tree, which is made with its parents if it is missing."""
        fd = self._open.get(folder)
        if fd is not None:
            return fd
        parent, _, name = folder.rpartition("/")
        above = self._folder_fd(parent)
        if folder not in self._folders:
            self._check(folder)
            self._make_folder(folder, name, above)
        if len(self._open) >= _MAX_OPEN_FOLDERS:
            self._close_all_but(("", parent))
        fd = os.open(name, _FOLDER, dir_fd=above)
        self._open[folder] = fd
        return fd

    def _close_all_but(self, kept: tuple[str, ...]) -> None:
        for folder in [folder for folder in self._open if folder not in kept]:
            os.close(self._open.pop(folder))

    def _collides(self, member: Member, content: bytes) -> bool:
        """On a case-insensitive file system: whether an earlier path stands in the way."""
        if self._folded is None:
            return False
        folded = unicodedata.normalize("NFC", member.path.casefold())
        kept = self._folded.setdefault(folded, member.path)
        if kept == member.path:
            return False
        self.collisions.append((kept, member.path))
        if member.kind is MemberKind.FILE:
            digest = sha256(content).hexdigest()
            self._files[member.path] = (EntryKind.COLLIDED, digest, len(content))
        return True

    @staticmethod
    def _check(path: str) -> None:
        if path.count("/") > _MAX_DEPTH or not manifest.is_safe_path(path):
            raise StoreError(f"unsafe path {path!r}", step=_STEP)

    def _error(self, error: OSError, path: str) -> StoreError:
        if isinstance(error, FileExistsError):
            return StoreError(f"{path!r} comes twice", step=_STEP)
        return store_error(error, step=_STEP, path=self._top / path)
