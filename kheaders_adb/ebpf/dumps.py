"""What clang says of records: the text of ``-fdump-record-layouts``.

clang 14 to 19 write it alike.  Headers can put text of theirs into it (by ``#line``, where an unnamed
structure stands), so that it is worth no more than they are; a record with a line that is not understood
is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kheaders_adb.kernel.layouts import Layout, Place, RecordKind, RecordName

_BEGIN = b"*** Dumping AST Record Layout"
_HEADS = re.compile(rb"^\*\*\* Dumping AST Record Layout\n +0 \| (struct|union) (\w+)$", re.M)
_HEAD = re.compile(r" +0 \| (?:(struct|union) )?([A-Za-z_]\w*)", re.ASCII).fullmatch
#: "  16 |   struct list_head tasks", "  3:5-6 |   u32 privilege"; ":-" is a bit-field of no bits.
_MEMBER = re.compile(r" *(\d{1,12})(?::(?:(\d{1,7})-(\d{1,7})|-))? \| ( +)(\S.*)").fullmatch
_END = re.compile(r" +\| \[sizeof=(\d{1,12}), .*\]").fullmatch
#: Where an unnamed type stands differs from tree to tree; clang names what it is in only after it is whole.
_UNNAMED = re.compile(
    r"(?:\b(struct|union|enum) )?[\w:]*\((?:anonymous|unnamed)(?: \w+)? at .*?:\d+:\d+\)"
)
_NAME = re.compile(r"\w+").fullmatch
_MOST_MEMBERS = 100_000


def record_names(dump: bytes) -> set[RecordName]:
    """The structures and unions with a name, of which a dump tells."""
    return {
        RecordName(name.decode("ascii"), RecordKind(kind.decode("ascii")))
        for kind, name in _HEADS.findall(dump)
    }


def record_layouts(dump: bytes) -> dict[RecordName, Layout]:
    """How the records with a name lie in memory.

    Those that a dump has twice, in two ways, are left out: of a structure that is local to a function
    another may have the name.
    """
    found: dict[RecordName, Layout] = {}
    ambiguous = set()
    for part in dump.split(_BEGIN)[1:]:
        read = _record(part.decode("utf-8", "replace").split("\n"))
        if read is not None and found.setdefault(*read) != read[1]:
            ambiguous.add(read[0])
    return {name: layout for name, layout in found.items() if name not in ambiguous}


def _record(lines: list[str]) -> tuple[RecordName, Layout] | None:
    head = _HEAD(lines[1]) if len(lines) > 1 else None
    if head is None or len(lines) > _MOST_MEMBERS:
        return None
    end = next((at for at, line in enumerate(lines) if _END(line)), None)
    if end is None:
        return None
    size = _END(lines[end])
    assert size is not None
    try:
        members = tuple(_members(lines[2:end]))
    except ValueError:
        return None
    kind = RecordKind(head[1]) if head[1] else RecordKind.TYPEDEF
    return RecordName(head[2], kind), Layout(int(size[1]), members)


def _members(lines: list[str]) -> Iterator[Place]:
    """The members, from lines that are indented by how deep they stand."""
    # By depth, what the members there are called by: those of unnamed structures by the outer one's.
    prefixes = {1: ""}
    for line in lines:
        read = _MEMBER(line)
        if read is None:
            raise ValueError(line)
        depth = len(read[4]) // 2
        prefix = prefixes.get(depth)
        prefixes = {at: text for at, text in prefixes.items() if at <= depth}
        if prefix is None:
            continue  # of a structure with a name, which is laid out by itself
        spelled, _, name = read[5].rpartition(" ")
        unnamed = _UNNAMED.search(spelled) is not None
        if name and _NAME(name) is None:
            raise ValueError(line)
        path = f"{prefix}{name}"
        if unnamed:
            prefixes[depth + 1] = f"{path}." if name else prefix
        if name:
            first, last = (int(read[2]), int(read[3])) if read[2] else (0, None)
            yield Place(
                path,
                int(read[1]) * 8 + first,
                None if last is None else last - first + 1,
                _UNNAMED.sub(lambda found: f"{found[1] or ''} {{…}}".lstrip(), spelled),
            )
