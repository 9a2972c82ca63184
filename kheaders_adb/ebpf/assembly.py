"""What of the front stage's code may reach the BPF stage, whose assembler reads any file of the host.

Headers come from a device.  ``.incbin`` in an asm of theirs would put a file of the host into the object,
which then goes onto the device, and there are many ways to write it: a macro, a quoted name, an operand
whose symbol is called so.  So nothing is searched for.  The front stage's code is text, in which an asm
is a string that clang has written; all of these are found, and only such pass as cannot hold a directive,
whatever it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kheaders_adb.errors import CompileError
from kheaders_adb.untrusted.text import printable

_STRING = re.compile(rb'"[^"]*"')  # a quote within one is written \22
_ESCAPE = re.compile(rb"\\(\\|[0-9A-Fa-f]{2})")
_WORD = re.compile(rb"(?<![\w.$@%!-])asm(?![\w.$-])")
_CALL = re.compile(
    rb'asm((?: (?:sideeffect|alignstack|inteldialect|unwind))*) "([^"]*)", "([^"]*)"\('
)
_MODULE = b"module asm "
_FILE_START = re.compile(rb"!\d+ = (?:distinct )?!DIFile\(")
_FILE_FIELDS = rb'!DIFile\(filename: "(?P<name>[^"]*)", directory: "(?P<folder>[^"]*)"[,)].*'
_FILE = re.compile(rb"!\d+ = (?:distinct )?" + _FILE_FIELDS)
_NAME = re.compile(rb'@("[^"]*"|[\w.$-]+)\(')

# An assembler's statement begins after these, and nowhere else; a label's colon is one of them, for what
# follows it may be a directive.  Comments hide nothing: what follows their end is looked at as well.
_STATEMENT = re.compile(rb"[\n\r\v\f;:]|\*/")
# An instruction, a store through a pointer, a number as label, a comment.  Not: a dot, a quote (".incbin"
# in quotes is a directive too), a dollar, an at.
_START = re.compile(rb"[ \t\0]*(?:[A-Za-z0-9_*/#]|\Z)")
_OPERAND = re.compile(rb"\$(?:\$|(\d+)|\{(\d+)(?::(\w+))?\}|\{:uid\})")
_REGISTER = re.compile(rb"[=+&%]*(?:[rw]|\{[rw]\d+\})")
# What an operand may add to the text.
_SYMBOL = re.compile(rb"\x01?[\w.$@\x80-\xff-]*")
_NO_START = b"@"

_UNREAD = b" (#line)"


@dataclass(frozen=True, slots=True)
class Refused:
    """An asm that could hold a directive.

    Attributes:
        text: what it says.
        at: the beginning of its line in the front stage's code.
    """

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Code for the BPF stage.

    Attributes:
        code: LLVM IR as text.
        dropped: the lines of assembly outside of functions that it does not hold any more.
        refused: the asm statements that do not assemble any more.
    """

    code: bytes
    dropped: tuple[str, ...]
    refused: tuple[Refused, ...]


def clean(code: bytes, was_read: Callable[[str], bool]) -> Cleaned:
    """Return the code without what could make the BPF stage read a file.

    Args:
        code: LLVM IR as text, as clang 14 or later writes it.
        was_read: whether the front stage has read a file, so that the BPF stage may read its lines.

    Raises:
        CompileError: it is not understood, or names a symbol as no compiler does.

    Assembly outside of functions is left out.  An asm in a function that could hold a directive is replaced
    by one that ends the assembler with a message of ours: kernel headers are full of them, in functions
    that the BPF stage then finds to be unreachable.  What else the BPF stage would open are the files that
    ``#line`` names, whose lines go into BTF; those that were not read get a name that is no file's.
    """
    _check_symbols(code)
    modules = [(at, line) for at, line in _lines_with(code, _MODULE) if line.startswith(_MODULE)]
    edits = [(at, at + len(line) + 1, b"") for at, line in modules]
    edits += _file_edits(code, was_read)
    refused: list[Refused] = []
    for at, line in _lines_with(code, b"asm "):
        for found in _calls(line):
            template = _unescape(found[2])
            if not holds_no_directive(template, found[3], found[1]):
                edits.append((at + found.start(2), at + found.end(2), _instead(len(refused))))
                refused.append(Refused(printable(template), at))
    dropped = tuple(_module_text(line) for _, line in modules)
    return Cleaned(_edited(code, edits), dropped, tuple(refused))


def refused_in(diagnostics: bytes, cleaned: Cleaned) -> Refused | None:
    """Return the asm that the BPF stage has stumbled over, or None."""
    found = re.search(rb"kheaders-adb: asm (\d{1,9}) is refused", diagnostics)
    number = int(found[1]) if found else len(cleaned.refused)
    return cleaned.refused[number] if number < len(cleaned.refused) else None


def place(code: bytes, refused: Refused) -> str:
    """Return where an asm stands: "file:line", or the function's name without debug information.

    Args:
        code: the front stage's, as ``clean`` was given it.
        refused: of that.
    """
    located = re.search(rb"!dbg !(\d+)", code[refused.at : code.find(b"\n", refused.at)])
    if located and (found := _location(code, located[1])):
        return found
    define = code.rfind(b"\ndefine ", 0, refused.at)
    name = _NAME.search(code, define, refused.at) if define >= 0 else None
    return "function " + printable(_unescape(name[1]).strip(b'"')) if name else "a function"


