"""What is generated is current: man pages, docs/cli.md, docs/api.md, and the tables in them."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import kheaders_adb
from fixtures.reference.files import GOLDEN, ROOT, generated, strays
from fixtures.reference.man import Edition, manual
from fixtures.reference.tables import VARIABLES, exit_codes
from kheaders_adb import errors
from kheaders_adb.cli.page import DOCUMENTATION, Kind, Page, Section

CURRENT = generated()
PAGES = [path for path in CURRENT if path.suffix == ".1"]


@pytest.mark.parametrize("path", [path for path in CURRENT if path.parent != GOLDEN], ids=str)
def test_it_is_current(path: Path) -> None:
    assert (ROOT / path).read_text("utf-8") == CURRENT[path], "run `make generated`"


def test_nothing_is_left_of_a_command_that_is_gone() -> None:
    assert strays(CURRENT) == []


def test_help_is_generated_as_it_is_said() -> None:
    # That the program says this very text is what test_help.py holds.
    for path in CURRENT:
        if path.parent == GOLDEN:
            assert (ROOT / path).read_text("utf-8") == CURRENT[path], path


def lint(program: str, *arguments: str | Path) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_mandoc_finds_nothing_in_the_man_pages() -> None:
    said = lint("mandoc", "-Tlint", "-Wwarning", *(ROOT / path for path in PAGES))
    # Pages have the date of the release, which is not there before.
    found = [line for line in said.splitlines() if "missing date" not in line]
    assert found == []


def test_groff_formats_the_man_pages_without_a_word() -> None:
    for path in PAGES:
        assert lint("groff", "-man", "-ww", "-z", "-Tutf8", ROOT / path) == ""


def formatted(page: Path) -> str:
    """What a man page shows, in one line."""
    said = lint("groff", "-man", "-ww", "-Tutf8", "-P-c", page)
    return " ".join(re.sub(r".\x08", "", said).split())


def test_a_man_page_reads_as_the_help_does() -> None:
    """Escapes are undone by whoever formats a page: options and examples can be copied out of it."""
    page = ROOT / "docs/man/kheaders-adb-pull.1"
    text = formatted(page)
    assert "kheaders-adb-pull - stage the headers of the running kernel" in text
    assert "--via <auto|sysfs|load|carve>" in text
    assert "$ cd $(kheaders-adb pull -q --module out/dist)" in text
    assert "running kernel's" in text
    assert DOCUMENTATION in text


def test_nothing_that_is_said_is_taken_for_a_request_or_an_escape(tmp_path: Path) -> None:
    odd = ".kheaders.toml is 'read' \\n \\fB -x ~ ^ → `.a -b`."
    shown = "$ .run '-x'\n.out\n'quoted' \\fI"
    section = Section("Options", Kind.OPTIONS, (("-x 'A'", "'one'. Two …"),))
    page = Page("program x", "[OPTIONS]", "Do.", (odd,), (shown,), (section,))
    program = Page("program", "", "Be.", (), (), ())
    source = tmp_path / "program-x.1"
    source.write_text(manual(page, [program], Edition("1", "2026-01-02")), "utf-8")
    assert lint("mandoc", "-Tlint", "-Wwarning", source) == ""
    text = formatted(source)
    for line in (odd.replace("`", ""), shown, "'one'. Two …"):
        assert " ".join(line.split()) in text


def test_every_exit_code_has_a_row() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.KheadersError)
    ]
    codes = {str(kind.exit_code) for kind in kinds}
    rows = dict(exit_codes())
    assert rows.keys() == codes | {"0", "129", "130", "141", "143"}
    retryable = {str(kind.exit_code) for kind in kinds if kind.retryable}
    assert {code for code, text in rows.items() if "worth repeating" in text} == retryable


def test_every_variable_that_is_read_has_a_row() -> None:
    assert sorted(name for name, _ in VARIABLES) == sorted(set(variables_read()))


def variables_read() -> Iterator[str]:
    """The names of variables in the functions that are given the environment."""
    for path in Path(kheaders_adb.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and "environ" in names_of_arguments(node):
                for inner in ast.walk(node):
                    match inner:
                        case ast.Constant(str(text)) if re.fullmatch("[A-Z][A-Z_]+", text):
                            yield text


def names_of_arguments(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]}
