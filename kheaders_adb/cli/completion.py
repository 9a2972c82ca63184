"""What a shell is told when the user presses Tab.

The scripts in ``completions/`` ask: ``_KHEADERS_ADB_COMPLETE`` names the shell, and the arguments are the
words up to the cursor, the last of which is to be completed (bash: the line as it was typed, and where it
cuts words).  The answer's first line says what the shell shall list by itself, as far as that is files; the
others are candidates, each with a tab and a description if there is one.

Where anything fails, nothing is offered and nothing is said: the user is in the middle of a line.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kheaders_adb.cli import candidates
from kheaders_adb.cli.candidates import Candidate, Given
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output
from kheaders_adb.cli.words import ALIASES
from kheaders_adb.untrusted.text import printable


class Kind(enum.StrEnum):
    """What fits: candidates, or files of the host, which each shell lists in its own way."""

    WORDS = "words"
    FILES = "files"
    FOLDERS = "folders"
    SOURCES = "sources"


Source = Callable[[Given], Iterable[Candidate]]

# By what the help calls a value, so that a new option is completed as others of its name are.
SOURCES: dict[str, Source | Kind] = {
    "SERIAL": candidates.serials,
    "ID": candidates.transport_ids,
    "KERNEL": candidates.kernels,
    "FROM": candidates.kernels,
    "TO": candidates.kernels,
    "LEVEL": candidates.optimize_levels,
    "CPU": candidates.cpus,
    "SHELL": candidates.completing_shells,
    "DIR": Kind.FOLDERS,
    "FILE": Kind.FILES,
    "FILE|DIR": Kind.FILES,
    "OUT": Kind.FILES,
    "SRC": Kind.SOURCES,
}
# A folder too, but on the device, which nobody asks here.
_ON_THE_DEVICE = ("to",)


@dataclass(slots=True)
class Place:
    """Where in the command line the cursor is.

    Attributes:
        command: the command; the program itself before one is named, None where there is no such command.
        given: what options and arguments have been given so far, by the parameter's name.
        parameter: the option or argument whose value is wanted; None for anything else.
        glued: what stands before the value in the same word, as in ``--store=``.
        is_for_clang: whether ``--`` stands before.
    """

    command: Any
    given: dict[str, list[str]] = field(default_factory=dict)
    parameter: Any = None
    glued: str = ""
    is_for_clang: bool = False

    def note(self, parameter: Any, value: str) -> None:
        """Take down a value that is there already."""
        self.given.setdefault(parameter.name, []).append(value)

    def next_argument(self) -> Any:
        """The argument that the next word without a dash is, or None."""
        for parameter in self.command.params:
            if parameter.param_type_name == "argument" and (
                parameter.nargs == -1 or parameter.name not in self.given
            ):
                return parameter
        return None


def answer(program: Any, shell: str, words: Sequence[str]) -> None:
    """Print what fits; for `shell` and `words` see above."""
    with contextlib.suppress(Exception):
        Console.standard(Output()).value("\n".join(_lines(program, shell, words)))


def _lines(program: Any, shell: str, words: Sequence[str]) -> Iterator[str]:
    if shell == "bash":
        from kheaders_adb.cli.readline import parse

        line = parse(*words)
        word = line.words[-1]
        # It shows no descriptions; those of the commands would cost an import each.
        kind, found = complete(program, line.words[1:], described=False)
        yield f"{kind}\t{word}" if word.isprintable() else Kind.WORDS
        yield from filter(None, (line.insertion(each.text) for each in found))
        return
    kind, found = complete(program, words)
    yield kind
    for each in found:
        yield f"{each.text}\t{printable(each.about)}" if each.about else each.text


def complete(
    program: Any, words: Sequence[str], *, described: bool = True
) -> tuple[Kind, list[Candidate]]:
    """What fits in the place of the last word; which of it begins as that does, each shell sees itself.

    Args:
        program: the program, as typer makes it.
        words: the words behind its name.
        described: whether descriptions are wanted.
    """
    place = find_place(program, words)
    kind, found = _fitting(place, words[-1], described=described)
    already = place.given.get(place.parameter.name, ()) if place.parameter is not None else ()
    return kind, [
        Candidate(place.glued + each.text, each.about)
        for each in found
        if _can_be_shown(each.text) and each.text not in already
    ]


def _fitting(place: Place, word: str, *, described: bool) -> tuple[Kind, Iterable[Candidate]]:
    found: Iterable[Candidate] = ()
    if place.is_for_clang:
        return Kind.FILES, found
    if place.parameter is not None:
        source = source_of(place.parameter)
        return (source, found) if isinstance(source, Kind) else (Kind.WORDS, source(place.given))
    if place.command is not None and word.startswith("-"):
        found = _options(place.command)
    elif hasattr(place.command, "list_commands"):
        found = _commands(place.command, described=described)
    return Kind.WORDS, found


def source_of(parameter: Any) -> Source | Kind:
    """Where the values of an option or argument come from; no words, where only the user can know."""
    choices = getattr(parameter.type, "choices", None)
    if choices:
        return lambda _: (Candidate(str(choice)) for choice in choices)
    if parameter.name in _ON_THE_DEVICE:
        return Kind.WORDS
    return SOURCES.get((parameter.metavar or "").strip("[]=…"), Kind.WORDS)


def _can_be_shown(text: str) -> bool:
    """Whether it is one line, in characters that the user has, which acts on no terminal."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return bool(text) and text.isprintable()


