"""Which files the front stage has read, and whether the headers had a right to them.

A header that includes a file of the host, or asks whether there is one, would put it or that into the object.
clang itself tells what it has opened or found: the list of dependencies (``-MD``, with what ``#embed`` reads
and ``__has_include`` finds) has the names, the graph of dependencies who included whom.  Neither can be faked
by ``#line``.  What the program's own files include is the user's business; what headers do is not.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kheaders_adb.errors import CompileError, UsageError
from kheaders_adb.untrusted.text import printable

# With the target of ours, flags.LIST_TARGET, as the last of all.
_RULE = re.compile(rb"(?:[^\n]* )?_:(?=[ \n]|\Z)")
_END = re.compile(rb"(?<!\\)\n")
_TOKEN = re.compile(rb"(?:\\[^\n]|[^\s\\])+")

# Flags of clang that name a folder or a file to read, with the value behind them or joined.
_NAMING = (
    *("-isystem-after", "-isystem", "-iquote", "-idirafter", "-include", "-imacros", "-I"),
    *("-resource-dir=", "-resource-dir", "--include-directory=", "--include-directory"),
)
# Such as make something else than code, or have clang do something else.
_OF_OTHER_KINDS = r"-E|-o.*|-fsyntax-only|-emit-(ast|pch)|--analyze|-###|--?(version|help)"
# Such as write another list, or write it in other ways.  Compiled when there are flags to look at.
_OF_OUR_LIST = (
    r"-M|-MM|-MD|-MMD|-MG|-MV|-MF.*|-Wp,-M.*|--dependencies|--(user|write)-.*dependencies"
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where files may be read.

    Attributes:
        kernel: folders of the headers and of what they may use: the tree, clang's, libbpf's, ours.
        given: folders (or files) that the user named for all to read.
    """

    kernel: tuple[Path, ...]
    given: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Reads:
    """What the front stage has read; every one of them was found to be in bounds.

    Attributes:
        listing: the list of dependencies, in make's notation.
        real: the files, without links.
    """

    listing: bytes
    real: frozenset[str]
    _seen: dict[str, bool] = field(default_factory=dict)

    def holds(self, path: str) -> bool:
        """Tell whether the next stage may open a path: it was read, or there is nothing."""
        if path in self.real:
            return True
        if path not in self._seen:
            real = os.path.realpath(path)
            # What a process finds in these is its own; what is nothing for us may be something for clang.
            own = real.startswith(("/proc/", "/dev/"))
            self._seen[path] = real in self.real or not (own or os.path.lexists(real))
        return self._seen[path]


def check_reads(
    listing: Path,
    graph: Path,
    source: Path,
    bounds: Bounds,
    compilers: Sequence[Callable[[], Iterable[Path]]],
) -> Reads:
    """Return what was read, if all of it may be.

    Args:
        listing: where the list of dependencies was to be written.
        graph: where their graph was.
        source: the program.
        bounds: where files may be read.
        compilers: ways to find the folders of clang's own headers, tried while a file is out of bounds.

    Raises:
        CompileError: a header has read a file or found out that it exists, or the list is not understood.

    The program may include what it likes, and so may what it includes; headers of the kernel and of libbpf
    may have read only one another, clang's, and what the user named for all.
    """
    listed = _content(listing)
    names = _names(listed)
    real = dict(zip(names, _real(names), strict=True))
    kernel = [os.path.realpath(folder) for folder in bounds.kernel]
    given = [os.path.realpath(folder) for folder in bounds.given]
    main = os.path.realpath(source)

    def strangers() -> list[str]:
        # Nearly all are in the tree, whose folder is the first.
        tree = kernel[0] + "/"
        return [
            name
            for name in names
            if not real[name].startswith(tree)
            and not _within(real[name], kernel)
            and not _within(real[name], given)
            and not _within_as_named(name, bounds.given)
            and real[name] not in users
        ]

    users = {main}
    left = strangers()
    edges: list[tuple[str, str]] = []
    if left:
        edges = _edges(_content(graph), real)
        for more in (lambda: (), *compilers):
            kernel += map(os.path.realpath, more())
            named = {
                path
                for name, path in real.items()
                if _within(path, given) or _within_as_named(name, bounds.given)
            }
            users = _reached(main, named, edges, kernel)
            left = strangers()
            if not left:
                break
    if left:
        raise _refusal(source, left, real, edges)
    return Reads(listed, frozenset(real.values()))


def with_target(listing: bytes, target: str, more: Iterable[Path] = ()) -> bytes:
    """Return the list of dependencies with another target in the place of ours.

    Args:
        listing: the list.
        target: what depends on the files.
        more: what it depends on, besides what was read; need not be there any more when make asks.
    """
    rule = _RULE.match(listing)
    assert rule is not None
    end = _END.search(listing, rule.end())
    stop = end.start() if end else len(listing)
    others = [_for_make(str(path)) for path in more]
    return b"".join(
        (
            listing[: rule.end() - 2],
            _for_make(target),
            listing[rule.end() - 1 : stop],
            *(b" \\\n  " + name for name in others),
            listing[stop:],
            *(b"\n" + name + b":\n" for name in others),
        )
    )


def _for_make(name: str) -> bytes:
    found = re.sub(rb"(\\*)([ #])", lambda found: _quoted(found[1], found[2]), os.fsencode(name))
    return found.replace(b"$", b"$$")


def _quoted(backslashes: bytes, character: bytes) -> bytes:
    return backslashes * (2 if character == b" " else 1) + b"\\" + character


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unknown(f"it was not written ({error.strerror})") from error


