"""What clang says, as values: one for each message, without the lines of source that it shows below."""

from __future__ import annotations

import re
from dataclasses import dataclass

# "prog.c:3:5: error: …", "prog.c:3: …" and, of the command line or of kheaders-adb itself, "clang: error: …".
_MESSAGE = re.compile(
    r"(?P<file>\S.*?)(?::(?P<line>[0-9]{1,9})(?::(?P<column>[0-9]{1,9}))?)?: "
    r"(?P<severity>fatal error|error|warning|note|remark): (?P<message>.*)"
)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message of clang.

    Attributes:
        file: what it is about: a file as clang names it, or clang itself.
        line: counted from 1; None where there is none.
        column: counted from 1, in bytes; None where there is none.
        severity: "fatal error", "error", "warning", "note" or "remark".
        message: the message, with the flag that switches it off.
    """

    file: str
    line: int | None
    column: int | None
    severity: str
    message: str


def parse_diagnostics(said: bytes) -> list[Diagnostic]:
    """Read clang's standard error, which quotes headers and may hold anything.

    Args:
        said: without colours.
    """
    return [
        Diagnostic(
            found["file"],
            int(found["line"]) if found["line"] else None,
            int(found["column"]) if found["column"] else None,
            found["severity"],
            found["message"],
        )
        for text in said.decode("utf-8", "backslashreplace").split("\n")
        if (found := _MESSAGE.fullmatch(text)) is not None
    ]
