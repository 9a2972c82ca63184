"""Two staged kernels compared: their configurations, their headers, and how these lay out structures.

Both trees must be in use (`Store.in_use`) meanwhile.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.kernel.autoconf import AUTOCONF, parse_autoconf
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.survey import Mention, Surveyor
from kheaders_adb.kernel.symbols import SymbolChange, compare_symbols, ranked
from kheaders_adb.model import Level
from kheaders_adb.store.faults import wrapped
from kheaders_adb.store.manifest import Entry, EntryKind, TreeInfo
from kheaders_adb.untrusted.text import printable
from kheaders_adb.untrusted.unified import LineCounts, count_lines, unified

if TYPE_CHECKING:
    from kheaders_adb.kernel.layouts import LayoutDifferences
    from kheaders_adb.store import KernelRecord, Store

_STEP = "comparing headers"
_NAMED_PATHS = 5


class ConfigSource(enum.StrEnum):
    """Of what configurations were compared: of the running kernels, or of the headers."""

    KEPT = "kept"
    HEADERS = "autoconf.h"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two kernels.

    Attributes:
        record: its record in the store.
        info: what its headers say of it.
        entries: what its tree holds, by path, without folders.
    """

    record: KernelRecord
    info: TreeInfo
    entries: Mapping[str, Entry]

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.record.identity.release} ({self.record.key[:12]})"


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """The paths of the headers that only the second or the first kernel has, or that differ; sorted."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted((*self.added, *self.removed, *self.changed)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two staged kernels.

    Attributes:
        before, after: the two.
        source: which configurations were compared; None if one of the two is not known.
        symbols: the symbols that differ, those first that headers test.
        headers: the headers that differ.
        notes: what a reader must know of it.
    """

    before: Side
    after: Side
    source: ConfigSource | None
    symbols: tuple[SymbolChange, ...]
    headers: HeaderChanges
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LayoutComparison:
    """In what clang's views of two trees differ.

    Attributes:
        differences: that.
        headers: how many were included.
        left_out: those that were not, since they do not compile in both.
        cautions: why the views may be wrong.
    """

    differences: LayoutDifferences
    headers: int
    left_out: tuple[str, ...]
    cautions: tuple[str, ...]


def compare_staged(store: Store, before: KernelRecord, after: KernelRecord) -> Comparison:
    """Compare two staged kernels; no header is read unless their configurations differ.

    Raises:
        StoreError: a tree or its manifest is gone or damaged, or the disk failed.
        ArchiveError: a configuration is not as Kconfig writes it.
    """
    sides = _side(store, before), _side(store, after)
    source, symbols = _compare_configs(store, *sides)
    if symbols:
        symbols = ranked(symbols, _survey(store, sides, [one.symbol for one in symbols]))
    return Comparison(
        *sides, source, symbols, _compare_headers(*sides), tuple(_notes(*sides, source))
    )


def compare_texts(store: Store, comparison: Comparison, path: str) -> list[str]:
    """Return a unified diff of one header, line by line; empty if it does not differ.

    Args:
        store: the store.
        comparison: of the two kernels.
        path: the header's, from the top of the tree.

    Raises:
        UsageError: neither of the two has it.
        StoreError: it is gone or damaged, or the disk failed.
    """
    sides = comparison.before, comparison.after
    if not any(path in side.entries for side in sides):
        raise _unknown_path(path, sorted(sides[0].entries.keys() | sides[1].entries.keys()))
    before, after = (_text(store, side, path) for side in sides)
    return unified(before, after, names=(f"a/{path}", f"b/{path}"))


def count_changes(store: Store, comparison: Comparison) -> dict[str, LineCounts]:
    """Return how many lines differ in each header that does.

    Raises:
        StoreError: one is gone or damaged, or the disk failed.
    """
    sides = comparison.before, comparison.after
    return {
        path: count_lines(*(_text(store, side, path) for side in sides))
        for path in comparison.headers.all
    }


def compare_trees(store: Store, comparison: Comparison, clang: Path) -> LayoutComparison:
    """Compare how clang lays out the structures of both trees.

    Args:
        store: the store.
        comparison: of the two kernels.
        clang: the compiler.

    Raises:
        CompileError: as `ebpf.structures.view_records`, or an architecture that cannot be compiled for.
        UsageError: a tree is none of kernel headers.
    """
    from kheaders_adb.ebpf.headers import read_tree
    from kheaders_adb.ebpf.structures import view_records
    from kheaders_adb.kernel.layouts import compare_layouts

    trees = [
        read_tree(store.tree_path(side.record.tree))
        for side in (comparison.before, comparison.after)
    ]
    views = view_records(trees, clang)
    cautions = dict.fromkeys(caution for tree in trees for caution in tree.cautions)
    return LayoutComparison(
        compare_layouts(*views.layouts), len(views.headers), views.left_out, tuple(cautions)
    )


