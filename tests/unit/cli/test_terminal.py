"""Colours and progress: on a terminal, where the user wants them, and nowhere else."""

from __future__ import annotations

import io
import os
import select
import sys
import termios
from collections.abc import Callable, Iterator, Mapping

import pytest

from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output
from kheaders_adb.errors import UsageError

XTERM = {"TERM": "xterm-256color"}


class Terminal:
    """A pseudo-terminal in the place of stderr, and what was shown on it."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.file = os.fdopen(slave, "w", encoding="utf-8")

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

    def standard(environ: Mapping[str, str], **output: bool) -> Console:
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


def test_a_transfer_that_takes_its_time_is_shown_and_wiped_away(
    console: MakeConsole, terminal: Terminal
) -> None:
    with console(XTERM).progress("headers") as progress:
        progress.begin("X1\x1b[m: headers")
        update = progress.on_progress
        assert update is not None
        shown, done_bytes = "", 0
        while "headers" not in shown and done_bytes < 4 << 20:
            done_bytes += 1 << 15
            update(done_bytes, 4 << 20)
            shown += terminal.shown()
        assert "X1\\x1b[m: headers" in shown
        assert "/4.00M" in shown
    assert terminal.shown().rpartition("\r")[0].endswith(" " * 20), "the line is cleared"


def test_a_short_transfer_is_not_shown(console: MakeConsole, terminal: Terminal) -> None:
    with console(XTERM).progress("X1: headers") as progress:
        assert progress.on_progress is not None
        progress.on_progress(100, 100)
    assert "headers" not in terminal.shown()


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {**XTERM, "CI": "1"}])
def test_no_progress_where_it_is_not_wanted(
    console: MakeConsole, terminal: Terminal, environ: Mapping[str, str]
) -> None:
    with console(environ).progress("X1: headers") as progress:
        assert progress.on_progress is None
    assert terminal.shown() == ""
