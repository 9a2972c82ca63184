"""Untrusted text made fit for a message."""

from __future__ import annotations

_LONGEST = 160


def printable(text: str | bytes, longest: int = _LONGEST) -> str:
    """Return the text with everything that a terminal might act on escaped, and cut short.

    Bytes that are not UTF-8 and characters that Python calls unprintable (controls, bidirectional
    overrides, surrogates, unassigned ones) become backslash escapes.
    """
    if isinstance(text, bytes):
        text = text[: 4 * longest].decode("utf-8", "backslashreplace")
    shown = text[: longest + 1]
    if not shown.isprintable():
        shown = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
            for char in shown
        )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
