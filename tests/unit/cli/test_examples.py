"""The examples of the help: their commands are commands, and their output is in the program's own words."""

from __future__ import annotations

import re
import shlex

import pytest
import typer.main

from kheaders_adb.cli.app import app
from kheaders_adb.cli.console import PROGRAM
from kheaders_adb.cli.examples import EXAMPLES
from tests.unit.said import HOLE, texts

LINES = [
    pytest.param(line, id=f"{name or 'program'}-{number}")
    for name, blocks in EXAMPLES.items()
    for number, line in enumerate("\n".join(blocks).splitlines())
]
TYPED = [line for line in LINES if str(line.values[0]).startswith("$ ")]
SHOWN = [line for line in LINES if line not in TYPED]
LETTERS = 5


def test_every_command_has_an_example_of_itself() -> None:
    program = typer.main.get_command(app)
    names = program.list_commands(None)  # type: ignore[attr-defined]
    assert {name.partition(" ")[0] for name in EXAMPLES} == {"", *names}
    for name, blocks in EXAMPLES.items():
        assert blocks
        for block in blocks:
            assert block.startswith("$ ")
            assert f"{PROGRAM} {name}" in block


@pytest.mark.parametrize("line", TYPED)
def test_what_is_typed_is_a_command_line(line: str) -> None:
    found = re.search(rf'{PROGRAM} ([^|)"]*)', line)
    assert found is not None
    name, *words = shlex.split(found[1])
    program = typer.main.get_command(app)
    with program.make_context(PROGRAM, [], resilient_parsing=True) as context:
        command = program.get_command(context, name)  # type: ignore[attr-defined]
        command.make_context(name, words, parent=context).close()


@pytest.mark.parametrize("line", SHOWN)
def test_what_is_shown_is_what_the_program_says(line: str) -> None:
    # Columns are apart by two blanks; a cell of one word is a name or a number.
    for cell in re.split(r"\s{2,}", line.strip()):
        if " " in cell and re.search(r"[a-z]{4}", cell):
            assert any(phrase.search(cell) for phrase in PHRASES), cell


def phrases() -> list[re.Pattern[str]]:
    """What the program can say, with what it fills in left open."""
    said = {
        text.strip()
        for message in texts()
        if not message.where.startswith("cli/examples.py")
        for text in message.text.split("\n")
    }
    return [
        re.compile(".*".join(map(re.escape, text.split(HOLE))))
        for text in sorted(said)
        if " " in text and len(re.findall("[a-z]", text)) >= LETTERS
    ]


PHRASES = phrases()
