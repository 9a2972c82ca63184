"""Refusing what cannot work on 32-bit kernels.

BPF is a 64-bit machine.  The two stages agree about every type but the pointer, which has 4 bytes in a
32-bit kernel's structures and 8 in BPF: a field that follows a pointer would be read from the wrong
place without a word.  The bpf stage cannot know; so the front stage's code is searched for such accesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TYPE = re.compile(r'^(%[\w.$-]+|%"[^"]*") = type (.*)$', re.M)
_NAME = re.compile(r'%[\w.$-]+|%"[^"]*"')
_POINTER = re.compile(r"\bptr\b|\*")
_ALLOCA = re.compile(r"^ *(%[\w.$-]+) = alloca (ptr|[^,\n]*\*)(?:,|$)")
_ADDRESS = re.compile(r"= getelementptr (?:inbounds |nuw |nusw )*(?!\()(.*)$")
_LOAD = re.compile(r"= load (?:volatile )?(?:ptr|[^,\n]*\*), (?:ptr|[^,\n]*\*) (%[\w.$-]+)")
_STORE = re.compile(
    r"^ *store (?:volatile )?(?:ptr|[^,\n]*\*) [^,\n]*, (?:ptr|[^,\n]*\*) (%[\w.$-]+)"
)
_CALL = re.compile(r"\bcall\b.*?\((.*)\)")
_ZERO = re.compile(r"i\d+ 0")


def pointer_accesses(code: str) -> list[str]:
    """Return what depends on the size of a pointer, once each, in the order met; empty if nothing does.

    Args:
        code: LLVM IR as text, unoptimised, of clang 14 (typed pointers) or later.
    """
    return list(dict.fromkeys(_accesses(code)))


def _accesses(code: str) -> Iterator[str]:
    holding = _holding_pointers(dict(_TYPE.findall(code)))
    variables: set[str] = set()
    for line in code.splitlines():
        if line.startswith("define "):
            variables.clear()
        elif found := _ALLOCA.match(line):
            variables.add(found[1])
        elif found := _ADDRESS.search(line):
            kind, *operands = _split(found[1])
            indices = [part for part in operands[1:] if not part.startswith("!")]
            if _holds_pointer(kind, holding) and not all(map(_ZERO.fullmatch, indices)):
                yield _readable(kind)
        elif found := _LOAD.search(line) or _STORE.search(line):
            if found[1] not in variables:
                yield "a pointer in memory"
        elif (
            "@llvm." not in line
            and (found := _CALL.search(line))
            and variables & set(_NAME.findall(found[1]))
        ):
            yield "a pointer variable whose address is passed to a function"


def _holding_pointers(types: dict[str, str]) -> set[str]:
    """Return the names of the types that hold a pointer, however deep."""
    holding: set[str] = set()
    while True:
        more = {
            name
            for name, body in types.items()
            if name not in holding and _holds_pointer(body, holding)
        }
        if not more:
            return holding
        holding |= more


def _holds_pointer(kind: str, holding: set[str]) -> bool:
    return bool(_POINTER.search(kind)) or not holding.isdisjoint(_NAME.findall(kind))


def _split(text: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        if character in "([{<":
            depth += 1
        elif character in ")]}>":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def _readable(kind: str) -> str:
    found = re.fullmatch(r"%(struct|union)\.(\w+?)(\.\d+)?", kind)
    return f"{found[1]} {found[2]}" if found else kind
