"""What the headers of an archive do with some symbols of the configuration.

Asked only where symbols differ.  It tells which of them matter to a program (some header tests them, best
of all within a structure), and which of them decide what other generated headers say: those are left from the
old configuration when ``autoconf.h`` is regenerated.
"""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from kheaders_adb.kernel.autoconf import AUTOCONF

_TOKEN = re.compile(rb"\bCONFIG_(\w+)")
_DIRECTIVE = re.compile(rb"[ \t]*#[ \t]*(\w+)[ \t]*(.*)")
_INCLUDED = re.compile(rb"[<\"]([^>\"\n]+)[>\"]")
# As kernel code is written: a structure begins and ends in the first column.
_STRUCTURE = re.compile(rb"(?:typedef[ \t]+)?(?:struct|union)[ \t]+(\w+)[^;(){}]*\{")

_GENERATED = re.compile(r"(?:arch/[^/]+/)?include/generated/(?:uapi/)?(.*)").fullmatch
# They name the build, the symbols that it exports or the architecture's own numbers, whatever is configured.
_INDEPENDENT = re.compile(
    r"autoconf\.h|utsrelease\.h|utsversion\.h|compile\.h|package\.h|linux/version\.h|autoksyms\.h|gki_module_\w+\.h"
    r"|asm/(?:unistd\w*|syscall\w*|cpucaps|cpucap-defs|sysreg-defs|orc_hash|mach-types|xen-hypercalls)\.h"
).fullmatch
_ROOT = re.compile(r"((?:arch/[^/]+/)?include/)").match
_WRAPPER = re.compile(rb"\s*#include <asm-generic/[^>\n]+>\s*").fullmatch
_OFFSETS = re.compile(r"(?:asm|vdso\w*)-offsets\.h").fullmatch
_BOUNDS = "include/generated/bounds.h"
_TIMECONST = "include/generated/timeconst.h"
# What kernel/bounds.c includes, of all versions, after what is included everywhere; and what it tests itself.
_BOUNDS_INCLUDES = (
    "linux/mmzone.h",
    "linux/page-flags.h",
    "linux/compiler_types.h",
    "linux/kconfig.h",
    "linux/kbuild.h",
    "linux/page_cgroup.h",
    "linux/log2.h",
    "linux/spinlock_types.h",
)
_BOUNDS_TESTS = frozenset({"SMP", "NR_CPUS", "LRU_GEN"})
_MOST_INCLUDES = 1_000_000  # real: 100,000
_BOUNDS_GUARD = b"__GENERATING_BOUNDS_H"


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """A header that depends on a symbol, and the structure in it that does; the best one sorts first."""

    rank: tuple[int, int, str]
    header: str
    structure: str | None


@dataclass(frozen=True, slots=True)
class Survey:
    """What the headers do with the symbols asked for.

    Attributes:
        mentions: by symbol, the header that says best what it is good for; no entry if none depends on it.
        deciding: by symbol, the generated header that it may decide, and the header by which it does.
        unknown: generated headers that may depend on anything, for all that is known here.
        offsets: the generated headers with constants for assembler, which depend on nearly anything.
    """

    mentions: Mapping[str, Mention]
    deciding: Mapping[str, tuple[str, str | None]]
    unknown: tuple[str, ...] = ()
    offsets: Mapping[str, bytes] = field(default_factory=dict)


