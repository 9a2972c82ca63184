"""The line about what goes on: in one line, out of the way of what is said, and gone at the end."""

from __future__ import annotations

import re
import termios
import threading
import time
from collections.abc import Callable

import pytest

from kheaders_adb.cli import status
from kheaders_adb.cli.console import Console
from kheaders_adb.errors import UsageError
from kheaders_adb.steps import StepKind, Steps

from .test_terminal import XTERM, MakeConsole, Terminal, console, terminal

__all__ = ["console", "terminal"]

WIPE = "\r\x1b[K"
LONG = "/" + "/".join(["folder"] * 30)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_MOMENT_S", 0.0)
    monkeypatch.setattr(status, "_TICK_S", 0.06)  # longer than `Terminal.shown` waits for more


def shown_until(terminal: Terminal, wanted: str) -> str:
    """All that is shown, until `wanted` has been."""
    shown = ""
    until_s = time.monotonic() + 20
    while wanted not in shown:
        assert time.monotonic() < until_s, shown
        shown += terminal.shown()
    return shown


def test_a_step_is_shown_and_wiped_away(console: MakeConsole, terminal: Terminal) -> None:
    with console(XTERM).doing(StepKind.READ, "/proc/\x1b[2Jx", serial="X1"):
        shown = shown_until(terminal, "x")
    assert shown == "\rX1: reading /proc/\\x1b[2Jx\x1b[K"
    assert terminal.shown() == WIPE
    time.sleep(0.1)
    assert terminal.shown() == "", "nothing comes after the end"


def test_a_short_step_is_not_shown(
    console: MakeConsole, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_MOMENT_S", 60.0)
    with console(XTERM).doing(StepKind.GC):
        time.sleep(0.1)
    assert terminal.shown() == ""


def test_what_follows_something_shown_is_shown_however_short(
    console: MakeConsole, terminal: Terminal
) -> None:
    found = console({**XTERM, "NO_COLOR": "1"})
    with found.status() as line, Steps(line.on_step, "X1") as steps:
        steps.begin(StepKind.SOURCE)
        shown = shown_until(terminal, StepKind.SOURCE.doing)
        found.announce("loading")
        for kind in (StepKind.CHECK, StepKind.STAGE):
            steps.begin(kind)
    shown += terminal.shown()
    assert re.findall(r"\rX1: (\w+) the headers", shown) == ["checking", "staging"]
    assert shown.endswith(WIPE)


def test_the_seconds_tick(console: MakeConsole, terminal: Terminal) -> None:
    with console(XTERM).doing(StepKind.GC):
        shown_until(terminal, " 1 s\x1b[K\r")
        assert terminal.shown() == ""  # drawn only if there is something new


@pytest.mark.parametrize("columns", [4, 10, 40, 80])
@pytest.mark.parametrize("serial", ["X1", "電" * 60])
@pytest.mark.parametrize("has_size", [False, True])
def test_it_fits_the_terminal(
    console: MakeConsole, terminal: Terminal, columns: int, serial: str, has_size: bool
) -> None:
    terminal.resize(columns)
    with console(XTERM).doing(StepKind.READ, LONG, serial=serial) as line:
        if has_size:
            assert line.on_progress is not None
            line.on_progress(1 << 20, 4 << 20)
        shown = shown_until(terminal, "\x1b[K")
    for text in re.findall(r"\r([^\r\x1b]*)", shown):
        assert sum(2 if char == "電" else 1 for char in text) < columns
    assert "\n" not in shown


def test_a_size_that_is_known_makes_a_bar(console: MakeConsole, terminal: Terminal) -> None:
    with console(XTERM).doing(StepKind.READ, serial="X1") as line:
        assert line.on_progress is not None
        line.on_progress(1 << 20, 4 << 20)
        shown = shown_until(terminal, "4.00M")
    assert re.search(r"X1: reading: +25%\|.* 1\.00M/4\.00M", shown)


def test_whatever_is_said_has_the_line_to_itself(
    console: MakeConsole, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = console({**XTERM, "NO_COLOR": "1"})
    says: list[tuple[Callable[[Console], None], str]] = [
        (lambda console: console.say("said"), "said"),
        (lambda console: console.warn("beware"), "kheaders-adb: warning: beware"),
        (lambda console: console.announce("adb root"), "kheaders-adb: adb root"),
        (lambda console: console.error(UsageError("no")), "kheaders-adb: error: no"),
        (lambda console: console.diagnostics(b"x.c:1"), "x.c:1"),
        (lambda console: console.result("result"), "result"),
    ]
    with found.doing(StepKind.GC):
        for say, text in says:
            shown_until(terminal, StepKind.GC.doing)
            monkeypatch.setattr("sys.stdout", terminal.file)
            # Another console, as where errors are told.
            say(console({**XTERM, "NO_COLOR": "1"}))
            assert f"{WIPE}{text}\r\n" in shown_until(terminal, text + "\r\n")


def test_an_error_and_a_signal_leave_a_clean_line(console: MakeConsole, terminal: Terminal) -> None:
    for error in (UsageError("no"), KeyboardInterrupt()):

        def work(error: BaseException = error) -> None:
            with console(XTERM).doing(StepKind.GC):
                shown_until(terminal, StepKind.GC.doing)
                raise error

        with pytest.raises(type(error)):
            work()
        assert terminal.shown() == WIPE


def test_of_several_devices_the_last_that_began_is_shown(
    console: MakeConsole, terminal: Terminal
) -> None:
    with console(XTERM).status() as line:
        one, two = Steps(line.on_step, "X1"), Steps(line.on_step, "X2")
        one.begin(StepKind.PROBE)
        shown_until(terminal, "X1")
        two.begin(StepKind.PROBE)
        shown_until(terminal, "X2")
        two.end()
        shown_until(terminal, "X1")
    assert terminal.shown() == WIPE, "also of what was not ended"
    time.sleep(0.2)
    assert terminal.shown() == ""


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {**XTERM, "CI": "1"}])
def test_nothing_where_it_is_not_wanted(
    console: MakeConsole, terminal: Terminal, environ: dict[str, str]
) -> None:
    for found in (console(environ), console(XTERM, quiet=True)):
        with found.doing(StepKind.GC) as line:
            assert (line.on_step, line.on_progress) == (None, None)
            time.sleep(0.05)
    assert terminal.shown() == ""