def holds_no_directive(template: bytes, constraints: bytes, flags: bytes = b"") -> bool:
    """Tell whether an asm certainly holds no directive for the assembler.

    Args:
        template: as in the code, unescaped: ``$0`` is an operand, ``$$`` a dollar.
        constraints: of its operands, as in the code.
        flags: as in the code.

    Every statement must begin with a letter, or with an operand that is a register: the assembler takes
    what begins with a dot for a directive, in quotes or not, and no macros exist where none can be defined.
    """
    if b"inteldialect" in flags:
        return False  # other rules for what a template means
    kinds = constraints.split(b",")

    def stand_in(operand: re.Match[bytes]) -> bytes:
        return b"r" if _is_register(operand, kinds) else _NO_START

    text = _OPERAND.sub(stand_in, template)
    if b"$" in text:
        return False  # dialects, $(a$|b$), and words of LLVM's own that no program for BPF needs
    return all(_START.match(statement) for statement in _STATEMENT.split(text))


def _is_register(operand: re.Match[bytes], kinds: list[bytes]) -> bool:
    number = operand[1] or operand[2]
    if number is None or operand[3] not in (None, b"w"):
        return False
    kind = _at(kinds, number)
    if kind.isdigit():  # the same as that one
        kind = _at(kinds, kind)
    return _REGISTER.fullmatch(kind) is not None


def _at(kinds: list[bytes], number: bytes) -> bytes:
    return kinds[int(number)] if len(number) < 4 and int(number) < len(kinds) else b""


def _check_symbols(code: bytes) -> None:
    # An operand's symbol is written into the text as it is, with any line break.
    for _, line in _lines_with(code, b'@"'):
        for found in _STRING.finditer(line):
            name = _unescape(found[0][1:-1])
            if line[: found.start()].endswith(b"@") and not _SYMBOL.fullmatch(name):
                raise CompileError(
                    f"a symbol is called {printable(name)}, which could be read as assembly",
                    step="checking the front stage's code",
                    hint='name it otherwise in its asm("…")',
                )


def _calls(line: bytes) -> Iterator[re.Match[bytes]]:
    """Yield all asm of a line of code, those of the strings in it aside."""
    if line.startswith((_MODULE, b";")):
        return
    bare = _STRING.sub(lambda found: b'"' + b"_" * (len(found[0]) - 2) + b'"', line)
    for word in _WORD.finditer(bare):
        found = _CALL.match(line, word.start())
        if found is None:
            raise CompileError(
                f"clang wrote an asm that is not understood: {printable(line)}",
                step="checking the front stage's code",
                hint="use another version of clang, and please report this one's",
            )
        yield found


def _file_edits(code: bytes, was_read: Callable[[str], bool]) -> Iterator[tuple[int, int, bytes]]:
    for at, line in _lines_with(code, b"!DIFile("):
        if not _FILE_START.match(line):
            continue  # within a string
        found = _FILE.fullmatch(line)
        if found is None:
            raise CompileError(
                f"clang wrote debug information that is not understood: {printable(line)}",
                step="checking the front stage's code",
                hint="use another version of clang, or -g0, and please report this one's",
            )
        if not was_read(_path(found)):
            yield at + found.end("name"), at + found.end("name"), _UNREAD


def _path(file: re.Match[bytes]) -> str:
    """Return where LLVM looks for a file of the debug information."""
    return os.fsdecode(
        os.path.join(_unescape(file["folder"]), _unescape(file["name"]))  # noqa: PTH118
    )


def _location(code: bytes, number: bytes) -> str | None:
    location = _node(code, number, rb"!DILocation\(line: (\d+).*scope: !(\d+)")
    scope = location and _node(code, location[2], rb".*file: !(\d+)")
    file = scope and _node(code, scope[1], _FILE_FIELDS)
    if not location or not file:
        return None
    return f"{printable(_path(file))}:{int(location[1])}"


def _node(code: bytes, number: bytes, content: bytes) -> re.Match[bytes] | None:
    start = code.find(b"\n!%s = " % number)
    return (
        re.compile(rb"\n!\d+ = (?:distinct )?" + content).match(code, start) if start >= 0 else None
    )


def _lines_with(code: bytes, word: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each line that holds a word, and where it begins."""
    at = code.find(word)
    while at >= 0:
        start = code.rfind(b"\n", 0, at) + 1
        end = code.find(b"\n", at)
        end = end if end >= 0 else len(code)
        yield start, code[start:end]
        at = code.find(word, end)


def _edited(code: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    parts, at = [], 0
    for start, end, new in sorted(edits):
        parts += [code[at:start], new]
        at = end
    return b"".join([*parts, code[at:]])


def _instead(number: int) -> bytes:
    return rb".error \22kheaders-adb: asm %d is refused\22" % number


def _unescape(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(
        lambda found: b"\\" if found[1] == b"\\" else bytes([int(found[1], 16)]), text
    )


def _module_text(line: bytes) -> str:
    return printable(_unescape(line.removeprefix(_MODULE).strip(b'"')))
