"""How structures lie in memory, and in what two views of the same ones differ.

A view is what clang makes of one tree of headers, or what a kernel says of itself; here it does not matter
which.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: How many members of a structure are named that differ.
_NAMED_MEMBERS = 5


class RecordKind(enum.StrEnum):
    """By what a record is known in C; a typedef of a structure that has no name of its own is one too."""

    STRUCT = "struct"
    UNION = "union"
    TYPEDEF = "typedef"


@dataclass(frozen=True, slots=True, order=True)
class RecordName:
    """The name of a structure or union.  Tags and typedefs are two worlds of names in C."""

    name: str
    kind: RecordKind

    def __str__(self) -> str:
        return self.name if self.kind is RecordKind.TYPEDEF else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """One member of a record, and where it lies in that.

    Attributes:
        name: its name; "a.b" for b in a member a whose type has no name.  Members of an unnamed structure
            within count as the outer one's, as in C.
        offset_bits: from the beginning of the record.
        width_bits: of a bit-field; None for any other.
        type: as it is written in C, without where unnamed types stand; None where that is not known.
    """

    name: str
    offset_bits: int
    width_bits: int | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How one record lies in memory.  Bit-fields without a name, which pad, are not among its members."""

    size_bytes: int
    members: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaceChange:
    """A member that is not the same in two layouts; None where it is not there at all."""

    name: str
    before: Place | None
    after: Place | None

    @property
    def where_bits(self) -> int:
        """Where the difference begins."""
        return min(place.offset_bits for place in (self.before, self.after) if place is not None)


@dataclass(frozen=True, slots=True)
class LayoutChange:
    """A record that is not the same in two views.

    Attributes:
        record: its name.
        before_bytes, after_bytes: its size.
        members: the first members that differ, from the record's beginning: there the reason stands, and what
            follows has only moved.
        members_changed: how many differ in all.
    """

    record: RecordName
    before_bytes: int
    after_bytes: int
    members: tuple[PlaceChange, ...]
    members_changed: int


@dataclass(frozen=True, slots=True)
class LayoutDifferences:
    """In what two views differ, by name.

    Attributes:
        compared: how many records both have.
        added, removed: those that only the second, or the first, has; without typedefs, which a view may or
            may not have come across.
        changed: those that differ.
    """

    compared: int
    added: tuple[RecordName, ...] = ()
    removed: tuple[RecordName, ...] = ()
    changed: tuple[LayoutChange, ...] = ()


def compare_layouts(
    before: Mapping[RecordName, Layout], after: Mapping[RecordName, Layout]
) -> LayoutDifferences:
    """Return in what two views differ."""
    common = sorted(before.keys() & after.keys())
    changes = (compare_layout(name, before[name], after[name]) for name in common)
    return LayoutDifferences(
        compared=len(common),
        added=_tags(after.keys() - before.keys()),
        removed=_tags(before.keys() - after.keys()),
        changed=tuple(change for change in changes if change is not None),
    )


def compare_layout(record: RecordName, before: Layout, after: Layout) -> LayoutChange | None:
    """Return in what two layouts of one record differ; None if in nothing that both views know."""
    if before == after:
        return None
    old = {place.name: place for place in before.members}
    new = {place.name: place for place in after.members}
    changes = [
        PlaceChange(name, old.get(name), new.get(name))
        for name in old | new
        if not _same(old.get(name), new.get(name))
    ]
    if not changes and before.size_bytes == after.size_bytes:
        return None
    # What is new or gone stands before what it has moved from the same place.
    changes.sort(key=lambda one: (one.where_bits, None not in (one.before, one.after), one.name))
    return LayoutChange(
        record,
        before.size_bytes,
        after.size_bytes,
        tuple(changes[:_NAMED_MEMBERS]),
        len(changes),
    )


def _tags(names: Iterable[RecordName]) -> tuple[RecordName, ...]:
    return tuple(sorted(name for name in names if name.kind is not RecordKind.TYPEDEF))


def _same(before: Place | None, after: Place | None) -> bool:
    if before is None or after is None:
        return False
    here = (before.offset_bits, before.width_bits)
    there = (after.offset_bits, after.width_bits)
    return here == there and (
        before.type == after.type or before.type is None or after.type is None
    )
