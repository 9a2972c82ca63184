"""Tables and records on stdout: plain columns for programs, as wide as the terminal for people.

Programs cut columns out of what they read, so that in a pipe nothing is ever folded.  On a terminal long
cells are folded; where even that does not fit, each row becomes a block of lines.  Nothing is left out, and
no key or serial is broken, or it could not be copied from there.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kheaders_adb.cli.console import Console
from kheaders_adb.model import CheckStatus, Level
from kheaders_adb.untrusted.text import harmless

if TYPE_CHECKING:
    from rich.console import Console as Canvas
    from rich.text import Text

_GAP = 2
_FOLDED_TO = 12
_INDENT = 4
_RESET = "\033[0m"


class Tone(enum.Enum):
    """How good what a cell says is, as the number of its colour."""

    GOOD = 32
    DOUBTFUL = 33
    BAD = 31

    @property
    def style(self) -> str:
        """Its name in rich."""
        return {Tone.GOOD: "green", Tone.DOUBTFUL: "yellow", Tone.BAD: "red"}[self]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell.

    Attributes:
        text: what is in it; words of a device are made harmless here.
        tone: how good that is.
        toned: how many characters of it have the tone's colour; None for all.
        hang: how far the lines that go on with it are set in, where it has to be folded.
    """

    text: str
    tone: Tone | None = None
    toned: int | None = None
    hang: int = 0

    def painted(self, *, colour: bool) -> str:
        """Its text, coloured as a terminal has it."""
        text = harmless(self.text)
        if self.tone is None or not colour or not text:
            return text
        toned = len(text) if self.toned is None else self.toned
        return f"\033[{self.tone.value}m{text[:toned]}{_RESET}{text[toned:]}"


_LEVELS = {
    Level.EXACT: Tone.GOOD,
    Level.CONSISTENT: Tone.GOOD,
    Level.REPAIRED: Tone.DOUBTFUL,
    Level.UNMATCHED: Tone.DOUBTFUL,
    Level.MISMATCH: Tone.BAD,
}
_STATUSES = {
    CheckStatus.AGREE: Tone.GOOD,
    CheckStatus.DIFFER: Tone.BAD,
    CheckStatus.UNKNOWN: Tone.DOUBTFUL,
}


def level_tone(level: Level) -> Tone:
    """How good a verdict is."""
    return _LEVELS[level]


def status_tone(status: CheckStatus) -> Tone:
    """How good it is what a check has found."""
    return _STATUSES[status]


def put_table(
    console: Console,
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    folded: Collection[str] = (),
) -> None:
    """Write rows below the titles of their columns.

    Args:
        console: where to.
        titles: one for each column; the first one tells the rows apart.
        rows: the cells.
        folded: the titles of the columns whose cells may be folded.
    """
    every = [[Cell(title) for title in titles], *rows]
    if console.width is None:
        _put(console, table(every, colour=console.out_colour))
        return
    from rich.cells import cell_len

    natural = [
        max(cell_len(harmless(cell.text)) for cell in column) for column in zip(*every, strict=True)
    ]
    least = [
        min(width, max(_FOLDED_TO, len(title))) if title in folded else width
        for title, width in zip(titles, natural, strict=True)
    ]
    room = console.width - _GAP * (len(titles) - 1)
    if sum(least) > room:
        canvas = _canvas(console, console.width)
        for row in rows:
            _draw_block(canvas, titles, row)
    else:
        # Versions of rich differ in whether the gap after the last column counts: here is room for it.
        canvas = _canvas(console, console.width + _GAP)
        _draw_grid(canvas, _narrowed(natural, least, room), every)
    _put(console, _drawn(canvas))


def put_record(console: Console, rows: Sequence[tuple[Cell, Cell]]) -> None:
    """Write what is known of one thing: on each line a name, and what it is."""
    if console.width is None:
        _put(console, table(rows, colour=console.out_colour))
        return
    canvas = _canvas(console, console.width)
    _draw_record(canvas, rows)
    _put(console, _drawn(canvas))


