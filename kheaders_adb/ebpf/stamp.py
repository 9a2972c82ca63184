"""The flags in a file that changes only when they do: for make and its like, and for clang's ``@FILE``."""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path

from kheaders_adb.errors import UsageError
from kheaders_adb.untrusted import host_file

_STEP = "writing the flags"
# What clang, gcc and a shell take as it is, in a file of arguments.
_SPECIAL = re.compile(r"[^\w@%+=:,./-]", re.ASCII)


def write_stamp(path: Path, flags: Sequence[str]) -> bool:
    """Write flags into a file, in one step, unless they are what it holds.

    Args:
        path: the file; a link to one is followed.  It keeps its mode.
        flags: they name the tree by its content, so that another kernel's differ.

    Returns:
        Whether it was written.

    Raises:
        UsageError: it is no file, or cannot be read or written; or a flag holds a line break.
        StoreError: the disk failed.
    """
    for flag in flags:
        # Behind a backslash it would join two lines, and be gone.
        if "\n" in flag or "\r" in flag:
            raise UsageError(
                f"the flag {flag!r} holds a line break, which no file of flags can hold",
                step=_STEP,
                hint="keep the store, and what is included, in folders without one in their names",
            )
    content = format_arguments(flags).encode("utf-8", "surrogateescape") + b"\n"
    is_there = host_file.kind_of(path, step=_STEP) is not None
    if is_there and host_file.read(path, len(content), step=_STEP) == content:
        return False
    with host_file.writing(path, step=_STEP):
        target = path.resolve()
        if is_there and not target.exists():
            # One of /proc leads to a file that is open and has no name any more.
            raise host_file.missing(path, step=_STEP)
        with host_file.drafted(target) as draft:
            draft.write_bytes(content)
            if is_there:
                draft.chmod(stat.S_IMODE(target.stat().st_mode))
            draft.replace(target)
    return True


def format_arguments(flags: Sequence[str]) -> str:
    """The flags as one line of a file of arguments, every special character behind a backslash.

    clang's rules and a shell's differ within quotes, and agree on this.
    """
    return " ".join(_SPECIAL.sub(lambda found: "\\" + found[0], flag) or "''" for flag in flags)
