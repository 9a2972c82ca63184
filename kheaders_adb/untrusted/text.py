"""Untrusted text made fit for a message, a line or a terminal.

What a device, an archive or a module says may want to act on the terminal that shows it.  Characters that
Python calls unprintable (controls, bidirectional overrides, surrogates, unassigned ones) become backslash
escapes; the three functions differ in what they keep of the text's form.
"""

from __future__ import annotations

_LONGEST = 160


def printable(text: str | bytes, longest: int = _LONGEST) -> str:
    """Return the text escaped and cut short: for names and values in the middle of a message.

    Args:
        text: bytes that are not UTF-8 become backslash escapes too.
        longest: how many characters to return at the most.
    """
    if isinstance(text, bytes):
        text = text[: 4 * longest].decode("utf-8", "backslashreplace")
    shown = _escaped(text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def one_line(text: str) -> str:
    """Return the text escaped and on one line: for what a device's shell or server said."""
    return _escaped(" ".join(text.split()))


def harmless(text: str, *, keep: str = "") -> str:
    """Return the text escaped but for the ends of lines: for a message that is whole already.

    Args:
        keep: other characters that stay as they are.
    """
    return "\n".join(_escaped(line, keep) for line in text.split("\n"))


def _escaped(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in keep
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
