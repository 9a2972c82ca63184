"""The shape of the package: who may import whom, and what only the command line may do."""

from __future__ import annotations

import ast
import collections
import functools
import graphlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import kheaders_adb

PACKAGE = Path(kheaders_adb.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# The direction: a piece imports what is further down, and itself.  Pieces of one rank do not know each
# other.  A rank may name rooms that are not built yet.
RANKS = (
    ("_version", "model", "journal"),
    ("errors",),
    ("untrusted", "report", "parallel"),
    ("steps",),
    ("adb", "kernel", "archive", "store", "project"),
    ("device", "ebpf", "mirror"),
    ("pipeline",),
    ("settings", "fleet", "importing"),
    ("cli", "api"),
    ("pytest_workers",),
    ("pytest_plugin", "__init__", "__main__"),
)
RANK = {piece: rank for rank, pieces in enumerate(RANKS) for piece in pieces}
# A room within a room, which the rest of it does not import.
INNERMOST = ("kheaders_adb.store.upkeep",)
# These are where a program meets its surroundings.
OUTERMOST = {"cli", "settings", "pytest_plugin", "__main__"}
SURROUNDINGS = {
    *("print", "input", "exit", "sys.exit", "os._exit"),
    *("sys.stdout", "sys.stderr", "sys.stdin", "sys.argv"),
    *("os.environ", "os.getenv", "os.getcwd", "os.chdir", "Path.cwd", "Path.home"),
}

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Import:
    """One import of this package, anywhere in a file: "kheaders_adb.adb.wire" by line 12."""

    module: str
    line: int

    @property
    def piece(self) -> str:
        parts = self.module.split(".")
        return parts[1] if len(parts) > 1 else "__init__"


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def piece_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported name in full, those in functions and under TYPE_CHECKING among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be searched for"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def own_imports(tree: ast.AST) -> Iterator[Import]:
    for name, line in imports(tree):
        if name.split(".")[0] == "kheaders_adb":
            yield Import(name, line)


def module_of(path: Path) -> str:
    parts = ("kheaders_adb", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph() -> dict[str, set[str]]:
    """For each module those that it imports, late imports and those for types among them."""
    modules = {module_of(path) for path in MODULES}
    return {
        module_of(path): {
            found.module if found.module in modules else found.module.rpartition(".")[0]
            for found in own_imports(parse(path))
        }
        for path in MODULES
    }


def allowed(importer: str, imported: str) -> bool:
    return importer == imported or RANK[imported] < RANK[importer]


def test_every_piece_has_its_place() -> None:
    assert {piece_of(path) for path in MODULES} <= RANK.keys()


def test_nothing_imports_upward() -> None:
    wrong = [
        f"{name_of(path)}:{found.line}: {piece_of(path)} must not import {found.module}"
        for path in MODULES
        for found in own_imports(parse(path))
        if not allowed(piece_of(path), found.piece)
    ]
    assert not wrong


def test_no_module_imports_in_a_circle() -> None:
    # Raises CycleError, which names the modules of a circle.
    order = tuple(graphlib.TopologicalSorter(graph()).static_order())
    assert len(order) == len(MODULES)


def test_a_circle_is_seen() -> None:
    closed = graph()
    assert "kheaders_adb.store.paths" in closed["kheaders_adb.store.lookup"]
    closed["kheaders_adb.store.paths"].add("kheaders_adb.store.lookup")
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(closed).prepare()


@pytest.mark.parametrize("room", INNERMOST)
def test_nothing_else_in_a_package_imports_its_innermost_room(room: str) -> None:
    around = room.rpartition(".")[0]
    wrong = {
        module
        for module, imported in graph().items()
        if module.startswith(around) and not module.startswith(room)
        if any(name.startswith(room) for name in imported)
    }
    assert not wrong


def test_the_rules_forbid_what_they_are_for() -> None:
    """Siblings and upward imports, also inside functions and under TYPE_CHECKING, are seen."""
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from kheaders_adb.store import Store\n"
        "def late():\n"
        "    import kheaders_adb.pipeline.ensure\n"
        "    from kheaders_adb import api, __version__\n"
    )
    found = {item.piece for item in own_imports(ast.parse(source))}
    assert found == {"store", "pipeline", "api", "__version__"}
    assert not any(allowed("adb", piece) for piece in found & RANK.keys())
    assert allowed("cli", "api") is False
    assert allowed("store", "model")


def test_modules_have_names_and_sizes_that_help_to_find_things() -> None:
    """A file's name says which it is, wherever it lies; `cli` has one a command, named after that."""
    names = collections.Counter(
        path.stem for path in MODULES if path.stem != "__init__" and piece_of(path) != "cli"
    )
    assert not [name for name, count in names.items() if count > 1]
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: length for name, length in lengths.items() if length > 400}


def test_the_drawing_names_what_is_there() -> None:
    """ARCHITECTURE.md's drawing of the house: exactly the packages, and the modules beside them."""
    text = (PACKAGE.parent / "ARCHITECTURE.md").read_text()
    drawing = re.search(r"^kheaders_adb/\n(.*?)^```", text, re.M | re.S)
    assert drawing is not None
    drawn = set(re.findall(r"^  ([a-z_]+(?:/[a-z_]+)*)/ ", drawing[1], re.M))
    packages = {
        path.parent.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if path.name == "__init__.py" and path.parent != PACKAGE
    }
    assert drawn == packages
    beside = {path.name for path in PACKAGE.glob("*.py")}
    assert set(re.findall(r"\b(\w+\.py)\b", drawing[1])) == beside


def test_only_one_module_knows_adbutils() -> None:
    users = {
        name_of(path)
        for path in MODULES
        for name, _ in imports(parse(path))
        if name.split(".")[0] == "adbutils"
    }
    assert users == {"adb/start.py"}


def test_what_is_slow_to_import_is_imported_late() -> None:
    """Each of these costs more than a warm pull does; only what needs them pays."""
    at_once = {
        (name_of(path), name.split(".")[0])
        for path in MODULES
        for name, _ in imports(ast.Module(_run_on_import(parse(path)), []))
    }
    slow = {"adbutils", "tqdm", "elftools", "platformdirs", "lzma"}
    users = {(file, name) for file, name in at_once if name in slow}
    # Archives are read by cold pulls only, which import all of this late.
    assert {file.split("/")[0] for file, _ in users} == {"archive"}


def _run_on_import(tree: ast.Module) -> list[ast.stmt]:
    return [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]


def test_the_library_never_prints_exits_or_reads_its_surroundings() -> None:
    found = {
        (name_of(path), text)
        for path in MODULES
        if piece_of(path) not in OUTERMOST
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Name | ast.Attribute)
        and (text := ast.unparse(node)) in SURROUNDINGS
    }
    assert found == set()


def test_what_is_public_is_described() -> None:
    bare = []
    for path in MODULES:
        tree = parse(path)
        if tree.body and not ast.get_docstring(tree):
            bare.append(f"{name_of(path)}: the module itself")
        bare += [
            f"{name_of(path)}:{node.lineno}: {node.name}"
            for node in _public(tree)
            if not ast.get_docstring(node)
        ]
    assert not bare


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The functions and classes of a module and the methods of its classes, without private ones."""
    for node in tree.body:
        if isinstance(node, _NAMED) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (
                    inner
                    for inner in node.body
                    if isinstance(inner, _NAMED) and not inner.name.startswith("_")
                )