class Surveyor:
    """Takes in an archive's headers one by one."""

    def __init__(self, symbols: Collection[str]) -> None:
        self._symbols = frozenset(symbols)
        self._tokens = {name.encode(): name for name in self._symbols}
        # In C a symbol that is =m has another name.
        self._tokens |= {f"{name}_MODULE".encode(): name for name in self._symbols}
        self._best: dict[str, Mention] = {}
        self._users: dict[str, frozenset[str]] = {}
        self._includes: dict[str, tuple[str | None, ...]] = {}
        self._unknown: list[str] = []
        self._offsets: dict[str, bytes] = {}
        self._present: set[str] = set()
        self._included = 0

    def add(self, path: str, content: bytes) -> None:
        """Take in one member; its path as that of Member."""
        if not path.endswith(".h"):
            return
        generated = _GENERATED(path)
        if generated is not None:
            self._add_generated(path, generated[1], content)
        if path != AUTOCONF:
            self._add_tokens(path, content)
            included = tuple(dict.fromkeys(_includes(content)))
            self._included += len(included)
            # Beyond all measure none is followed any more, which is to say that they may lead anywhere.
            self._includes[path] = included if self._included < _MOST_INCLUDES else (None,)

    def survey(self) -> Survey:
        """What was found."""
        deciding: dict[str, tuple[str, str | None]] = {}
        if _TIMECONST in self._present and "HZ" in self._symbols:
            deciding["HZ"] = _TIMECONST, None
        if _BOUNDS in self._present:
            for symbol, header in self._behind_bounds():
                deciding.setdefault(symbol, (_BOUNDS, header))
        return Survey(self._best, deciding, tuple(self._unknown), self._offsets)

    def _add_generated(self, path: str, name: str, content: bytes) -> None:
        self._present.add(path)
        if _OFFSETS(name):
            if content:
                self._offsets[path] = content
        elif path in (_BOUNDS, _TIMECONST) or _INDEPENDENT(name) or _WRAPPER(content):
            return
        else:
            self._unknown.append(path)

    def _add_tokens(self, path: str, content: bytes) -> None:
        found = {token for token in _TOKEN.findall(content) if token in self._tokens}
        if not found:
            return
        self._users[path] = frozenset(self._tokens[token] for token in found)
        structures: dict[str, str | None] = {}
        for structure, token in _tokens_by_structure(content):
            symbol = self._tokens.get(token)
            if symbol is not None and (structure is not None or symbol not in structures):
                structures[symbol] = structure
        for symbol, structure in structures.items():
            mention = Mention(_rank(path, structure), path, structure)
            self._best[symbol] = min(mention, self._best.get(symbol, mention))

    def _behind_bounds(self) -> Iterator[tuple[str, str | None]]:
        """The symbols that kernel/bounds.c may see, with the header that tests each."""
        for symbol in _BOUNDS_TESTS & self._symbols:
            yield symbol, None
        by_name: dict[str, list[str]] = {}
        for path in self._includes:
            for name in _names(path):
                by_name.setdefault(name, []).append(path)
        waiting = deque(path for name in _BOUNDS_INCLUDES for path in by_name.get(name, ()))
        seen: set[str] = set()
        while waiting:
            path = waiting.popleft()
            if path in seen:
                continue
            seen.add(path)
            yield from ((symbol, path) for symbol in self._users.get(path, ()))
            for included in self._includes[path]:
                if included is None:  # a macro, which may stand for any header
                    yield from ((symbol, path) for symbol in self._symbols)
                    return
                beside = posixpath.normpath(posixpath.join(posixpath.dirname(path), included))
                waiting += by_name.get(included, ())
                waiting += [beside] if beside in self._includes else []


def _rank(path: str, structure: str | None) -> tuple[int, int, str]:
    """A task's structure before others, a structure before any header, the kernel's core before the rest."""
    kind = 0 if structure == "task_struct" else 1 if structure is not None else 2
    place = 0 if path.startswith("include/linux/") and path.count("/") == 2 else path.count("/")
    return kind, place, path


def _tokens_by_structure(content: bytes) -> Iterator[tuple[str | None, bytes]]:
    structure: str | None = None
    for line in content.split(b"\n"):
        if line.startswith(b"}"):
            structure = None
        elif begins := _STRUCTURE.match(line):
            structure = begins[1].decode("ascii", "replace")
        for token in _TOKEN.findall(line):
            yield structure, token


def _includes(content: bytes) -> Iterator[str | None]:
    """What a header includes, whatever the conditions; None for a macro.

    Only what bounds.c leaves out, as it defines the macro for that, is left out here too.
    """
    guarded = _BOUNDS_GUARD in content
    left_out: list[bool] = []
    depth_left_out = 0
    for line in content.replace(b"\\\n", b" ").split(b"\n"):
        directive = _DIRECTIVE.match(line)
        if directive is None:
            continue
        word, rest = directive[1], directive[2]
        if word in (b"include", b"include_next") and not depth_left_out:
            name = _INCLUDED.match(rest)
            yield None if name is None else name[1].decode("utf-8", "replace")
        elif guarded and word in (b"if", b"ifdef", b"ifndef"):
            left_out.append(word == b"ifndef" and rest.strip() == _BOUNDS_GUARD)
            depth_left_out += left_out[-1]
        elif guarded and word in (b"else", b"elif") and left_out:
            depth_left_out -= left_out[-1]
            left_out[-1] = False
        elif guarded and word == b"endif" and left_out:
            depth_left_out -= left_out.pop()


def _names(path: str) -> set[str]:
    """The names under which the compiler finds a header by its include directories."""
    return {path[len(root) :] for root in _roots(path)}


def _roots(path: str) -> Iterator[str]:
    match = _ROOT(path)
    if match is not None:
        yield match[1]
        for part in ("generated/", "uapi/", "generated/uapi/"):
            if path.startswith(match[1] + part):
                yield match[1] + part
