"""How much disk a store and its kernels take: what ``du`` says of them, found out quickly.

There is one notion of size: allocated blocks, folders included, and what several trees share counted once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kheaders_adb.store import paths
from kheaders_adb.store.faults import wrapped
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.store.upkeep.blocks import BLOCK_BYTES, Blocks
from kheaders_adb.store.upkeep.remembered import blocks_of, size_path


@dataclass(slots=True)
class Usage:
    """What a store takes, and each tree in it.

    Attributes:
        store: the store.
        trees: the inodes of each tree.
        total_bytes: what all of the store takes, whatever it is: what ``du`` says of its folder.
    """

    store: Store
    trees: dict[str, Blocks]
    total_bytes: int
    _users: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, store: Store, *, remember: bool = True) -> Self:
        """The usage of a store, as of now.

        Args:
            store: the store.
            remember: write down what had to be counted, so that it is known the next time.

        Raises:
            StoreError: the disk failed.
        """
        if not store.exists:
            return cls(store, {}, 0)
        top = store.root / paths.TREES
        trees = {
            path.name: blocks_of(store, path.name, remember=remember)
            for path in store.listing(paths.TREES)
            if paths.TREE.fullmatch(path.name)
        }
        # Last, since what is remembered takes some disk, too.
        with wrapped("looking how much disk is taken", store.root):
            strangers = [path for path in top.iterdir() if path.name not in trees]
            rest = [path for path in store.root.iterdir() if path != top]
            folders = store.root.lstat().st_blocks + top.lstat().st_blocks
        counts: dict[int, int] = {}
        for blocks in (*trees.values(), Blocks.at(*rest, *strangers)):
            counts.update(zip(blocks.inodes, blocks.counts, strict=True))
        return cls(store, trees, (sum(counts.values()) + folders) * BLOCK_BYTES)

    def of_kernel(self, record: KernelRecord) -> int:
        """The bytes that are there for one kernel, as `kernel_bytes` has it."""
        return _kernel_bytes(self.store, record, self.trees.get(record.tree))

    def remove(self, tree: str) -> int:
        """Take a tree out of the account, and its archive if no other tree has it.

        Returns:
            The bytes that this frees.
        """
        if not self._users:
            for blocks in self.trees.values():
                self._users.update(blocks.inodes)
        gone = self.trees.pop(tree, None)
        if gone is None:
            return 0
        self._users.subtract(gone.inodes)
        freed = sum(
            count
            for inode, count in zip(gone.inodes, gone.counts, strict=True)
            if not self._users[inode]
        )
        files = _files_of(self.store, tree)
        if not any(_archive_of(other) == _archive_of(tree) for other in self.trees):
            files.append(self.store.archive_path(_archive_of(tree)))
        return freed * BLOCK_BYTES + Blocks.at(*files).size_bytes


def kernel_bytes(store: Store, record: KernelRecord) -> int:
    """The bytes that are there for one kernel, what it shares with others included.

    Raises:
        StoreError: the disk failed.
    """
    return _kernel_bytes(store, record, blocks_of(store, record.tree))


def _kernel_bytes(store: Store, record: KernelRecord, tree: Blocks | None) -> int:
    files = [
        store.kernel_path(record.key),
        store.archive_path(record.archive.sha256),
        *_files_of(store, record.tree),
    ]
    config = record.identity.config_sha256
    if config is not None and paths.SHA256.fullmatch(config):
        files.append(store.config_path(config))
    return (0 if tree is None else tree.size_bytes) + Blocks.at(*files).size_bytes


def _files_of(store: Store, tree: str) -> list[Path]:
    return [store.manifest_path(tree), size_path(store, tree)]


def _archive_of(tree: str) -> str:
    return tree.partition("-")[0]
