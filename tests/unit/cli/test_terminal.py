"""Colours and progress: on a terminal, where the user wants them, and nowhere else."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import kheaders_adb.cli
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output
from kheaders_adb.errors import UsageError

XTERM = {"TERM": "xterm-256color"}


class Terminal:
    """A pseudo-terminal in the place of stderr, and what was shown on it."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.file = os.fdopen(slave, "w", encoding="utf-8")
        self.resize(80)

    def resize(self, columns: int) -> None:
        """Give it another width."""
        termios.tcsetwinsize(self.file.fileno(), (24, columns))

    def shown(self) -> str:
        """Everything so far."""
        self.file.flush()
        data = b""
        while select.select([self._master], [], [], 0.05)[0]:
            data += os.read(self._master, 65536)
        return data.decode()

    def close(self) -> None:
        """Give it back."""
        self.file.close()
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal; `console` puts it in the place of stderr."""
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def console(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Console]:
    """The console that a command gets in an environment; its stderr is the terminal."""

    def standard(environ: Mapping[str, str], **output: Any) -> Console:
        # Here and not in the fixture: pytest puts its own stderr in place between the two.
        monkeypatch.setattr(sys, "stderr", terminal.file)
        return Console.standard(Output(**output), environ)

    return standard


MakeConsole = Callable[..., Console]


@pytest.mark.parametrize(
    ("environ", "colour", "live"),
    [
        (XTERM, True, True),
        ({}, True, True),
        ({**XTERM, "NO_COLOR": "1"}, False, True),
        (
            {**XTERM, "NO_COLOR": ""},
            True,
            True,
        ),  # no-color.org: "when present and not an empty string"
        ({"TERM": "dumb"}, False, False),
        ({**XTERM, "CI": "true"}, True, False),
        ({**XTERM, "CI": ""}, True, True),
        ({"TERM": "dumb", "NO_COLOR": "1", "CI": "1"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, False),
        ({**XTERM, "FORCE_COLOR": "1", "NO_COLOR": "1"}, False, True),
    ],
)
def test_what_the_environment_allows_on_a_terminal(
    console: MakeConsole, environ: Mapping[str, str], colour: bool, live: bool
) -> None:
    found = console(environ)
    assert (found.colour, found.live) == (colour, live)
    assert console(environ, quiet=True).live is False


def test_nothing_of_it_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    found = Console.standard(Output(), XTERM)
    assert (found.colour, found.live) == (False, False)
    for value, colour in (("1", True), ("", False)):
        found = Console.standard(Output(), {**XTERM, "FORCE_COLOR": value})
        assert (found.colour, found.live) == (colour, False)


def test_only_one_word_is_coloured(console: MakeConsole, terminal: Terminal) -> None:
    found = console(XTERM)
    found.error(UsageError("what", hint="so"))
    found.warn("careful")
    found.say("plain")
    assert terminal.shown().replace("\r\n", "\n") == (
        "kheaders-adb: \x1b[1;31merror:\x1b[0m what\n"
        "  hint: so\n"
        "kheaders-adb: \x1b[1;33mwarning:\x1b[0m careful\n"
        "plain\n"
    )


def test_stdout_is_never_coloured(
    console: MakeConsole, terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    found = console(XTERM, json=True)
    found.result("tree")
    found.error(UsageError("what"))
    assert "\x1b" not in capsys.readouterr().out
    assert "\x1b" in terminal.shown()


ACTING = "\x1b]0;owned\x07 \x1b[8m \x9b31m \r \b \u202e \u2066 \u2028 \udcff \x7f"
"""A title, hidden text, a C1 control, an overprinted line, text from right to left, a byte of no text."""


def test_nothing_that_is_said_can_act_on_the_terminal(
    console: MakeConsole, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = console({**XTERM, "NO_COLOR": "1"})
    monkeypatch.setattr(sys, "stdout", terminal.file)
    found = Console.standard(Output(), {**XTERM, "NO_COLOR": "1"})
    error = UsageError(ACTING, step=ACTING, device=ACTING, hint=ACTING)
    error.add_note(ACTING)
    for say in (found.result, found.value, found.say, found.warn):
        say(ACTING)
    found.error(error)
    found.interrupted(error, signal.SIGINT)
    found.bug(error, ACTING, ACTING)
    found.diagnostics(ACTING.encode(errors="surrogateescape"))
    found.document({ACTING: ACTING})
    shown = terminal.shown().replace("\r\n", "\n")
    assert shown.count("owned") >= 12
    assert {char for char in shown if not char.isprintable()} == {"\n"}


def test_programs_get_paths_and_flags_to_the_letter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Console.standard(Output())
    name = "/a\u3000b/\u00a0\x1b\u202e"
    found.value(name)
    assert capsys.readouterr().out == f"{name}\n"
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8"))
    Console.standard(Output()).value("not-\udcff")
    assert raw.getvalue() == b"not-\xff\n"


def test_the_text_of_a_file_keeps_its_columns_on_a_terminal_and_nothing_else(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal.file)
    Console.standard(Output()).text("+\t/* \x1b]0;title\x07\u202e\udcff */\r")
    shown = terminal.shown().replace("\r\n", "\n")
    assert shown.replace("       ", "\t") == "+\t/* \\x1b]0;title\\x07\\u202e\\udcff */\\r\n"


def test_a_compilers_words_keep_its_colours_and_its_columns(
    console: MakeConsole, terminal: Terminal
) -> None:
    said = (
        b'\x1b[1mprog.c:1:2: \x1b[0m\x1b[0;1;35mwarning: \x1b[0m"\x1b[8mhidden\xe2\x80\xae\xff"\n'
        b"\tint x; \x1b[7m<U+001B>\x1b[0m\n\x1b[0;1;32m\t^\n\x1b[0m\n"
    )
    console(XTERM).diagnostics(said)
    coloured = terminal.shown().replace("\r\n", "\n")
    plain = coloured.replace("        ", "\t")  # as a terminal does
    assert plain == (
        '\x1b[1mprog.c:1:2: \x1b[0m\x1b[0;1;35mwarning: \x1b[0m"\\x1b[8mhidden\\u202e\\xff"\n'
        "\tint x; \x1b[7m<U+001B>\x1b[0m\n\x1b[0;1;32m\t^\n\x1b[0m\n"
    )
    console({**XTERM, "NO_COLOR": "1"}).diagnostics(said)
    assert "\x1b" not in terminal.shown()


def test_commands_write_through_the_console_alone() -> None:
    """What writes by itself could forget to make it harmless."""
    folder = Path(kheaders_adb.cli.__file__).parent
    others = [
        path
        for path in folder.glob("*.py")
        if path.name not in ("console.py", "process.py", "status.py")
    ]
    assert len(others) > 15
    # What is drawn on a canvas is a string for the console.
    writing = re.compile(r"(?<!canvas\.)\bprint\(|sys\.std(out|err)|\.out\b\.|os\.write|secho")
    assert [path.name for path in others if writing.search(path.read_text())] == []