def _side(store: Store, record: KernelRecord) -> Side:
    entries = store.tree_entries(record.tree)
    info = store.tree_info(record.tree)
    if info is None:
        raise _damaged(store.tree_path(record.tree), record)
    files = {entry.path: entry for entry in entries if entry.kind is not EntryKind.DIRECTORY}
    return Side(record, info, files)


def _compare_configs(
    store: Store, before: Side, after: Side
) -> tuple[ConfigSource | None, tuple[SymbolChange, ...]]:
    kept = [store.read_config(side.record.identity.config_sha256) for side in (before, after)]
    if kept[0] is not None and kept[1] is not None:
        configs = [parse_config(text) for text in kept if text is not None]
        return ConfigSource.KEPT, compare_symbols(*configs)
    # Of repaired trees not what the archive says, but what is compiled against.
    texts = [_text(store, side, AUTOCONF) for side in (before, after)]
    if texts[0] is None or texts[1] is None:
        return None, ()
    return ConfigSource.HEADERS, compare_symbols(
        *(parse_autoconf(text) for text in texts if text is not None)
    )


def _compare_headers(before: Side, after: Side) -> HeaderChanges:
    old, new = before.entries, after.entries
    return HeaderChanges(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(
            path
            for path in sorted(old.keys() & new.keys())
            # A regenerated file is one like any other, by its digest.
            if (old[path].sha256, old[path].target) != (new[path].sha256, new[path].target)
        ),
    )


def _survey(store: Store, sides: Iterable[Side], symbols: list[str]) -> dict[str, Mention]:
    """By symbol, the header of either tree that says best what it is good for."""
    surveyor = Surveyor(symbols)
    read: set[tuple[str, str | None]] = set()
    for side in sides:
        for path, entry in side.entries.items():
            one = (path, entry.sha256)
            on_disk = entry.kind in (EntryKind.FILE, EntryKind.REGENERATED)
            if on_disk and path.endswith(".h") and one not in read:
                read.add(one)
                file = store.tree_path(side.record.tree) / path
                with wrapped(_STEP, file):
                    surveyor.add(path, file.read_bytes())
    return dict(surveyor.survey().mentions)


def _notes(before: Side, after: Side, source: ConfigSource | None) -> Iterator[str]:
    if before.record.key == after.record.key:
        yield f"both are the same kernel, {before.name}"
    elif before.record.tree == after.record.tree:
        yield "the headers of both are the same, byte for byte"
    here, there = before.info.facts.srcarch, after.info.facts.srcarch
    if here != there:
        yield (
            f"they are of different architectures, {here or 'unknown'} and {there or 'unknown'}: much of "
            "what differs says no more than that"
        )
    if source is None:
        yield "no configurations were compared: one of the two is not known"
    for side in {side.record.key: side for side in (before, after)}.values():
        if side.info.regenerated:
            yield (
                f"{side.name} is repaired: {', '.join(side.info.regenerated)} is made from its kernel's "
                "configuration, all else is the archive's"
            )
        if side.record.verdict.level is Level.UNMATCHED:
            yield (
                f"{side.name} is unmatched: its headers were never compared with a kernel, which may differ "
                "from them"
            )
        if side.record.verdict.level is Level.MISMATCH:
            yield (
                f"{side.name} is a mismatch: its headers do not belong to its kernel, and what differs here "
                "need not differ there"
            )


def _text(store: Store, side: Side, path: str) -> bytes | None:
    """What a tree has at a path, checked by its manifest: a file's content, or where a link leads."""
    entry = side.entries.get(path)
    if entry is None:
        return None
    if entry.target is not None:
        return f"link to {entry.target}\n".encode("utf-8", "surrogateescape")
    file = store.tree_path(side.record.tree) / path
    if entry.kind is EntryKind.COLLIDED:
        raise StoreError(
            f"{file} is not there: this file system holds another under that name",
            step=_STEP,
            hint=f"`kheaders-adb export {side.record.key[:12]} -o headers.tar.xz` gives the archive, which "
            "has both",
        )
    with wrapped(_STEP, file):
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise _damaged(file, side.record) from None
    if sha256(content).hexdigest() != entry.sha256:
        raise _damaged(file, side.record)
    return content


def _damaged(path: Path, record: KernelRecord) -> StoreError:
    return StoreError(
        f"{path} is not as it was staged",
        step=_STEP,
        hint=f"`kheaders-adb verify --repair {record.key[:12]}` unpacks it again from its archive",
    )


def _unknown_path(path: str, known: list[str]) -> UsageError:
    name = path.rpartition("/")[2]
    like = [one for one in known if one.rpartition("/")[2] == name][:_NAMED_PATHS]
    return UsageError(
        f"neither kernel has a header {printable(path)}",
        step=_STEP,
        hint=(f"there is {', '.join(map(printable, like))}" if like else "")
        or "give its path from the top of the tree, as in include/linux/sched.h",
    )
