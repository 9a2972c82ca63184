"""The files and folders that a compilation is given: whether they can be what they are to be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kheaders_adb.errors import UsageError
from kheaders_adb.untrusted import host_file
from kheaders_adb.untrusted.host_file import Kind


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


def check_paths(source: Path, output: Path) -> None:
    """Make sure that a program is one that can be read, and that its object may stand where it is to.

    Raises:
        UsageError: it is not, or may not.
    """
    with host_file.opened(source, step="compiling"):
        pass
    step = f"compiling {source}"
    host_file.require(output.parent, Kind.FOLDER, step=step)
    there = host_file.kind_of(output, step=step)
    if there is Kind.FOLDER:
        host_file.require(output, Kind.FILE, step=step)
    if there is Kind.FILE and output.samefile(source):
        raise UsageError(f"the object would replace its source {source}", step="compiling")
