"""What a tree holds: every file's digest, and what its archive says of the kernel.

The file is text.  Its first line is a JSON object (:class:`TreeInfo`), then follows one line for each
entry, its fields separated by tabs, and the last line holds the sha256 of all before it::

    {"archive": {…, "omitted": […]}, "facts": …, "collisions": […]}
    d	include/linux
    f	<sha256>	<size in bytes>	include/linux/sched.h
    r	<sha256>	<size in bytes>	include/generated/autoconf.h
    c	<sha256>	<size in bytes>	include/uapi/linux/netfilter/xt_MARK.h
    l	../../uapi/linux/input-event-codes.h	include/dt-bindings/input/linux-event-codes.h
    total	<files>	<size of their content in bytes>
    end	<sha256>

``r`` is a regenerated file, which is not the archive's.  ``c`` is one that this file system could not hold
beside another whose name differs only in case.  No name holds a control character.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from kheaders_adb.errors import StoreError
from kheaders_adb.model import Archive, ArchiveFacts
from kheaders_adb.store.paths import SHA256
from kheaders_adb.store.records import RULES, archive_from_json, archive_to_json
from kheaders_adb.store.strict_json import Fields

_STEP = "reading a manifest"
_CODEC = ("utf-8", "surrogateescape")
#: Enough for the last two lines.
TAIL_BYTES = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class EntryKind(enum.Enum):
    """What stands at a path of a tree."""

    DIRECTORY = "d"
    FILE = "f"
    REGENERATED = "r"
    COLLIDED = "c"
    SYMLINK = "l"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree.

    Attributes:
        path: relative and ``/``-separated.
        kind: what stands there.
        size_bytes: the content's length, for the three kinds of file.
        sha256: the content's digest in hex, for the three kinds of file.
        target: a symlink's target.
    """

    path: str
    kind: EntryKind
    size_bytes: int = 0
    sha256: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class TreeInfo:
    """What is known of a tree without reading its archive again.

    Attributes:
        archive: the archive's digest, size and member count, and what of it was left out.
        facts: what the archive says of its kernel.
        collisions: (kept, lost) pairs of paths that this file system cannot hold together.
        regenerated: the paths whose content is not the archive's.
        unshared: why no content is shared with other trees ("Operation not permitted"), or None if it is.
        rules: the version of the rules by which the facts were read; 1 in manifests that do not say it.
    """

    archive: Archive
    facts: ArchiveFacts
    collisions: tuple[tuple[str, str], ...] = ()
    regenerated: tuple[str, ...] = ()
    unshared: str | None = None
    rules: int = RULES


@dataclass(frozen=True, slots=True)
class TreeSize:
    """How many files a tree has, and the size of their content (not of the blocks that they take)."""

    files: int
    content_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A tree's manifest."""

    info: TreeInfo
    entries: tuple[Entry, ...]


def file_line(kind: EntryKind, digest: str, size_bytes: int, path: str) -> str:
    """The line of one file."""
    return f"{kind.value}\t{digest}\t{size_bytes}\t{path}\n"


def directory_line(path: str) -> str:
    """The line of one directory."""
    return f"d\t{path}\n"


def symlink_line(target: str, path: str) -> str:
    """The line of one symlink."""
    return f"l\t{target}\t{path}\n"


def encode(info: TreeInfo, lines: list[str], size: TreeSize) -> bytes:
    """A manifest's content.

    Args:
        info: its first line.
        lines: the lines of its entries, from the functions above.
        size: what the entries amount to, for readers in a hurry.
    """
    facts = info.facts
    head = json.dumps(
        {
            "archive": archive_to_json(info.archive),
            "facts": {
                "release": facts.release,
                "srcarch": facts.srcarch,
                "config": None if facts.config is None else dict(facts.config),
                "compile_by": facts.compile_by,
                "compile_host": facts.compile_host,
                "compiler": facts.compiler,
                "uts_machine": facts.uts_machine,
                "uts_version": facts.uts_version,
                "version_code": facts.version_code,
                "config_heading": facts.config_heading,
            },
            "collisions": [list(pair) for pair in info.collisions],
            "regenerated": list(info.regenerated),
            "unshared": info.unshared,
            "rules": info.rules,
        },
        separators=(",", ":"),
    )
    total = f"total\t{size.files}\t{size.content_bytes}"
    body = f"{head}\n{''.join(lines)}{total}\n".encode(*_CODEC)
    return body + f"end\t{sha256(body).hexdigest()}\n".encode("ascii")


def decode(text: bytes) -> Manifest:
    """A manifest from its content.

    Raises:
        StoreError: the content is damaged, cut short or not a manifest.
    """
    body = checked_body(text)
    head, _, rest = body.partition(b"\n")
    info = _info_from_json(head)
    return Manifest(info, tuple(_entry(line) for line in rest.split(b"\n")[:-2]))


