"""Paths and link targets of archive members: what may stand in them."""

from __future__ import annotations

import re
import unicodedata

from kheaders_adb.untrusted.limits import Limits
from kheaders_adb.untrusted.rules import Omission, Rule

_COMPONENT_BYTES = 255  # NAME_MAX of every file system that a store is likely to lie on

# Nearly every path of a real archive: no component begins with a dot, so none is `.` or `..`.
_PLAIN = re.compile(rb"(?:\./)?([\w+,=@~%-][\w.+,=@~%-]*(?:/[\w+,=@~%-][\w.+,=@~%-]*)*)").fullmatch

# Controls, formatting characters (bidirectional overrides; zero-width joiners, which HFS+ ignores
# in names), line and paragraph separators.  Surrogates do not survive strict UTF-8 decoding.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp"})


def clean_path(raw: bytes, limits: Limits, *, is_directory: bool) -> str:
    """Return a member's path, relative and normalised; the empty string for the root itself.

    Args:
        raw: the path as the archive has it, with or without a leading ``./``.
        limits: caps on its length and depth.
        is_directory: whether a final ``/`` is allowed.

    Raises:
        UnsafeArchiveError: by one of the ``PATH_…`` rules.
    """
    if is_directory and raw[-1:] == b"/":
        trimmed = raw[:-1]
        if not trimmed:
            raise Rule.PATH_ABSOLUTE.error("an absolute path", member=raw)
    else:
        trimmed = raw
    plain = _PLAIN(trimmed)
    if plain is not None and len(trimmed) <= min(_COMPONENT_BYTES, limits.path_bytes):
        path = plain[1].decode("ascii")
    else:
        path = _checked_path(raw, trimmed, limits)
    if path.count("/") >= limits.depth:
        raise Rule.PATH_TOO_DEEP.error(f"more than {limits.depth} components", member=raw)
    return path


def _checked_path(raw: bytes, trimmed: bytes, limits: Limits) -> str:
    if not trimmed:
        raise Rule.PATH_EMPTY.error("an empty path", member=raw)
    text = _checked_text(trimmed, raw, limits)
    if text.startswith("/"):
        raise Rule.PATH_ABSOLUTE.error("an absolute path", member=raw)
    if text == ".":
        return ""
    components = text.removeprefix("./").split("/")
    for component in components:
        if component == "..":
            raise Rule.PATH_ESCAPES.error("a `..` component", member=raw)
        if component in ("", "."):
            raise Rule.PATH_NOT_NORMAL.error("an empty or `.` component", member=raw)
    return "/".join(components)


def clean_target(raw: bytes, link: str, limits: Limits) -> str:
    """Return a symlink's target as text; where it leads is for Tree to see, at the end.

    Args:
        raw: the target as the archive has it.
        link: the link's own path, normalised.
        limits: caps on its length.

    Raises:
        UnsafeArchiveError: by one of the ``PATH_…`` or ``LINK_…`` rules.
    """
    if not raw:
        raise Rule.LINK_EMPTY.error("a symlink without a target", member=link)
    text = _checked_text(raw, link.encode(), limits)
    if "" in text.split("/") and escape_of(text, link) is None:
        raise Rule.LINK_NOT_NORMAL.error(f"a symlink to {text}", member=link)
    return text


def escape_of(target: str, link: str) -> Omission | None:
    """Return how a symlink's target leaves the tree, by its letters; None if it stays within.

    That is where it really leads as long as no component on the way is a symlink itself.
    """
    if target.startswith("/"):
        return Omission.LINK_ABSOLUTE
    depth = link.count("/")
    for component in target.split("/"):
        if component == "..":
            depth -= 1
            if depth < 0:
                return Omission.LINK_ESCAPES
        elif component not in ("", "."):
            depth += 1
    return None


def _checked_text(raw: bytes, member: bytes, limits: Limits) -> str:
    if b"\0" in raw:
        raise Rule.PATH_NUL.error("a NUL with more behind it", member=member)
    if len(raw) > limits.path_bytes:
        raise Rule.PATH_TOO_LONG.error(f"more than {limits.path_bytes} bytes", member=member)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rule.PATH_NOT_UTF8.error("not UTF-8", member=member) from error
    if "\\" in text or not (text.isascii() and text.isprintable()):
        for char in text:
            if char == "\\" or unicodedata.category(char) in _REFUSED_CATEGORIES:
                raise Rule.PATH_CHARACTER.error(f"the character U+{ord(char):04X}", member=member)
    if any(len(part) > _COMPONENT_BYTES for part in raw.split(b"/")):
        raise Rule.PATH_TOO_LONG.error(
            f"a component of more than {_COMPONENT_BYTES} bytes", member=member
        )
    return text
