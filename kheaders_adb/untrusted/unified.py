"""Two texts compared line by line, whoever wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

#: Finding what two texts have in common takes the product of these in the worst case: half a minute.
_MOST_LINES = 20_000
_MOST_PAIRS = 2_000_000
_CONTEXT = 3


@dataclass(frozen=True, slots=True)
class LineCounts:
    """How many lines one of two texts has and the other has not; a line that only moved is none."""

    added: int
    removed: int


def count_lines(before: bytes | None, after: bytes | None) -> LineCounts:
    """Return how many lines of two texts are not in the other one; linear in their length."""
    old, new = (
        Counter(text.removesuffix(b"\n").split(b"\n") if text else ()) for text in (before, after)
    )
    return LineCounts((new - old).total(), (old - new).total())


def unified(before: bytes | None, after: bytes | None, *, names: tuple[str, str]) -> list[str]:
    """Return a unified diff, line by line without their ends; empty if nothing differs.

    Args:
        before, after: the texts; None for one that is not there.
        names: what each is called.

    Bytes that are not UTF-8 become surrogates, so that the diff can be written to the letter.  What is too
    long, or repeats itself too much, to be compared in a bounded time is given as removed and added in one.
    """
    if before == after:
        return []
    old, new = _lines(before), _lines(after)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    # The context of what differs at the borders.
    head, tail = max(0, head - _CONTEXT), max(0, tail - _CONTEXT)
    ours, theirs = old[head : len(old) - tail], new[head : len(new) - tail]
    header = [
        f"--- {names[0] if before is not None else '/dev/null'}",
        f"+++ {names[1] if after is not None else '/dev/null'}",
    ]
    if _is_costly(ours, theirs):
        return [
            *header,
            f"@@ -{_range(head, len(ours))} +{_range(head, len(theirs))} @@",
            *(f"-{line}" for line in ours),
            *(f"+{line}" for line in theirs),
        ]
    return [*header, *_hunks(ours, theirs, head)]


def _hunks(old: Sequence[str], new: Sequence[str], offset: int) -> list[str]:
    from difflib import SequenceMatcher  # slow to import

    found = []
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(_CONTEXT):
        first, last = group[0], group[-1]
        here = _range(offset + first[1], last[2] - first[1])
        there = _range(offset + first[3], last[4] - first[3])
        found.append(f"@@ -{here} +{there} @@")
        for tag, from_1, to_1, from_2, to_2 in group:
            if tag == "equal":
                found += [f" {line}" for line in old[from_1:to_1]]
            else:
                found += [f"-{line}" for line in old[from_1:to_1]]
                found += [f"+{line}" for line in new[from_2:to_2]]
    return found


def _lines(text: bytes | None) -> list[str]:
    if not text:
        return []
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    if lines[-1]:
        lines[-1] += "\n\\ No newline at end of file"
        return lines
    return lines[:-1]


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines both begin with."""
    pairs = zip(old, new, strict=False)
    return next(
        (at for at, (one, other) in enumerate(pairs) if one != other), min(len(old), len(new))
    )


def _is_costly(old: Sequence[str], new: Sequence[str]) -> bool:
    if max(len(old), len(new)) > _MOST_LINES:
        return True
    counts = Counter(new)
    return sum(counts[line] for line in old) > _MOST_PAIRS


def _range(start: int, count: int) -> str:
    """As `diff` writes it: where nothing is, the line before."""
    return f"{start + 1 if count else start},{count}" if count != 1 else f"{start + 1}"
