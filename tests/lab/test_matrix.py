"""Every kernel of the lab against every archive: nothing wrong is exact, nothing right is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.lab import Lab
from tests.lab.conftest import missing
from tests.lab.matrix import LIMITS, MISMATCH, REFUSED, Cells, belongs, cells_of, record, shown

PAGE = Path(__file__).parents[2] / "docs" / "matching.md"


@pytest.fixture(scope="module")
def cells(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cells:
    """What match says of all that this machine has."""
    recorded = record(lab, tmp_path_factory.mktemp("matrix"))
    if not recorded.kernels or not recorded.archives:
        missing(recorded.left_out[0])
    return cells_of(recorded)


def test_nothing_is_called_exact_that_is_not(cells: Cells) -> None:
    exact = {pair for pair, level in cells.items() if level == "exact"}
    assert exact, "there is something to be wrong about"
    assert [pair for pair in exact if not belongs(*pair)] == [
        pair for pair in exact if LIMITS.get(pair) == "exact"
    ]


def test_nothing_that_belongs_is_refused(cells: Cells) -> None:
    wrong = {
        pair for pair, level in cells.items() if level in (MISMATCH, REFUSED) and belongs(*pair)
    }
    assert wrong == {pair for pair in cells if LIMITS.get(pair) == MISMATCH}


def test_what_cannot_be_told_is_what_is_said_to_be_so(cells: Cells) -> None:
    for pair in LIMITS.keys() & cells.keys():
        assert cells[pair] == LIMITS[pair], pair


def test_an_odd_archive_gets_no_verdict(cells: Cells) -> None:
    odd = {level for (archive, _), level in cells.items() if archive == "odd autoconf.h"}
    assert odd <= {REFUSED}


def test_the_page_holds_what_the_matrix_gives(cells: Cells) -> None:
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("|")
    ]
    begin = next(at for at, line in enumerate(lines) if line[0] == "archive \\ kernel")
    heads = lines[begin][1:]
    page = {
        (line[0], kernel): cell
        for line in lines[begin + 2 :]
        if len(line) == len(heads) + 1
        for kernel, cell in zip(heads, line[1:], strict=True)
    }
    assert {pair: shown(level, *pair) for pair, level in cells.items()} == {
        pair: page.get(pair) for pair in cells
    }, "make matrix prints the table anew"
