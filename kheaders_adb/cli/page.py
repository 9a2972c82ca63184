"""What there is to say of a command: what ``--help``, the man pages and docs/cli.md are all made of."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kheaders_adb.cli.examples import EXAMPLES
from kheaders_adb.cli.groups import Output, StoreChoice, Target

DOCUMENTATION = "https://github.com/kheaders-adb/kheaders-adb/tree/main/docs"
COMMAND_GROUPS = {
    "Devices and pulling": ("pull", "devices", "push", "doctor"),
    "Staged kernels": ("list", "show", "path", "diff", "remove", "import", "export"),
    "Compiling": ("compile", "compdb", "cflags", "env"),
    "Store upkeep": ("verify", "gc", "pin", "unpin", "store"),
}
"""The commands as the help groups them; one that stands nowhere here is shown under "More"."""

_SHARED = [group.HEADING for group in (Target, Output, StoreChoice)]

Row = tuple[str, str]
"""A term as it is typed, and what it means."""


class Kind(enum.Enum):
    """What the rows of a section are."""

    COMMANDS = enum.auto()
    ARGUMENTS = enum.auto()
    OPTIONS = enum.auto()
    SHARED = enum.auto()
    """Options that many commands have."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and the terms below it."""

    heading: str
    kind: Kind
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One command, or the program itself.

    Attributes:
        path: what it is called by: "kheaders-adb pull".
        usage: what follows its name: "[OPTIONS]".
        summary: what it does, in one sentence.
        paragraphs: the rest of its description; text between backticks is typed.
        examples: blocks of lines of a terminal; those behind "$ " are typed.
        sections: its arguments and options, its own first; of the program, its commands before them.
    """

    path: str
    usage: str
    summary: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    sections: tuple[Section, ...]


def page_of(command: Any, context: Any) -> Page:
    """The page of a command.

    Args:
        command: it, as typer has made it.
        context: its context, which knows by what names it was called.
    """
    summary, *paragraphs = _paragraphs(command.help)
    of_program = context.parent is None
    arguments: list[Row] = []
    own: list[Row] = []
    options: dict[str, list[Row]] = {}
    for parameter in command.get_params(context):
        if (record := parameter.get_help_record(context)) is None:  # hidden
            continue
        row = (record[0], " ".join(record[1].split()))
        if parameter.param_type_name == "argument":
            arguments.append(row)
        else:
            # typer's field for a heading; rich, which it is named after, is not needed.
            heading = parameter.rich_help_panel
            (own if heading is None else options.setdefault(heading, [])).append(row)
    sections = [
        *(_grouped(command, context) if of_program else ()),
        *(_commands(command, context) if not of_program and hasattr(command, "commands") else ()),
        Section("Arguments", Kind.ARGUMENTS, tuple(arguments)),
        Section("Options", Kind.OPTIONS, tuple(own)),
        *(
            Section(heading, Kind.SHARED, tuple(options[heading]))
            for heading in sorted(options, key=_SHARED.index)
        ),
    ]
    return Page(
        path=context.command_path,
        # typer has "{SRC…}" for an argument that must be there.
        usage=" ".join(piece.strip("{}") for piece in command.collect_usage_pieces(context)),
        summary=summary,
        paragraphs=tuple(paragraphs),
        examples=EXAMPLES.get(context.command_path.partition(" ")[2], ()),
        sections=tuple(section for section in sections if section.rows),
    )


def _commands(group: Any, context: Any) -> Iterable[Section]:
    rows = [(name, group.summary_of(name)) for name in group.list_commands(context)]
    yield Section("Commands", Kind.COMMANDS, tuple(rows))


def _grouped(program: Any, context: Any) -> Iterable[Section]:
    names = program.list_commands(context)
    grouped = {name for members in COMMAND_GROUPS.values() for name in members}
    groups = {**COMMAND_GROUPS, "More": tuple(name for name in names if name not in grouped)}
    for heading, members in groups.items():
        rows = [(name, program.summary_of(name)) for name in members if name in names]
        yield Section(heading, Kind.COMMANDS, tuple(rows))


def summary_of(documentation: str | None) -> str:
    """The first paragraph of a docstring, in one line."""
    return next(iter(_paragraphs(documentation)), "")


def _paragraphs(documentation: str | None) -> list[str]:
    return [" ".join(text.split()) for text in (documentation or "").strip().split("\n\n")]
