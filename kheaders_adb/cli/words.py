"""The words of a command line, put in order before typer reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from kheaders_adb.errors import UsageError

ALIASES = {"ls": "list", "rm": "remove"}
"""Names that docker, git and shells have for commands of ours."""

LINE = "kheaders-adb.line"
"""Under which name a context's `meta` has the whole command line."""

MEANT = {
    "prune": "gc",
    "clean": "gc",
    "clear": "gc",
    "delete": "remove",
    "info": "show",
    "get": "pull",
    "fetch": "pull",
    "build": "compile",
    "status": "devices",
}
"""What others call commands of ours that do something else than theirs, so that they are only suggested."""

_MADE_ANYWAY = frozenset({"-c", "-S", "-E", "-emit-llvm", "-fsyntax-only", "-target"})
# Compiled when they are looked for: most runs need neither.
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
# Warnings, the language, and what is switched off: none of them makes another kind of output, or a file.
# Nothing of ours begins like these, but -s, of which no serial begins so.
_CLANGS = r"-W[\w#+-]+(=[\w-]+)?|-w|-fno-[\w-]+|-std=[\w+]+|-pedantic(-errors)?|-ansi"
# What is decided here, and what typer would read as several options of ours: -s hared, -d M, -g 3.
_DECIDED = (
    (r"-m(cpu|arch)=.*", "give the BPF instruction set with --cpu"),
    (
        r"--?target=.*|-m(32|64|little-endian|big-endian)",
        "leave it out: the target is BPF, and before that the device's own",
    ),
    (r"-g.+", "give -g for debug information and BTF, or -g0 for neither"),
    (r"-(shared|static|save-temps.*|d[DIMU])", "leave it out: what is made is always an object"),
)
_WITH_VALUE = frozenset(
    {"-U", "-include", "-imacros", "-isystem", "-iquote", "-idirafter", "-isysroot"}
    | {"-x", "-Xclang", "-mllvm"}
)


def with_left_out(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words, with a value for each option that may stand without one.

    A number that follows is its value, and nothing else is: ``compile --wait prog.c`` has a source,
    ``pull --wait 5`` has none.

    Args:
        words: the words before ``--``.
        values: what such an option means alone; one that is a number takes a number.
    """
    arranged: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if (value := values.get(word)) is not None:
            if rest and re.fullmatch(_NUMBER, value) and re.fullmatch(_NUMBER, rest[0]):
                value = rest.pop(0)
            word = f"{word}={value}"
        arranged.append(word)
    return arranged


def flags_of_clang(
    words: Sequence[str],
    options: Mapping[str, bool],
    command: str,
    before: Sequence[str] = (),
    behind: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """Part a command's words into ours and those that are clang's, though they stand before ``--``.

    Args:
        words: what stands before ``--``.
        options: each option of the command, and whether a value follows it.
        command: the command's name, for messages.
        before: the command line so far, with what stands before that name, such as a device.
        behind: what stands behind ``--``.

    Returns:
        Ours, and clang's.

    Raises:
        UsageError: a flag that may be a mistake, or clang's; it says where clang's stand.
    """
    ours: list[str] = []
    clangs: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word[:1] == "-" and word not in options:
            for pattern, hint in _DECIDED:
                if re.fullmatch(pattern, word):
                    raise UsageError(f"no such option: {word}", hint=hint)
        if re.fullmatch(_CLANGS, word, re.ASCII) and word not in options:
            clangs.append(word)
            continue
        if word.startswith("-") and word != "-" and not _is_ours(word, options):
            if word in _MADE_ANYWAY:
                hint = f"leave it out: `{command}` knows what to make, and for which target"
            elif word.startswith("-M"):
                hint = "for make there is -MD: it writes prog.d beside prog.o"
            else:
                moved = _moved(words, at - 1, before or command.split(), behind)
                hint = f"if it is clang's: `{moved}`; else see `{command} --help`"
            raise UsageError(f"no such option: {word}", hint=hint)
        ours.append(word)
        if options.get(word, False):
            ours += words[at : at + 1]
            at += 1
    return ours, clangs


def _moved(words: Sequence[str], at: int, before: Sequence[str], behind: Sequence[str]) -> str:
    """The command line with the flag at this place, and its value, behind ``--``."""
    import shlex  # only for a mistake

    end = at + (2 if words[at] in _WITH_VALUE else 1)
    return shlex.join([*before, *words[:at], *words[end:], "--", *words[at:end], *behind])


def _is_ours(word: str, options: Collection[str]) -> bool:
    """Whether typer is to read it: an option, perhaps with its value, or several short ones."""
    if word.startswith("--"):
        return True  # typer says what was meant by one that is misspelt
    if word in _MADE_ANYWAY or word in _WITH_VALUE or word.startswith("-save-temps"):
        return False
    return word in options or word[:2] in options


def require_values(words: Sequence[str], options: Mapping[str, bool], command: str) -> None:
    """Make sure that no option takes the next option for its value.

    Args:
        words: what stands before ``--``.
        options: each option of the command, and whether a value follows it.
        command: the command line so far, for messages.

    Raises:
        UsageError: one does; it says how a value of that form is given.
    """
    rest = iter(words)
    for word in rest:
        if not options.get(word, False):
            continue
        value = next(rest, "")
        if value.partition("=")[0] in options:
            joined = f"{word}={value}" if word.startswith("--") else f"{word}{value}"
            raise UsageError(
                f"{word} needs a value, and {value} is an option",
                hint=f"a value of that form is given as {joined}; else see `{command} --help`",
            )
