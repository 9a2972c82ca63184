"""Options that are none of ours: what was probably meant.  Imported when there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from kheaders_adb.cli.console import PROGRAM
from kheaders_adb.cli.once import NO_DEVICE
from kheaders_adb.errors import UsageError

#: As much must be alike; less suggests --quiet for --wait.
_LIKE = 0.7
_OF_A_DEVICE = ("-s", "--serial", "-d", "--usb", "-e", "--tcp", "-t", "--transport-id")


def mistaken(mistake: Any, words: Sequence[str]) -> UsageError:
    """The error for a command line that typer did not understand.

    Args:
        mistake: typer's error.
        words: the command line.
    """
    at: Any = getattr(mistake, "ctx", None)
    options = {
        option
        for param in (at.command.params if at is not None else ())
        if not getattr(param, "hidden", False)
        for option in param.opts
        if option.startswith("--")
    }
    near = _with_one_dash(words, options)
    seen = mistake.format_message()
    if hasattr(mistake, "possibilities"):
        seen = mistake.message
        near = near or get_close_matches(mistake.option_name, options, n=1, cutoff=_LIKE)
    see = f"see `{at.command_path if at is not None else PROGRAM} --help`"
    hint = f"did you mean {near[0]}? {see}" if near else see
    takes = {param.name for param in at.command.params} if at is not None else set()
    if getattr(mistake, "option_name", None) in _OF_A_DEVICE and "kernel" in takes:
        hint = NO_DEVICE
    return UsageError(seen.strip().rstrip("."), hint=hint)


def _with_one_dash(words: Sequence[str], options: Iterable[str]) -> list[str]:
    """The options that are written with one dash, as Go's programs have it."""
    given = [f"-{word.partition('=')[0]}" for word in words if word[:1] == "-" != word[1:2]]
    return [option for option in given if option in options]
