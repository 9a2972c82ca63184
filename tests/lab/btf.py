"""As much of BTF as it takes to look a structure up: Documentation/bpf/btf.rst in the kernel."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")
_STRUCT, _UNION = 4, 5
# Bytes after a type, by kind: fixed, and for each of its vlen parts.
_EXTRA = {
    1: (4, 0), 3: (12, 0), _STRUCT: (0, 12), _UNION: (0, 12), 6: (0, 8),
    13: (0, 8), 14: (4, 0), 15: (0, 12), 17: (4, 0), 19: (0, 12),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure: its size, and its members as name → (type's number, offset), in bytes."""

    size_bytes: int
    members: tuple[tuple[str, int, int], ...]


class Btf:
    """The types of a kernel."""

    def __init__(self, data: bytes) -> None:
        magic, _, _, header, types, types_size, strings, strings_size = _HEADER.unpack_from(data)
        assert magic == _MAGIC
        self._by_name: dict[str, int] = {}
        self._types = data[header + types : header + types + types_size]
        self._strings = data[header + strings : header + strings + strings_size]

    def size(self, name: str) -> int:
        """The size of a structure, in bytes."""
        return self._by_number[self._number(name)].size_bytes

    def offset(self, name: str, member: str) -> int:
        """Where a member is, in bytes; members of unnamed structures inside count."""
        found = self._offset(self._number(name), member)
        assert found is not None, f"struct {name} has no member {member}"
        return found

    def _number(self, name: str) -> int:
        assert self._by_number, "no structure at all"
        return self._by_name[name]

    def _offset(self, number: int, wanted: str) -> int | None:
        for name, kind, offset in self._by_number[number].members:
            if name == wanted:
                return offset
            if not name and kind in self._by_number:
                inner = self._offset(kind, wanted)
                if inner is not None:
                    return offset + inner
        return None

    @cached_property
    def _by_number(self) -> dict[int, Structure]:
        found: dict[int, Structure] = {}
        at, number = 0, 1
        while at < len(self._types):
            name, info, size = _TYPE.unpack_from(self._types, at)
            at += _TYPE.size
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            if kind in (_STRUCT, _UNION):
                mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
                members = tuple(
                    (self._string(part[0]), part[1], (part[2] & mask) // 8)
                    for part in (
                        _MEMBER.unpack_from(self._types, at + i * _MEMBER.size)
                        for i in range(count)
                    )
                )
                found[number] = Structure(size, members)
                if kind == _STRUCT:
                    self._by_name.setdefault(self._string(name), number)
            fixed, each = _EXTRA.get(kind, (0, 0))
            at += fixed + each * count
            number += 1
        return found

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()
