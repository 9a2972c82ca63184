"""The files and folders that a compilation is given: whether they can be what they are to be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kheaders_adb.errors import UsageError
from kheaders_adb.untrusted import host_file
from kheaders_adb.untrusted.host_file import Kind

_CPLUSPLUS = frozenset({".C", ".cc", ".cp", ".cpp", ".CPP", ".cxx", ".c++"})
"""What clang takes for C++ by the name."""


def object_path(source: Path) -> Path:
    """Return where a source's object goes by default: beside it, ``prog.bpf.c`` → ``prog.bpf.o``.

    Raises:
        UsageError: the source is a folder without a name, such as ``.``.
    """
    if not source.name:
        host_file.require(source, Kind.FILE, step="compiling")
    return source.with_suffix(".o")


def absent_folders(include_dirs: Sequence[Path]) -> list[Path]:
    """Return those of the folders to be searched that are not there; compilers pass over them in silence.

    Raises:
        UsageError: one is something else, or nobody can tell.
    """
    step = "looking at the folders of -I"
    absent = [folder for folder in include_dirs if host_file.kind_of(folder, step=step) is None]
    for folder in include_dirs:
        if folder not in absent:
            host_file.require(folder, Kind.FOLDER, step=step)
    return absent


def check_source(source: Path) -> None:
    """Make sure that a program can be read.

    Raises:
        UsageError: it cannot.
    """
    with host_file.opened(source, step="compiling"):
        pass


def check_paths(source: Path, output: Path) -> None:
    """Make sure that a program is one that can be read, and that its object may stand where it is to.

    Raises:
        UsageError: it is not, or may not.
    """
    check_source(source)
    step = f"compiling {source}"
    if host_file.kind_of(output.parent, step=step) is None:
        raise UsageError(
            f"{output} cannot be written: there is no folder {output.parent}",
            step=step,
            hint="make the folder first, or name another one",
        )
    host_file.require(output.parent, Kind.FOLDER, step=step)
    there = host_file.kind_of(output, step=step)
    if there is Kind.FOLDER:
        host_file.require(output, Kind.FILE, step=step)
    if there is Kind.FILE and output.samefile(source):
        raise UsageError(f"the object would replace its source {source}", step="compiling")


def check_language(source: Path, extra: Sequence[str] = ()) -> None:
    """Make sure that a program is not one of C++ by its name, unless flags for clang say what it is.

    Raises:
        UsageError: it is.
    """
    if source.suffix in _CPLUSPLUS and not any(flag.startswith("-x") for flag in extra):
        raise UsageError(
            f"{source} is C++ by its name, and kernel headers are C",
            step="compiling",
            hint="write BPF programs in C; for one that is C, name it .c, or give -x c behind --",
        )


def is_replaced(output: Path, *, step: str) -> bool:
    """Whether an object becomes a new file of that name; else it is written into what is there.

    Raises:
        UsageError: nobody can tell.
    """
    if host_file.kind_of(output, step=step) not in (None, Kind.FILE):
        return False
    # /dev/stdout and its like are links to what this process has open, which may well be a file.
    folder = os.path.realpath(output.parent)
    return not (output.is_symlink() and (folder == "/dev" or folder.startswith("/proc/")))