def _refusal(
    source: Path, left: list[str], real: dict[str, str], edges: list[tuple[str, str]]
) -> CompileError:
    first = left[0]
    by = next((includer for includer, file in edges if file == real[first]), None)
    more = f" and {len(left) - 1} more files" if len(left) > 1 else ""
    header = printable(by) if by else "a header"
    return CompileError(
        f"{header} reads {printable(real[first])}{more}, which the program does not include itself: headers "
        "may read only headers, or files of this host could get into the object",
        step=f"compiling {source}",
        hint="look at these lines of the headers before you trust them; if the file is yours and meant for "
        "them, name its folder with -I",
    )


def _reached(
    main: str, named: set[str], edges: list[tuple[str, str]], kernel: list[str]
) -> set[str]:
    """Return the user's files: the program, what was named, and what these include, however far."""
    after: dict[str, list[str]] = {}
    for includer, file in edges:
        if not _within(includer, kernel):
            after.setdefault(includer, []).append(file)
    users, todo = {main}, [main, *named]
    while todo:
        for file in after.get(todo.pop(), ()):
            if file not in users:
                users.add(file)
                todo.append(file)
    return users


def _names(listing: bytes) -> list[str]:
    """Return the files of a list of dependencies, in make's notation, as clang has named them."""
    rule = _RULE.match(listing)
    if rule is None:
        raise _unknown("no rule")
    # A line break in a name ends the rule early; then what is left is no rule that -MP adds, "file:".
    end = _END.search(listing, rule.end())
    stop = end.start() if end else len(listing)
    found = _tokens(listing[rule.end() : stop].replace(b"\\\n", b" "))
    for line in listing[stop:].splitlines():
        if line and not line.endswith(b":"):
            raise _unknown("a line break within a name")
        if line:
            found += _tokens(line[:-1])
    return list(dict.fromkeys(map(os.fsdecode, found)))


def _tokens(text: bytes) -> list[bytes]:
    if b"\\" not in text and b"$" not in text:
        return text.split()
    return [_plain(token) for token in _TOKEN.findall(text)]


def _plain(token: bytes) -> bytes:
    """Undo what make wants: ``\\ `` with doubled backslashes before it, ``\\#`` and ``$$``."""
    spaces = re.sub(rb"(\\*)\\ ", lambda found: found[1][: len(found[1]) // 2] + b" ", token)
    return spaces.replace(b"\\#", b"#").replace(b"$$", b"$")


def _real(names: list[str]) -> list[str]:
    """Return the files' paths without links; a folder is looked up once for all that are in it."""
    folders: dict[str, str] = {}
    found = []
    for name in names:
        folder, _, base = name.rpartition("/")
        real = folders.get(folder)
        if real is None:
            start = folder or ("/" if name.startswith("/") else ".")
            real = folders[folder] = os.path.realpath(start).rstrip("/")
        path = f"{real}/{base}"
        try:
            mode = os.lstat(path).st_mode
        except OSError as error:
            raise _unknown(f"{printable(name)}: {error.strerror}") from error
        special = stat.S_ISLNK(mode) or base in ("", ".", "..")
        found.append(os.path.realpath(path) if special else path)
    return found


def _edges(graph: bytes, real: dict[str, str]) -> list[tuple[str, str]]:
    """Return who included whom, as real paths; what cannot be told for certain is left out."""
    text = os.fsdecode(graph)
    paths: dict[str, str | None] = {}
    for name, path in real.items():
        # clang leaves out the root of the system, and with it the first slash.
        for label in {_bare(name), _bare(name.removeprefix("/"))}:
            paths[label] = path if paths.get(label, path) == path else None
    nodes = {
        node: paths.get(_bare(re.sub(r"\\(.)", r"\1", label)))
        for node, label in re.findall(
            r'^  (header_\d+) \[ shape="box", label="(.*)"\];$', text, re.M
        )
    }
    return [
        (includer, file)
        for one, other in re.findall(r"^  (header_\d+) -> (header_\d+);$", text, re.M)
        if (includer := nodes.get(one)) is not None and (file := nodes.get(other)) is not None
    ]


def _bare(name: str) -> str:
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _within_as_named(name: str, folders: Iterable[Path]) -> bool:
    """Tell whether a file is in one of the folders as it is spelled: links in them are the user's."""
    return ".." not in Path(name).parts and _within(
        os.path.abspath(name),  # noqa: PTH100
        (os.path.abspath(folder) for folder in folders),  # noqa: PTH100
    )


def _unknown(why: str) -> CompileError:
    return CompileError(
        f"clang's list of the files that it has read is not understood: {why}",
        step="checking what the headers read",
        hint="leave out flags that change -MD; if there are none, please report this clang",
    )


def named_by_flags(extra: Sequence[str]) -> list[Path]:
    """Return the folders and files that flags of clang name, those of files with their folders.

    Raises:
        UsageError: a flag writes a list of dependencies of its own, which would take the place of ours.
    """
    found: list[Path] = []
    flags = iter(extra)
    for flag in flags:
        if re.fullmatch(_OF_OUR_LIST, flag):
            raise UsageError(
                f"{flag} cannot be given to clang: the list of dependencies is needed here",
                step="compiling",
                hint="give -MD before --, for prog.d beside prog.o",
            )
        if re.fullmatch(_OF_OTHER_KINDS, flag):
            raise UsageError(
                f"{flag} cannot be given to clang: an object is what is made here",
                step="compiling",
                hint="leave it out; -o before -- says where the object goes",
            )
        name = next((name for name in _NAMING if flag.startswith(name)), None)
        if name is None:
            continue
        value = flag[len(name) :] or ("" if name.endswith("=") else next(flags, ""))
        if value:
            path = Path(value)
            found.append(path.parent if name in ("-include", "-imacros") else path)
    return found
