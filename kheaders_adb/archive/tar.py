"""A bounded, streaming parser for the dialects of tar that GNU tar writes.

The standard library's ``tarfile`` takes several times as long as decompression and accepts far more
than a header archive needs.  This parser knows GNU and ustar headers, GNU long names, and those pax
headers that say nothing new; every other thing is refused by name (see rules.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from zlib import adler32

from kheaders_adb.archive.extensions import LONG_NAME, LONG_TARGET, PAX, Extensions
from kheaders_adb.archive.names import clean_path
from kheaders_adb.archive.shape import Tree
from kheaders_adb.model import Member, MemberKind, OmittedLink
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits
from kheaders_adb.untrusted.rules import Rule

_BLOCK = 512
_ZERO_BLOCK = bytes(_BLOCK)
_GNU_MAGIC = b"ustar  \0"
_USTAR_MAGIC = b"ustar\x0000"
_NUMBER = re.compile(rb" *([0-7]+)[ \0]*").fullmatch
_BLANK = re.compile(rb"[ \0]*").fullmatch
_KINDS = {
    b"0": MemberKind.FILE,
    b"\0": MemberKind.FILE,
    b"5": MemberKind.DIRECTORY,
    b"2": MemberKind.SYMLINK,
}
_EXTENSIONS = (LONG_NAME, LONG_TARGET, PAX)
_REFUSED_KINDS = {
    b"1": (Rule.HARD_LINK, "a hard link"),
    b"3": (Rule.DEVICE, "a character device"),
    b"4": (Rule.DEVICE, "a block device"),
    b"6": (Rule.FIFO, "a FIFO"),
    b"S": (Rule.SPARSE, "a sparse file"),
    b"g": (Rule.PAX_GLOBAL, "a pax header for all members that follow"),
}
_KNOWN_SHAPES = 64


def read_tar(
    blocks: Iterator[bytes],
    limits: Limits = DEFAULT_LIMITS,
    *,
    on_omitted: Callable[[OmittedLink], None] | None = None,
) -> Iterator[tuple[Member, bytes]]:
    """Yield the members of a tar stream, each checked against all before it, with its content.

    Directories come before what lies in them, also where the archive does not list them; the root
    is not yielded.  Symlinks come last, when all that they may lead to is known.

    Args:
        blocks: the stream's bytes, cut anywhere.
        limits: caps on what it may hold.
        on_omitted: called for each symlink that leads to no file of the archive and is not yielded.

    Raises:
        CorruptArchiveError: the stream is damaged or cut short.
        UnsafeArchiveError: a member must not be extracted, or a cap was exceeded.
        Exception: whatever ``blocks`` raises passes through.
    """
    stream = _Stream(blocks)
    take = stream.take
    tree = Tree(limits)
    extensions = Extensions()
    shapes: dict[tuple[bytes, bytes, bytes], tuple[MemberKind, bytes] | None] = {}
    while True:
        header = take(_BLOCK)
        if header == _ZERO_BLOCK:
            break
        _check_sum(header)

        # All but name, size and check sum is the same for nearly all members: examine it once.
        shape = (header[100:124], header[136:148], header[156:])
        if shape in shapes:
            known = shapes[shape]
        else:
            known = _examine(header)
            if len(shapes) == _KNOWN_SHAPES:
                shapes.clear()
            shapes[shape] = known
        size = _size(header)
        if known is None:
            if size > 4 * limits.path_bytes + _BLOCK:
                raise Rule.PATH_TOO_LONG.error(
                    f"an extension header of {size} bytes", member=_short_name(header)
                )
            extensions.add(header[156:157], take(size))
            take(-size % _BLOCK)
            continue

        kind, prefix = known
        name = header[:100].rstrip(b"\0")
        if prefix:
            name = prefix + b"/" + name
        target = header[157:257].rstrip(b"\0") if kind is MemberKind.SYMLINK else b""
        if extensions:
            name, target = extensions.apply(name, target, size)
            extensions = Extensions()
        path = clean_path(name, limits, is_directory=kind is MemberKind.DIRECTORY)
        fresh = not tree.holds(path)
        for directory in tree.admit(path, kind, target):
            yield directory, b""
        if kind is MemberKind.FILE:
            if size > limits.file_bytes:
                raise Rule.FILE_TOO_LARGE.error(f"{size} bytes", member=name)
            content = take(size)
            take(-size % _BLOCK)
            yield Member(path, kind, size), content
            continue
        if size:
            raise Rule.SIZE_WITHOUT_CONTENT.error(f"a {kind.value} of {size} bytes", member=name)
        if fresh and kind is MemberKind.DIRECTORY:
            yield Member(path, kind), b""

    if extensions:
        raise Rule.EXTENSION_WITHOUT_MEMBER.error("the archive ends after an extension header")
    stream.check_end()
    if not len(tree):
        raise Rule.NO_MEMBERS.error("no member besides the root directory")
    for link in tree.finish():
        if isinstance(link, Member):
            yield link, b""
        elif on_omitted is not None:
            on_omitted(link)


class _Stream:
    """Exact reads from blocks of any size."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._buffer = b""
        self._at = 0
        self._taken = 0

    def take(self, count: int) -> bytes:
        """Return exactly the next ``count`` bytes, or refuse the archive as cut short."""
        end = self._at + count
        if end > len(self._buffer):
            self._refill(count)
            end = count
        taken = self._buffer[self._at : end]
        self._at = end
        return taken

    def _refill(self, count: int) -> None:
        parts = [self._buffer[self._at :]]
        missing = count - len(parts[0])
        self._taken += self._at
        while missing > 0:
            block = next(self._blocks, None)
            if block is None:
                held = sum(map(len, parts))
                if held == 0 and count == _BLOCK:
                    raise Rule.TAR_WITHOUT_END.error(
                        f"it ends after {self._taken} bytes without two closing zero blocks"
                    )
                raise Rule.TAR_TRUNCATED.error(
                    f"the tar stream ends after {self._taken + held} bytes, within a member"
                )
            parts.append(block)
            missing -= len(block)
        self._buffer = b"".join(parts)
        self._at = 0

    def check_end(self) -> None:
        """Require a second zero block and nothing but zeros after it.

        GNU tar pads to a multiple of 10,240 bytes; it also accepts a stream without any zero block,
        which is what a lost tail looks like.
        """
        second = self.take(_BLOCK)
        if second != _ZERO_BLOCK:
            raise Rule.TAR_WITHOUT_END.error("one zero block instead of two")
        self._require_zeros(self._buffer[self._at :])
        for block in self._blocks:
            self._require_zeros(block)

    @staticmethod
    def _require_zeros(data: bytes) -> None:
        if data.count(0) != len(data):
            raise Rule.DATA_AFTER_TAR.error("bytes other than zero after the end of the tar stream")


