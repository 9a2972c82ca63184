"""The text of ``--help``: plain, since rich would take longer than most commands do."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from kheaders_adb.cli.page import DOCUMENTATION, Kind, Page, Row, Section, page_of

MAX_WIDTH = 80
_MIN_WIDTH = 40
_MAX_TERM_WIDTH = 24
"""A longer term has a line of its own, so that it does not push all the others' meanings aside."""

_MORE = "`{} COMMAND --help` says more of a command; exit codes and environment variables are in docs/cli.md."


def help_text(command: Any, context: Any) -> str:
    """The help of a command, as wide as the terminal but no wider than `MAX_WIDTH`.

    Args:
        command: it, as typer has made it.
        context: its context.
    """
    return render(page_of(command, context), shutil.get_terminal_size().columns)


def render(page: Page, columns: int = MAX_WIDTH) -> str:
    """A page as text for a terminal of so many columns, without a line break at its end."""
    width = max(min(columns, MAX_WIDTH), _MIN_WIDTH)
    usage = f"Usage: {page.path} "
    blocks = [
        _wrapped(page.summary, width),
        _wrapped(usage + page.usage, width, " " * len(usage)),
        *(_wrapped(text, width) for text in page.paragraphs),
    ]
    if page.examples:
        shown = textwrap.indent("\n\n".join(page.examples), "  ")
        blocks.append(f"{'Examples' if len(page.examples) > 1 else 'Example'}:\n{shown}")
    for section in page.sections:
        # The commands' names are short: what they mean need not begin where the options' meanings do.
        alike = [
            other for other in page.sections if _is_of_commands(other) == _is_of_commands(section)
        ]
        at = _column([row for other in alike for row in other.rows], width)
        lines = [line for row in section.rows for line in _row(row, at, width)]
        blocks.append("\n".join([f"{section.heading}:", *lines]))
    if any(_is_of_commands(section) for section in page.sections):
        blocks.append(_wrapped(_MORE.format(page.path), width))
    blocks.append(f"Documentation: {DOCUMENTATION}")
    return "\n\n".join(blocks)


def _is_of_commands(section: Section) -> bool:
    return section.kind is Kind.COMMANDS


def _column(rows: list[Row], width: int) -> int:
    """Where the meanings begin."""
    longest = min(_MAX_TERM_WIDTH, width // 3)
    return max((len(term) for term, _ in rows if len(term) <= longest), default=0) + 4


def _row(row: Row, at: int, width: int) -> Iterator[str]:
    """A term at the left, and its meaning from the column `at` on."""
    term, meaning = row
    if len(term) > at - 4:
        yield f"  {term}"
        term = ""
    yield _wrapped(f"  {term:{at - 2}}{meaning}", width, " " * at)


def _wrapped(text: str, width: int, indent: str = "") -> str:
    return textwrap.fill(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,  # --max-age stays one word
    )