def decode_info(text: bytes) -> TreeInfo:
    """Only the first line of a manifest, the whole of it having been checked for damage.

    Raises:
        StoreError: the content is damaged, cut short or not a manifest.
    """
    return _info_from_json(checked_body(text).partition(b"\n")[0])


def checked_body(text: bytes) -> bytes:
    """A manifest without its last line, which is checked.

    Raises:
        StoreError: the content is damaged or cut short.
    """
    start = text.rfind(b"\nend\t") + 1
    body = text[:start]
    if not start or text[start:] != f"end\t{sha256(body).hexdigest()}\n".encode("ascii"):
        raise StoreError("the manifest is damaged or cut short", step=_STEP)
    return body


def decode_size(tail: bytes) -> TreeSize:
    """How much a tree holds, from the last bytes (:data:`TAIL_BYTES`) of its manifest.

    Raises:
        StoreError: they are not the end of a manifest.
    """
    found = re.search(rb"\ntotal\t([0-9]{1,15})\t([0-9]{1,15})\nend\t[0-9a-f]{64}\n\Z", tail)
    if found is None:
        raise StoreError("the manifest is damaged or cut short", step=_STEP)
    return TreeSize(int(found[1]), int(found[2]))


def file_digests(text: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The digest (hex), the size in bytes and the path of each file of the tree, quickly.

    Raises:
        StoreError: the content is damaged or cut short.
    """
    for line in checked_body(text).split(b"\n"):
        if line[:2] in (b"f\t", b"r\t"):
            try:
                _, digest, size_bytes, path = line.split(b"\t")
                yield digest, int(size_bytes), path
            except ValueError as error:
                raise StoreError("an entry has the wrong fields", step=_STEP) from error


def _entry(line: bytes) -> Entry:
    fields = line.decode(*_CODEC).split("\t")
    try:
        kind = EntryKind(fields[0])
    except ValueError as error:
        raise StoreError(f"unknown entry {fields[0][:20]!r}", step=_STEP) from error
    if not is_safe_path(fields[-1]):
        raise StoreError(f"unsafe path {fields[-1][:80]!r}", step=_STEP)
    match fields:
        case [_, path] if kind is EntryKind.DIRECTORY:
            return Entry(path, kind)
        case [_, target, path] if kind is EntryKind.SYMLINK:
            if not is_safe_target(target, path):  # repairing would make it so
                raise StoreError(f"unsafe target {target[:80]!r}", step=_STEP)
            return Entry(path, kind, target=target)
        case [_, digest, size, path] if kind not in (EntryKind.DIRECTORY, EntryKind.SYMLINK):
            if SHA256.fullmatch(digest) and re.fullmatch(r"[0-9]{1,15}", size):
                return Entry(path, kind, size_bytes=int(size), sha256=digest)
    raise StoreError("an entry has the wrong fields", step=_STEP)


def is_safe_path(path: str) -> bool:
    """Whether a path is relative and normalised, holds no control character and can be a file's name."""
    return (
        is_plain(path)
        and not path.startswith("/")
        and all(part not in ("", ".", "..") for part in path.split("/"))
    )


def is_safe_target(target: str, link: str) -> bool:
    """Whether a symlink's target is relative, in plain characters, and by its letters within the tree."""
    depth = link.count("/")
    for part in target.split("/"):
        depth += 0 if part == "." else -1 if part == ".." else 1
        if not part or depth < 0:
            return False
    return is_plain(target)


def is_plain(text: str) -> bool:
    """Whether a name or a target holds no control character and can be written to a file system."""
    try:
        text.encode(*_CODEC)
    except UnicodeEncodeError:
        return False
    return _CONTROL.search(text) is None


def _info_from_json(head: bytes) -> TreeInfo:
    top = Fields.parse(head)
    facts = top.fields("facts")
    return TreeInfo(
        archive=archive_from_json(top.fields("archive")),
        facts=ArchiveFacts(
            release=facts.optional("release"),
            srcarch=facts.optional("srcarch"),
            config=facts.strings("config"),
            compile_by=facts.optional("compile_by"),
            compile_host=facts.optional("compile_host"),
            compiler=facts.optional("compiler"),
            uts_machine=facts.optional("uts_machine"),
            uts_version=facts.optional("uts_version"),
            version_code=facts.optional_integer("version_code"),
            config_heading=facts.optional_or_absent("config_heading"),
        ),
        collisions=top.each("collisions", _pair),
        regenerated=top.each("regenerated", _path),
        unshared=top.optional("unshared"),
        rules=top.integer("rules") if top.has("rules") else 1,
    )


def _pair(item: object) -> tuple[str, str]:
    match item:
        case [str(kept), str(lost)]:
            return kept, lost
    raise StoreError("a collision is not two paths", step=_STEP)


def _path(item: object) -> str:
    if not isinstance(item, str):
        raise StoreError("a path is not a string", step=_STEP)
    return item