def _check_sum(header: bytes) -> None:
    """Compare a header's check sum: of its bytes, with its own field taken as eight spaces."""
    field = header[148:156]
    stated = _NUMBER(field)
    if stated is None:
        raise Rule.HEADER_CHECKSUM.error("no check sum", member=_short_name(header))
    # Adler-32's lower half is 1 + the sum modulo 65521, which 512 ASCII bytes cannot reach; it is
    # ten times as fast as sum().
    total = (adler32(header) & 0xFFFF) - 1 if header.isascii() else sum(header)
    if total - sum(field) + 8 * 0x20 != int(stated[1], 8):
        raise Rule.HEADER_CHECKSUM.error("wrong check sum", member=_short_name(header))


def _examine(header: bytes) -> tuple[MemberKind, bytes] | None:
    """Check all of a header but name, size and check sum.

    Returns:
        The member's kind and its ustar prefix; None for an extension header.
    """
    name = _short_name(header)
    magic = header[257:265]
    if magic not in (_GNU_MAGIC, _USTAR_MAGIC):
        raise Rule.NOT_TAR.error(f"a header with the magic {magic!r}", member=name)
    mode = _number(header[100:108], name, "mode")
    _number(header[108:116], name, "uid")
    _number(header[116:124], name, "gid")
    _number(header[136:148], name, "time")
    for field in (header[329:337], header[337:345]):
        if _BLANK(field) is None:
            _number(field, name, "device number")
    prefix = b""
    unused = header[345:]
    if magic == _USTAR_MAGIC:
        prefix = header[345:500].rstrip(b"\0")
        unused = header[500:]
    if unused.count(0) != len(unused):
        raise Rule.HEADER_GARBAGE.error("bytes in the unused part of its header", member=name)

    flag = header[156:157]
    if flag in _EXTENSIONS:
        return None
    if flag in _REFUSED_KINDS:
        rule, seen = _REFUSED_KINDS[flag]
        raise rule.error(seen, member=name)
    kind = _KINDS.get(flag)
    if kind is None:
        raise Rule.UNKNOWN_KIND.error(f"a member of type {flag!r}", member=name)
    # Linux hands the set-gid bit of a build directory on to what is made in it, so archives from
    # before modes were normalised may have it on directories.  No mode is ever applied here.
    allowed = 0o2777 if kind is MemberKind.DIRECTORY else 0o777
    if mode & ~allowed:
        raise Rule.SPECIAL_MODE.error(f"the mode {mode:o}", member=name)
    if kind is not MemberKind.SYMLINK and header[157:257] != _ZERO_BLOCK[:100]:
        raise Rule.TARGET_WITHOUT_LINK.error(f"a {kind.value} with a link target", member=name)
    return kind, prefix


def _number(field: bytes, name: bytes, what: str) -> int:
    """Read an octal field, or GNU's base-256 form of a number that does not fit one."""
    digits = _NUMBER(field)
    if digits is not None:
        return int(digits[1], 8)
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    raise Rule.HEADER_NUMBER.error(f"the {what} {field!r}", member=name)


def _size(header: bytes) -> int:
    """Read a size; no allowed one needs any form but plain octal digits."""
    field = header[124:136]
    digits = _NUMBER(field)
    if digits is not None:
        return int(digits[1], 8)
    name = _short_name(header)
    if field[0] == 0x80:
        size = int.from_bytes(field[1:], "big")
        if size >> 33:
            raise Rule.FILE_TOO_LARGE.error(f"{size} bytes", member=name)
    elif field[0] >= 0xC0 or field.lstrip(b" ")[:1] == b"-":
        raise Rule.NEGATIVE_SIZE.error(f"the size {field!r}", member=name)
    raise Rule.HEADER_NUMBER.error(f"the size {field!r}", member=name)


def _short_name(header: bytes) -> bytes:
    return header[:100].rstrip(b"\0")
