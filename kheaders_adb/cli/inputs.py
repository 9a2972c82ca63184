"""Paths as the user writes them: what can be none is refused before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from kheaders_adb.errors import UsageError

_DASH = Path("-")
# These decide for themselves what ``-`` means, or that it means nothing.
_WRITTEN = ("--output", "--stamp", "--log-json")


def path_of(text: str, *, option: str) -> Path:
    """The path that a user has given; one is ``Path("-")`` only if it was written so.

    Raises:
        UsageError: it is empty, which Python would take for the folder one is in, or holds a NUL; or it is
            ``-``, and nothing is written there.
    """
    if not text:
        raise UsageError(
            f"{option}: the path is empty", hint="is a variable of the command line not set?"
        )
    if "\0" in text:
        raise UsageError(f"{option}: {text!r} cannot be a path", hint="leave out the NUL")
    path = Path(text)
    if path != _DASH or (text == "-" and option in _WRITTEN):
        return path
    if text == "-":
        raise UsageError(
            f"{option}: - would be stdin, which is not read here",
            hint="put its content into a file and name that; a file that is called - is ./-",
        )
    return path.absolute()


def file_or_folder(given: str | Path) -> Path:
    """As `path_of`, for ``-o`` of commands that write files: with a slash at its end it names a folder.

    Raises:
        UsageError: and that is not there, so that a file would get its name.
    """
    if isinstance(given, Path):  # the default
        return given
    path = path_of(given, option="--output")
    if given.endswith("/") and not path.is_dir():
        raise UsageError(
            f"--output: there is no folder {given}",
            hint="make it first, or leave out the slash to name a file",
        )
    return path


def guard(annotation: Any, name: str) -> None:
    """Have an option or argument that is a path, or several, go through `path_of`.

    Args:
        annotation: the parameter's type with its option, as typer takes it.
        name: the parameter's name.
    """
    kind, *metadata = get_args(annotation) or (annotation,)
    if Path in _kinds(kind):
        for info in metadata:
            # typer takes the first for a default until it makes the option.
            names = [*(info.param_decls or ()), info.default]
            options = [text for text in names if isinstance(text, str) and text.startswith("-")]
            if info.parser is None:
                info.parser = _parser(max(options, key=len, default=info.metavar or name))


def _parser(option: str) -> Callable[[str | Path], Path]:
    # A default is a path already.
    return lambda given: path_of(given, option=option) if isinstance(given, str) else given


def _kinds(kind: Any) -> Sequence[Any]:
    """A type, and those that it is put together from."""
    if get_origin(kind) is None:
        return (kind,)
    return [inner for part in get_args(kind) for inner in _kinds(part)]