def test_a_figure_that_does_not_fit_is_left_out_whole(
    console: MakeConsole, terminal: Terminal
) -> None:
    terminal.resize(8)
    with console(XTERM).doing(StepKind.READ) as line:
        assert line.on_progress is not None
        line.on_progress(49, 100)
        assert shown_until(terminal, "\x1b[K") == "\r... 49%\x1b[K"
        assert shown_until(terminal, "\x1b[K") == "\rreading\x1b[K"


def test_nobody_waits_for_a_line_that_is_being_drawn(terminal: Terminal) -> None:
    drawing, go_on = threading.Event(), threading.Event()

    def width() -> int:
        drawing.set()
        go_on.wait(60)
        return 80

    try:
        with status.StatusLine(terminal.file, width) as line:
            steps = Steps(line.on_step, "X1")
            steps.begin(StepKind.READ)
            assert drawing.wait(20)
            began_s = time.monotonic()
            steps.begin(StepKind.GC)
            assert line.on_progress is not None
            line.on_progress(1, 2)
            steps.end()
            assert time.monotonic() - began_s < 0.1, "who works does not wait at all"
            with line.aside():
                terminal.file.write("said")
        assert time.monotonic() - began_s < 10
    finally:
        go_on.set()
    assert terminal.shown() == "said", "nothing comes after the end"


def test_nothing_is_drawn_on_a_terminal_that_is_paused(
    console: MakeConsole, terminal: Terminal
) -> None:
    fd = terminal.file.fileno()
    with console(XTERM).doing(StepKind.GC) as line:
        shown_until(terminal, StepKind.GC.doing)
        termios.tcflow(fd, termios.TCOOFF)
        began_s = time.monotonic()
        with line.aside():
            pass
        time.sleep(1.2)  # for the seconds to change
        with line.aside():
            pass
        assert time.monotonic() - began_s < 1.35, "the turn was free"
        termios.tcflow(fd, termios.TCOON)
        shown_until(terminal, f"{StepKind.GC.doing} 1 s")
    assert terminal.shown() == WIPE
