"""The flags in a file that changes only when they do: for make and its like, and for clang's ``@FILE``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kheaders_adb.untrusted import host_file

_STEP = "writing the flags"
# What clang, gcc and a shell take as it is, in a file of arguments.
_SPECIAL = re.compile(r"[^\w@%+=:,./-]", re.ASCII)


def write_stamp(path: Path, flags: Sequence[str]) -> bool:
    """Write flags into a file, in one step, unless they are what it holds.

    Args:
        path: the file; a link to one is followed.
        flags: they name the tree by its content, so that another kernel's differ.

    Returns:
        Whether it was written.

    Raises:
        UsageError: it is no file, or cannot be read or written.
        StoreError: the disk failed.
    """
    content = format_arguments(flags).encode("utf-8", "surrogateescape") + b"\n"
    is_there = host_file.kind_of(path, step=_STEP) is not None
    if is_there and host_file.read(path, len(content), step=_STEP) == content:
        return False
    with host_file.writing(path, step=_STEP):
        target = path.resolve()
        with host_file.drafted(target) as draft:
            draft.write_bytes(content)
            draft.replace(target)
    return True


def format_arguments(flags: Sequence[str]) -> str:
    """The flags as one line of a file of arguments, every special character behind a backslash.

    clang's rules and a shell's differ within quotes, and agree on this.
    """
    return " ".join(_SPECIAL.sub(lambda found: "\\" + found[0], flag) or "''" for flag in flags)