def table(rows: Sequence[Sequence[Cell]], *, colour: bool = False) -> list[str]:
    """Rows as aligned columns, two spaces apart."""
    widths = [
        max(len(harmless(cell.text)) for cell in column) for column in zip(*rows, strict=True)
    ]
    return [
        (" " * _GAP)
        .join(
            cell.painted(colour=colour) + " " * (width - len(harmless(cell.text)))
            for cell, width in zip(row, widths, strict=True)
        )
        .rstrip(" ")
        for row in rows
    ]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of texts as lines of plain columns, whatever they are written to."""
    return table([[Cell(text) for text in row] for row in rows])


def _put(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.painted(line)


def _canvas(console: Console, width: int) -> Canvas:
    """What rich draws on: it asks neither the environment nor a terminal, and guesses at nothing."""
    import io

    from rich.console import Console as Canvas

    return Canvas(
        file=io.StringIO(),
        width=width,
        height=1,
        force_terminal=True,
        color_system="standard" if console.out_colour else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )


def _drawn(canvas: Canvas) -> list[str]:
    import io

    assert isinstance(canvas.file, io.StringIO)
    return [line.rstrip(" ") for line in canvas.file.getvalue().split("\n")[:-1]]


def _text(cell: Cell) -> Text:
    """A cell's text, which rich is not to read as its markup."""
    from rich.text import Text

    text = Text(harmless(cell.text))
    if cell.tone is not None:
        text.stylize(cell.tone.style, 0, cell.toned)
    return text


def _narrowed(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """The widths of columns that have so much room together: the widest give first."""
    widths = list(natural)
    while sum(widths) > room:
        _, widest = max((width, at) for at, width in enumerate(widths) if width > least[at])
        widths[widest] -= 1
    return widths


def _draw_grid(canvas: Canvas, widths: Sequence[int], rows: Sequence[Sequence[Cell]]) -> None:
    from rich.table import Table

    grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    for row in rows:
        grid.add_row(*map(_text, row))
    canvas.print(grid)


def _draw_block(canvas: Canvas, titles: Sequence[str], row: Sequence[Cell]) -> None:
    """A row on lines of its own: what tells it from others, and below it the rest."""
    _draw(canvas, _text(row[0]))
    rest = []
    for title, cell in zip(titles[1:], row[1:], strict=True):
        if cell.text:
            # What needs no title is a remark.
            remark = replace(cell, text=f"  {cell.text}")
            rest.append((Cell(f"  {title.lower()}"), cell) if title else (remark, Cell("")))
    _draw_record(canvas, rest)


def _draw_record(canvas: Canvas, rows: Sequence[tuple[Cell, Cell]]) -> None:
    from rich.text import Text

    names = [_text(name) for name, _ in rows]
    start = column = _GAP + max((name.cell_len for name in names), default=0)
    for name, (_, cell) in zip(names, rows, strict=True):
        if name.plain.strip():  # else it goes on with what is above
            start = column
        lines = _folded(cell, canvas.width - start)
        if any(line.cell_len > canvas.width - start for line in lines):
            # A word that has no room there is moved to the left, to lines of its own.
            start = min(_INDENT, column)
            lines = _folded(cell, canvas.width - start)
            if name.plain.strip():
                _draw(canvas, name)
                name = Text()
        for line in lines:
            name.pad_right(start - name.cell_len)
            _draw(canvas, name + line)
            name = Text()


def _folded(cell: Cell, width: int) -> list[Text]:
    """A cell's text in lines of a width; a longer word stays whole, and so does not fit."""
    from rich.text import Text

    hang = cell.hang if width - cell.hang >= _FOLDED_TO else 0
    found: list[Text] = []
    for part in _text(cell).split("\n", allow_blank=True):
        line, left = Text(), width
        # What is set in below another row's column has the column of this one here.
        words = re.finditer(r"^ *\S+|\S+", part.plain.lstrip(" ") if found else part.plain)
        offset = len(part.plain) - len(part.plain.lstrip(" ")) if found else 0
        end = 0
        for word in words:
            taken = part[offset + end : offset + word.end()]
            if line.plain.strip() and taken.cell_len > left:
                found.append(line)
                line, taken = Text(" " * hang), part[offset + word.start() : offset + word.end()]
                left = width - hang
            line += taken
            left -= taken.cell_len
            end = word.end()
        found.append(line)
    return found


def _draw(canvas: Canvas, line: Text) -> None:
    # Neither folded nor cut here: what is too long is for the terminal to fold.
    canvas.print(line, soft_wrap=True)
