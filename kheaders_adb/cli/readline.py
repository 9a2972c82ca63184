"""A line as bash's readline has it: which words it holds, and how what is inserted must be quoted.

Bash gives a completion the line as it was typed, and inserts what comes back to the letter: so the quotes are
ours to read and to write.  It also cuts words at ``COMP_WORDBREAKS``, which has ``:``, ``=`` and ``@`` in
it, and inserts in the place of the last piece only.
"""

from __future__ import annotations

from dataclasses import dataclass

_PLAIN = frozenset("-_./:=@%+,")
_IN_DOUBLE_QUOTES = frozenset('$`"\\')


@dataclass(frozen=True, slots=True)
class Line:
    """The words up to the cursor.

    Attributes:
        words: all of them without their quotes, the program's name first; the last is the one to complete.
        kept: how many characters of the last one readline leaves as they are.
        quote: the quote that is open, or nothing.
    """

    words: tuple[str, ...]
    kept: int = 0
    quote: str = ""

    def insertion(self, word: str) -> str | None:
        """What readline is to insert for `word`; None if that does not begin as the last word does.

        Whatever `word` holds, the shell reads it as one word and finds nothing in it to expand or to run.
        """
        if not word.startswith(self.words[-1]):
            return None
        rest = word[self.kept :]
        if not self.quote:
            return "".join(
                char if char.isalnum() or char in _PLAIN else f"\\{char}" for char in rest
            )
        if self.quote == "'":
            text = rest.replace("'", r"'\''")
        elif "!" in rest:
            return None  # between double quotes nothing hides it from the history
        else:
            text = "".join(f"\\{char}" if char in _IN_DOUBLE_QUOTES else char for char in rest)
        # Readline closes the quotes, but not where it believes that they are closed already.
        return text + self.quote if text.endswith(self.quote) else text


def parse(text: str, breaks: str) -> Line:
    """Read a line as far as the cursor.

    Args:
        text: the line; what it would expand to is not looked into.
        breaks: ``COMP_WORDBREAKS``.
    """
    words: list[str] = []
    word: list[str] = []
    is_begun = False
    kept = kept_before = 0
    quote = ""
    chars = iter(text)
    for char in chars:
        if quote == "'" and char != quote:
            word.append(char)
        elif char == "\\":
            following = next(chars, "")
            if quote and following not in _IN_DOUBLE_QUOTES:
                word.append(char)
            word += following
        elif char == quote:
            quote, kept = "", kept_before
        elif quote:
            word.append(char)
        elif char in "'\"":
            quote, kept_before, kept = char, kept, len(word)
        elif char in " \t\n":
            if is_begun:
                words.append("".join(word))
            word, is_begun, kept = [], False, 0
            continue
        else:
            word.append(char)
            if char in breaks:
                # A prefix of its own, as of hosts, is replaced along with the piece that it begins.
                kept = len(word) - (char == "@")
        is_begun = True
    return Line((*words, "".join(word)), kept, quote)
