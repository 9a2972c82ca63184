"""Extension headers of tar: GNU's long names and the pax headers that say nothing new."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kheaders_adb.untrusted.rules import Rule

LONG_NAME = b"L"
LONG_TARGET = b"K"
PAX = b"x"

# The name field has 100 bytes; some writers keep the last for a NUL.
_FULL_FIELD = 99

# A pax keyword either has to agree with the plain header, or concerns what is not extracted anyway.
_PAX_COMPARED = frozenset({b"path", b"linkpath", b"size"})
_PAX_IGNORED = frozenset(
    {b"atime", b"ctime", b"mtime", b"uid", b"gid", b"uname", b"gname", b"comment"}
)
_PAX_LENGTH = re.compile(rb"([1-9][0-9]{0,5}) ").match


def _continues(long: bytes, short: bytes) -> bool:
    """Whether a long name is what the plain header's field says, or would say if it were longer."""
    return long == short or (len(short) >= _FULL_FIELD and long.startswith(short))


@dataclass(slots=True)
class Extensions:
    """What the extension headers before a member say about it."""

    long_name: bytes | None = None
    long_target: bytes | None = None
    pax: dict[bytes, bytes] | None = None

    def __bool__(self) -> bool:
        return not (self.long_name is None and self.long_target is None and self.pax is None)

    def add(self, flag: bytes, payload: bytes) -> None:
        """Take in one extension header.

        Args:
            flag: its type: LONG_NAME, LONG_TARGET or PAX.
            payload: its content.

        Raises:
            CorruptArchiveError: it is malformed.
            UnsafeArchiveError: another header has said the same thing, or it says what must not be.
        """
        if self.pax is not None or (flag == PAX and self):
            raise Rule.EXTENSION_REPEATED.error("a pax header beside another extension header")
        if flag == PAX:
            self.pax = _parse_pax(payload)
            return
        text = payload.rstrip(b"\0")
        if text == payload:
            raise Rule.EXTENSION_DAMAGED.error("a GNU long name without its final NUL", member=text)
        if flag == LONG_NAME and self.long_name is None:
            self.long_name = text
        elif flag == LONG_TARGET and self.long_target is None:
            self.long_target = text
        else:
            raise Rule.EXTENSION_REPEATED.error("two GNU long names for one member", member=text)

    def apply(self, name: bytes, target: bytes, size: int) -> tuple[bytes, bytes]:
        """Return the member's full name and target, provided that its headers agree on them.

        Raises:
            UnsafeArchiveError: they do not.
        """
        if self.pax is not None:
            if not _continues(self.pax.get(b"path", name), name):
                raise Rule.PAX_DISAGREES.error(
                    f"its plain header says {name!r}", member=self.pax[b"path"]
                )
            if not _continues(self.pax.get(b"linkpath", target), target):
                raise Rule.PAX_DISAGREES.error("its plain header has another target", member=name)
            if self.pax.get(b"size", b"%d" % size) != b"%d" % size:
                raise Rule.PAX_DISAGREES.error(f"its plain header says {size} bytes", member=name)
            return self.pax.get(b"path", name), self.pax.get(b"linkpath", target)
        if self.long_name is not None:
            if not _continues(self.long_name, name):
                raise Rule.LONG_NAME_DISAGREES.error(
                    f"its plain header says {name!r}", member=self.long_name
                )
            name = self.long_name
        if self.long_target is not None:
            if not _continues(self.long_target, target):
                raise Rule.LONG_NAME_DISAGREES.error(
                    "its plain header has another target", member=name
                )
            target = self.long_target
        return name, target


def _parse_pax(payload: bytes) -> dict[bytes, bytes]:
    """Parse the ``LENGTH KEYWORD=VALUE\\n`` records of a pax header (POSIX.1-2001, pax)."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(payload):
        length = _PAX_LENGTH(payload, at)
        if length is None:
            raise Rule.EXTENSION_DAMAGED.error("a pax record without its length")
        end = at + int(length[1])
        record = payload[length.end() : end]
        keyword, equals, value = record[:-1].partition(b"=")
        if end > len(payload) or record[-1:] != b"\n" or not equals:
            raise Rule.EXTENSION_DAMAGED.error("a malformed pax record", member=record)
        if keyword in records:
            raise Rule.EXTENSION_REPEATED.error("a pax keyword given twice", member=keyword)
        if keyword not in _PAX_COMPARED and keyword not in _PAX_IGNORED:
            raise Rule.PAX_KEYWORD.error("a pax keyword that is not understood", member=keyword)
        records[keyword] = value
        at = end
    return records
