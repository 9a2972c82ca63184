"""What each tree takes on the disk, remembered: a tree has thousands of files, and a store a hundred trees.

A tree does not change once it is published, so that its inodes need to be looked at once.  What is remembered
names the inodes, not only their size, because trees share them.  Nothing depends on it: what is missing,
damaged or of another tree is counted anew.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

from kheaders_adb.errors import StoreError
from kheaders_adb.store import paths, scratch
from kheaders_adb.store.store import Store
from kheaders_adb.store.upkeep.blocks import Blocks

_FORM = "1"


def blocks_of(store: Store, tree: str, *, remember: bool = True) -> Blocks:
    """What a tree takes; nothing, if it is not there.

    Args:
        store: the store.
        tree: the tree's name.
        remember: write down what had to be counted, where that can be done without waiting.

    Raises:
        StoreError: the disk failed.
    """
    stamp = _stamp(store, tree)
    path = size_path(store, tree)
    with suppress(StoreError):
        known = _decoded(store.read_if_there(path) or b"", stamp)
        if known is not None:
            return known
    found = Blocks.at(store.tree_path(tree))
    if remember and found.inodes:
        with suppress(StoreError, OSError), store.within(lambda: 0.0).guarded(exclusive=False):
            # Within the lock: a tree that gc takes now would leave this behind.
            if _stamp(store, tree) == stamp:
                path.parent.mkdir(exist_ok=True)
                with scratch.draft(store.root, _encoded(found, stamp), synced=False) as draft:
                    draft.rename(path)
    return found


def forget(store: Store, tree: str) -> None:
    """Have a tree counted anew: something in it was replaced."""
    with suppress(OSError, StoreError):
        size_path(store, tree).unlink()


def size_path(store: Store, tree: str) -> Path:
    """Where it is written down what a tree takes, if it is."""
    return store.root / paths.SIZES / paths.require_tree(tree)


def _stamp(store: Store, tree: str) -> str:
    """What tells this tree on this disk from a copy of it, or from one that was staged again."""
    words = [_FORM, sys.byteorder]
    for path in (store.tree_path(tree), store.manifest_path(tree)):
        try:
            look = path.lstat()
        except OSError:
            words.append("none")
        else:
            # A folder's time is that of its last use.
            words.append(f"{look.st_ino:d}.{0 if S_ISDIR(look.st_mode) else look.st_mtime_ns:d}")
    return " ".join(words)


def _encoded(blocks: Blocks, stamp: str) -> bytes:
    numbers = [array(_code(each), each) for each in (blocks.inodes, blocks.counts)]
    content = b"".join(each.tobytes() for each in numbers)
    codes = "".join(each.typecode for each in numbers)
    head = f"{stamp} {codes} {len(blocks.inodes)} {zlib.crc32(content)}\n"
    return head.encode("ascii") + content


def _code(numbers: array[int]) -> str:
    """Most inodes have small numbers; a remembered size is to be much smaller than what a tree takes."""
    return "I" if max(numbers, default=0) < 1 << 32 else "Q"


def _decoded(text: bytes, stamp: str) -> Blocks | None:
    head, _, content = text.partition(b"\n")
    begins = stamp.encode("ascii") + b" "
    if not head.startswith(begins):
        return None
    with suppress(ValueError):
        codes, number, checksum = head[len(begins) :].decode("ascii").split()
        inodes: array[int] = array(codes[:1], ())
        counts: array[int] = array(codes[1:], ())
        at = int(number) * inodes.itemsize
        if zlib.crc32(content) == int(checksum):
            inodes.frombytes(content[:at])
            counts.frombytes(content[at:])
            return Blocks(inodes, counts) if len(inodes) == len(counts) else None
    return None