def _options(command: Any) -> Iterator[Candidate]:
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            for name in (*parameter.opts, *parameter.secondary_opts):
                yield Candidate(name, parameter.help or "")
    yield Candidate("--help", "Show this message and exit.")


def _commands(program: Any, *, described: bool) -> Iterator[Candidate]:
    for name in program.list_commands(None):
        yield Candidate(name, program.summary_of(name) if described else "")


def find_place(program: Any, words: Sequence[str]) -> Place:
    """Where the last of `words` stands; words before it that make no sense are passed over."""
    place = Place(program)
    options = _by_name(program)
    wanting = None
    for word in words[:-1]:
        if wanting is not None:
            place.note(wanting, word)
            wanting = None
        elif word == "--":
            place.is_for_clang = True
            return place
        elif word.startswith("-"):
            option, glued = _option_of(word, options)
            if glued:
                place.note(option, word.removeprefix(glued))
            else:
                wanting = option
        elif word == "help" and place.command is program:
            continue
        elif hasattr(place.command, "list_commands"):
            place.command = place.command.get_command(None, ALIASES.get(word, word))
            if place.command is None:
                return place
            options = _by_name(place.command)
        elif (argument := place.next_argument()) is not None:
            place.note(argument, word)
    if wanting is not None:
        place.parameter = wanting
    elif words[-1].startswith("-"):
        option, place.glued = _option_of(words[-1], options)
        place.parameter = option if place.glued else None
    elif not hasattr(place.command, "list_commands"):
        place.parameter = place.next_argument()
    return place


def _by_name(command: Any) -> dict[str, Any]:
    return {
        name: parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def _stands_alone(option: Any) -> bool:
    """Whether an option never has a value; -v is counted, which is no flag in typer's words."""
    return bool(option.is_flag or option.count)


def _option_of(word: str, options: dict[str, Any]) -> tuple[Any, str]:
    """The option in `word` that takes a value, and what stands before that, if it is in the same word."""
    if word in options:
        # A value that may be left out is never the next word.
        may_lack = (options[word].metavar or "").startswith("[")
        return (None if _stands_alone(options[word]) or may_lack else options[word]), ""
    name, equals, _ = word.partition("=")
    if word.startswith("--"):
        option = options.get(name) if equals else None
        return (None, "") if option is None or _stands_alone(option) else (option, name + equals)
    for at in range(1, len(word)):
        option = options.get(f"-{word[at]}")
        if option is None:
            break
        if not _stands_alone(option):
            glued = word[: at + 1]
            return option, "" if glued == word else glued
    return None, ""
