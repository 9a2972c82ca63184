"""The kernels that a user may have meant: as rows for a message, and as values for programs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from kheaders_adb.errors import Candidate
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.untrusted.text import printable

_MAX_ROWS = 8
_KEY_DIGITS = 12


def candidates(records: Sequence[KernelRecord]) -> tuple[Candidate, ...]:
    """The records, as an error has them."""
    return tuple(
        Candidate(record.key, record.identity.release, record.identity.machine, record.serial)
        for record in records
    )


def rows(records: Sequence[KernelRecord]) -> str:
    """A short table, each row behind a line break, for the end of a message."""
    shown = [
        (
            record.key[:_KEY_DIGITS],
            # Devices choose these; a line break would make a row.
            printable(record.identity.release),
            printable(record.identity.machine),
            f"@{printable(record.serial)}" if record.serial else "-",
            # What alone tells builds of one release apart, for a reader.
            printable(record.identity.version, 60),
        )
        for record in records[:_MAX_ROWS]
    ]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
    if len(records) > _MAX_ROWS:
        lines.append(f"and {len(records) - _MAX_ROWS} more: see `kheaders-adb list`")
    return "".join(f"\n    {line}" for line in lines)


def nearest(records: Sequence[KernelRecord], text: str) -> str | None:
    """The release, or the @SERIAL, that is spelt most like `text`; None if none is near."""
    names = [record.identity.release for record in records]
    names += [f"@{record.serial}" for record in records if record.serial]
    near = difflib.get_close_matches(text, names, n=1)
    return near[0] if near else None
