"""``.kheaders.toml``: what a project's folder says of its programs, and whether that may be believed.

It comes with a checkout, which may be anybody's.  So it can name a kernel, macros and folders to search, and
never a program, a flag, an address, a store, or who is to become root; what it does not know is an error.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kheaders_adb.errors import UsageError
from kheaders_adb.untrusted import host_file

NAME = ".kheaders.toml"
_STEP = "reading the project file"
_MAX_BYTES = 64 * 1024
_DEFINE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:=[^\x00-\x1f\x7f]*)?")


@dataclass(frozen=True, slots=True)
class Project:
    """What a project's file says.

    Attributes:
        path: the file; None where there is none.
        kernel: whose headers, as the KERNEL argument of the commands.
        defines: ``NAME`` or ``NAME=VALUE``.
        include_dirs: folders to search, in this order; those of the file are relative to its folder.
    """

    path: Path | None = None
    kernel: str | None = None
    defines: tuple[str, ...] = ()
    include_dirs: tuple[Path, ...] = ()

    def defines_besides(self, given: tuple[str, ...]) -> tuple[str, ...]:
        """The macros, less those that the user has given otherwise, and then the user's."""
        names = {_macro(define) for define in given}
        return (*(define for define in self.defines if _macro(define) not in names), *given)


def parse_project(content: bytes, path: Path) -> Project:
    """Read a project's file.

    Raises:
        UsageError: it is no TOML, or says more than it may, or something else.
    """
    import tomllib  # only where there is such a file

    if len(content) > _MAX_BYTES:
        raise UsageError(f"{path}: it is longer than {_MAX_BYTES} bytes", step=_STEP)
    try:
        found = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise UsageError(f"{path}: it is not TOML: {error}", step=_STEP) from error
    for key in found:
        if key not in ("kernel", "defines", "include_dirs"):
            raise UsageError(
                f"{path}: it may not set {key!r}",
                step=_STEP,
                hint="its keys are kernel, defines and include_dirs; all else belongs on the command line",
            )
    kernel = found.get("kernel")
    if kernel is not None and not (isinstance(kernel, str) and kernel):
        raise UsageError(
            f"{path}: kernel does not name one",
            step=_STEP,
            hint='write it as in kernel = "@SERIAL"',
        )
    defines = _strings(found, "defines", path)
    for define in defines:
        if _DEFINE.fullmatch(define) is None:
            raise UsageError(f"{path}: {define!r} is neither NAME nor NAME=VALUE", step=_STEP)
    folders = _strings(found, "include_dirs", path)
    for folder in folders:
        if not folder or "\0" in folder:
            raise UsageError(f"{path}: {folder!r} names no folder", step=_STEP)
    return Project(path, kernel, defines, tuple(path.parent / folder for folder in folders))


def find_project(
    start: Path, home: Path | None, user_id: int, on_ignored: Callable[[str], None]
) -> Project:
    """The project that a folder is in: of the first file, from there upward, that may be believed.

    Args:
        start: the folder, without links in its path.
        home: the user's home folder, likewise, where the search ends.
        user_id: whose files are believed, besides root's.
        on_ignored: is told of each file that is not, and why.

    Raises:
        UsageError: the file cannot be read, or as `parse_project`.
    """
    for folder in (start, *start.parents):
        content = _read(folder / NAME, user_id, on_ignored)
        if content is not None:
            return parse_project(content, folder / NAME)
        if folder == home:
            break
    return Project()


def _read(path: Path, user_id: int, on_ignored: Callable[[str], None]) -> bytes | None:
    try:
        # A link too must be of somebody who is believed; what it leads to is looked at when it is open.
        owner = path.lstat().st_uid
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise host_file.unreadable(path, error, step=_STEP) from error
    if owner not in (0, user_id):
        on_ignored(f"{path} is ignored: it belongs to another user")
        return None
    with host_file.opened(path, step=_STEP) as file:
        found = os.fstat(file.fileno())
        if found.st_uid not in (0, user_id):
            on_ignored(f"{path} is ignored: it belongs to another user")
        elif _others_may_write(found, user_id):
            on_ignored(f"{path} is ignored: others may write to it (chmod go-w, if it is yours)")
        else:
            return file.read(_MAX_BYTES + 1)
    return None


def _others_may_write(found: os.stat_result, user_id: int) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_private(found.st_gid, user_id)


def _is_private(group_id: int, user_id: int) -> bool:
    """Whether a group is the user's alone: Debian and Fedora give each one, and a umask of 002 with it."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(user_id), grp.getgrgid(group_id)
    except KeyError:
        return False
    own = (user.pw_gid, user.pw_name) == (group_id, group.gr_name)
    return own and set(group.gr_mem) <= {user.pw_name}


def _strings(found: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = found.get(key, [])
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise UsageError(
            f"{path}: {key} is not an array of strings",
            step=_STEP,
            hint=f'write it as in {key} = ["one", "two"]',
        )
    return tuple(value)


def _macro(define: str) -> str:
    return define.partition("=")[0].partition("(")[0]
