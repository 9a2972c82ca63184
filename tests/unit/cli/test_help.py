"""What ``--help`` says, word for word."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

import kheaders_adb
from fixtures.reference.pages import pages
from kheaders_adb.cli.app import app
from kheaders_adb.cli.examples import EXAMPLES
from kheaders_adb.cli.page import COMMAND_GROUPS, DOCUMENTATION, Kind
from kheaders_adb.cli.storage import SUBCOMMANDS
from tests.unit.cli.conftest import Run
from tests.unit.golden import FOLDER, check_golden

ROOT = Path(__file__).parents[3]
NAMES = sorted(typer.main.get_command(app).list_commands(None))  # type: ignore[attr-defined]
COMMANDS = [*NAMES, *(f"store {name}" for name in SUBCOMMANDS)]


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


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_help_fits_the_terminal_and_has_no_colour(
    run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in COMMANDS:
        out = run(*name.split(), "-h").out
        assert "\x1b" not in out
        lines = out.splitlines()
        assert max(map(len, lines)) <= 80, name
        # Words are not broken, and what a terminal shows keeps its lines.
        shown = {f"  {line}" for text in EXAMPLES[name] for line in text.splitlines()}
        long = [line for line in lines if len(line) > columns and line not in shown]
        assert not [line for line in long if len(line.split()) > 2]


def test_both_spellings_say_the_same(run: Run) -> None:
    for words in ((), ("pull",)):
        assert run(*words, "-h").out == run(*words, "--help").out


def test_each_command_is_in_one_group_and_its_summary_is_whole(run: Run) -> None:
    grouped = [name for names in COMMAND_GROUPS.values() for name in names]
    assert sorted(grouped) == NAMES
    out = run("--help").out
    said = " ".join(out.split())
    for name, summary in program_rows():
        assert summary.endswith("."), name
        assert f"{name} {summary}" in said
    assert "More:" not in out


def test_a_command_of_no_group_is_shown_all_the_same(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMAND_GROUPS, "Store upkeep", ("gc", "pin", "unpin"))
    assert "\nMore:\n  verify " in run("--help").out


def program_rows() -> list[tuple[str, str]]:
    sections = next(pages()).sections
    return [row for part in sections if part.kind is Kind.COMMANDS for row in part.rows]


def test_a_commands_own_options_come_first(run: Run) -> None:
    headings = ["Options:", "Device selection (as adb's):", "Output:", "Store:"]
    lines = run("pull", "--help").out.splitlines()
    assert [line for line in lines if line in headings] == headings
    own = lines[lines.index("Options:") : lines.index("Device selection (as adb's):")]
    assert any("--via" in line for line in own)
    assert not any("--serial" in line or "--store" in line for line in own)


def test_where_the_documentation_is() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["project"]["urls"]["Documentation"] == DOCUMENTATION


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
    assert "Devices and pulling:" in done.err
