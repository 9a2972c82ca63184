"""The kernels in the store that somebody names, as today's rules judge them: no device is asked.

``path`` and ``cflags`` stand in makefiles: what judging again needs is imported where a record needs that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kheaders_adb.errors import KheadersError, StoreError, UsageError
from kheaders_adb.store.records import RULES

if TYPE_CHECKING:
    from pathlib import Path

    from kheaders_adb.ebpf.headers import HeaderTree
    from kheaders_adb.model import KernelIdentity, Level
    from kheaders_adb.store import KernelRecord, Store


@dataclass(frozen=True, slots=True)
class Named:
    """A staged kernel, and what has become of its verdict.

    Attributes:
        record: by today's rules, unless `error` says why not.
        was: the level by older rules, if that was another.
        error: why today's rules could not judge it.
    """

    record: KernelRecord
    was: Level | None = None
    error: KheadersError | None = None


def judged_today(store: Store, record: KernelRecord, *, to_use: bool) -> Named:
    """A kernel, judged again from what is stored if older rules have judged it.

    Args:
        store: where it is staged.
        record: as it was read.
        to_use: its tree is going to be used, so that it must belong to the kernel by today's rules.

    Raises:
        MismatchError, ArchiveError: `to_use`, and today's rules say that it does not belong, or refuse it.
        StoreError: `to_use`, and the archive is missing or damaged, or the disk failed.
    """
    if record.rules >= RULES:
        return Named(record)
    from kheaders_adb.pipeline.rejudged import has_turned, judge_again, turned_error

    try:
        now = judge_again(store, record)
    except KheadersError as error:
        if to_use:
            raise
        return Named(record, error=error)
    if to_use and has_turned(record, now):
        raise turned_error(now)
    was = record.verdict.level
    return Named(now, None if now.verdict.level is was else was)


def require_tree(store: Store, record: KernelRecord) -> Path:
    """Where a kernel's tree is.

    Raises:
        StoreError: it is not there: somebody has deleted it by hand, or removed the kernel meanwhile.
    """
    from kheaders_adb.store.faults import is_folder

    tree = store.tree_path(record.tree)
    if not is_folder(tree):
        raise tree_gone(tree, record.identity)
    return tree


def tree_gone(tree: Path, kernel: KernelIdentity) -> StoreError:
    """The error for a kernel whose tree is not there, though it should be."""
    return StoreError(
        f"{tree} is not there",
        step=f"using the headers of {kernel.release}",
        hint=f"`kheaders-adb verify --repair {kernel.key[:12]}` unpacks it again from its archive; "
        "else run `kheaders-adb pull` again, or import the archive again",
    )


def read_staged(tree: Path, kernel: KernelIdentity) -> HeaderTree:
    """What the compiler's flags depend on, out of a staged tree.

    Raises:
        CompileError: it is of an architecture that cannot be compiled for, or holds what makes clang read
            something else in the place of its headers.
        StoreError: it is not there, or not whole any more.
    """
    from kheaders_adb.ebpf.headers import read_tree
    from kheaders_adb.store.faults import is_folder

    try:
        return read_tree(tree)
    except UsageError as error:
        if not is_folder(tree):
            raise tree_gone(tree, kernel) from error
        # It was a whole one when it was staged.
        raise StoreError(
            error.seen,
            step="reading the staged tree",
            hint=f"`kheaders-adb verify --repair {kernel.key[:12]}` puts back what is missing",
        ) from error
