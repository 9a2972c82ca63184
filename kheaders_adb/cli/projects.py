"""The project that a command is run for, by its ``.kheaders.toml``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb import settings
from kheaders_adb.cli.console import PROGRAM, Console
from kheaders_adb.errors import UsageError

if TYPE_CHECKING:
    from kheaders_adb.project import Project


def project_for(folders: Iterable[Path], console: Console, *, verbose: bool) -> Project:
    """The project of these folders, which must be one; warns of files that may not be believed.

    Raises:
        UsageError: they are of several projects, or a project's file is wrong.
    """
    ignored: list[str] = []
    projects = [settings.project(folder, ignored.append) for folder in dict.fromkeys(folders)]
    for text in dict.fromkeys(ignored):
        console.warn(text)
    first, *others = {project.path: project for project in projects}.values()
    if others:
        names = [str(project.path or "none") for project in (first, others[0])]
        raise UsageError(
            f"the sources are of several projects: {' and '.join(names)}",
            hint="give the sources of one project at a time",
        )
    if verbose and first.path is not None:
        console.say(f"{PROGRAM}: project file {first.path}")
    return first
