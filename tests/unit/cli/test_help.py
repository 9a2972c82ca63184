"""What ``--help`` says, word for word."""

from __future__ import annotations

import re

import pytest
import typer.main

import kheaders_adb
from kheaders_adb.cli.app import app
from kheaders_adb.cli.storage import SUBCOMMANDS
from tests.unit.cli.conftest import Run
from tests.unit.golden import FOLDER, check_golden

_NAMES = sorted(typer.main.get_command(app).list_commands(None))  # type: ignore[attr-defined]
COMMANDS = [*_NAMES, *(f"store {name}" for name in SUBCOMMANDS)]


def test_the_program(run: Run) -> None:
    done = run("--help")
    assert (done.code, done.err) == (0, "")
    check_golden("help.txt", done.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(run: Run, name: str) -> None:
    done = run(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    check_golden(f"help-{name.replace(' ', '-')}.txt", done.out)


def test_no_golden_file_is_left_from_a_command_that_is_gone() -> None:
    named = {path.stem.removeprefix("help-") for path in FOLDER.glob("help-*.txt")}
    assert named == {name.replace(" ", "-") for name in COMMANDS}


def test_help_fits_the_terminal_and_has_no_colour(run: Run) -> None:
    for name in COMMANDS:
        out = run(*name.split(), "-h").out
        assert "\x1b" not in out
        assert max(map(len, out.splitlines())) <= 80


def test_every_option_says_what_it_does(run: Run) -> None:
    """An option whose second column is empty is one that somebody forgot."""
    for name in COMMANDS:
        options = run(*name.split(), "--help").out.partition("Options:\n")[2]
        bare = [
            line
            for line, following in zip(
                options.splitlines(), [*options.splitlines()[1:], ""], strict=True
            )
            if re.fullmatch(r"  -\S.*", line)
            and "  " not in line.strip()
            and not following.startswith("      ")
        ]
        assert not bare, name


def test_version(run: Run) -> None:
    done = run("--version")
    assert (done.code, done.out) == (0, f"kheaders-adb {kheaders_adb.__version__}\n")


def test_no_command_at_all_is_a_question(run: Run) -> None:
    done = run()
    assert done.code == 2
    assert "Commands:" in done.out + done.err
