"""What can be wrong in a store."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ProblemKind(enum.StrEnum):
    """What can be wrong with a path of a tree, or with what belongs to it."""

    MISSING = "missing"
    EXTRA = "extra"
    CONTENT = "content"
    MODE = "mode"
    TYPE = "type"
    TARGET = "target"
    UNREADABLE = "unreadable"
    MANIFEST = "manifest"
    ARCHIVE = "archive"
    TREE = "tree"
    RECORD = "record"
    CONFIG = "config"


def pull_again(tree: str) -> str:
    """What brings back a tree that is not in the store."""
    option = " --repair-config" if "-repaired-" in tree else ""
    return f"run `kheaders-adb pull{option}` again, or import the archive again"


REFRESH = "run `kheaders-adb pull --refresh`, or import the archive again"
"""What replaces a damaged archive or manifest, too, of a tree that is in the store."""

REPAIR = "run `kheaders-adb verify --all --repair`"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was recorded.

    Attributes:
        tree: the tree that it is in or belongs to; "" for a record or a configuration.
        path: the path in the tree, or the path in the store of what belongs to none or to several.
        kind: what is wrong.
        seen: that, in words.
        also_in: other trees that share the damaged file, as "TREE/PATH".
        repaired: whether it was put right.
        remedy: what to do where it was not.
    """

    tree: str
    path: str
    kind: ProblemKind
    seen: str
    also_in: tuple[str, ...] = ()
    repaired: bool = False
    remedy: str | None = None
