"""How much disk the contents of a store take, hard links counted once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from kheaders_adb.errors import StoreError
from kheaders_adb.store import manifest, paths
from kheaders_adb.store.store import Store

#: What a file's content is rounded up to, and what a folder takes, on the usual file systems.
_BLOCK_BYTES = 4096


@dataclass(slots=True)
class Usage:
    """What each tree, archive and configuration takes, reckoned from the manifests.

    Contents that several trees share are taken to be stored once, as they are on a file system with hard
    links; reading the manifests is many times as fast as looking at every file.

    Attributes:
        contents: for each tree, the digests of what is in it.
        content_bytes: for each digest, what the content takes.
        own_bytes: for each tree, what its folders and its manifest take.
        archive_bytes: for each archive (by sha256), what it takes.
        config_bytes: for each configuration that is kept (by sha256), what it takes.
        users: for each digest, how many trees have it.
    """

    contents: dict[str, frozenset[bytes]] = field(default_factory=dict)
    content_bytes: dict[bytes, int] = field(default_factory=dict)
    own_bytes: Counter[str] = field(default_factory=Counter)
    archive_bytes: Counter[str] = field(default_factory=Counter)
    config_bytes: Counter[str] = field(default_factory=Counter)
    users: Counter[bytes] = field(default_factory=Counter)

    @classmethod
    def of(cls, store: Store) -> Self:
        """The usage of a store, as of now; trees whose manifest is damaged count nothing.

        Raises:
            StoreError: the disk failed.
        """
        usage = cls()
        one: dict[bytes, bytes] = {}
        for path in store.listing(paths.ARCHIVES):
            usage.archive_bytes[path.name.removesuffix(".tar.xz")] = _in_blocks(_size_of(path))
        for path in store.listing(paths.CONFIGS):
            usage.config_bytes[path.name.removesuffix(".gz")] = _in_blocks(_size_of(path))
        for path in store.listing(paths.MANIFESTS):
            tree = path.name.removesuffix(".manifest")
            text = store.read_if_there(path)
            if paths.TREE.fullmatch(tree) is None or text is None:
                continue
            try:
                files = list(manifest.file_digests(text))
            except StoreError:
                continue
            for digest, size_bytes, _ in files:
                usage.content_bytes.setdefault(digest, _in_blocks(size_bytes))
            # One object for each digest: a hundred trees of one source then take little memory.
            contents = frozenset(one.setdefault(digest, digest) for digest, _, _ in files)
            usage.contents[tree] = contents
            usage.own_bytes[tree] = (
                _in_blocks(len(text)) + manifest.count_folders(text) * _BLOCK_BYTES
            )
            usage.users.update(contents)
        return usage

    @property
    def total_bytes(self) -> int:
        """What all of it takes."""
        contents = sum(self.content_bytes[digest] for digest, users in self.users.items() if users)
        files = self.archive_bytes.total() + self.config_bytes.total()
        return contents + self.own_bytes.total() + files

    def remove(self, tree: str) -> int:
        """Take a tree out of the account, and its archive if no other tree has it.

        Returns:
            The bytes that this frees.
        """
        contents = self.contents.pop(tree, frozenset())
        freed_bytes = self.own_bytes.pop(tree, 0)
        for digest in contents:
            self.users[digest] -= 1
            if not self.users[digest]:
                freed_bytes += self.content_bytes[digest]
        archive = tree.partition("-")[0]
        if not any(other.partition("-")[0] == archive for other in self.contents):
            freed_bytes += self.archive_bytes.pop(archive, 0)
        return freed_bytes

    def remove_config(self, sha256: str) -> int:
        """Take a configuration out of the account; the bytes that this frees."""
        return self.config_bytes.pop(sha256, 0)

    def copy(self) -> Usage:
        """One of its own to reckon with."""
        return replace(
            self,
            contents=dict(self.contents),
            own_bytes=self.own_bytes.copy(),
            archive_bytes=self.archive_bytes.copy(),
            config_bytes=self.config_bytes.copy(),
            users=self.users.copy(),
        )


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # removed meanwhile


def _in_blocks(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
