"""The shape of the package: who may import whom, and what only the command line may do."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import kheaders_adb

PACKAGE = Path(kheaders_adb.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lower numbers are further down.  A piece may import what is further down, and itself; pieces of one
# set in `EQUALS` may import each other.
RANK = {
    "errors": 0,
    "model": 0,
    "device": 1,
    "archive": 1,
    "store": 1,
    "ebpf": 1,
    "pipeline": 2,
    "fetch": 2,
    "source": 2,
    "stage": 2,
    "importing": 2,
    "environment": 2,
    "patience": 2,
    "fleet": 3,
    "api": 4,
    "cli": 4,
    "pytest_plugin": 5,
    "__init__": 5,
    "__main__": 5,
}
EQUALS = ({"errors", "model"}, {"pipeline", "fetch", "source", "stage", "importing"})
# These are where a program meets its surroundings.
OUTERMOST = {"cli", "environment", "pytest_plugin", "__main__"}
SURROUNDINGS = {
    *("print", "input", "exit", "sys.exit", "os._exit"),
    *("sys.stdout", "sys.stderr", "sys.stdin", "sys.argv"),
    *("os.environ", "os.getenv", "os.getcwd", "os.chdir", "Path.cwd", "Path.home"),
}
# A server that is started gets the user's environment, as with adb itself; nothing is decided by it.
EXCUSED = {("device/adb.py", "os.environ")}

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Import:
    """One import of this package, anywhere in a file: "kheaders_adb.device.wire" by line 12."""

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
        # The version belongs to the package as a whole and depends on nothing.
        if name.split(".")[0] == "kheaders_adb" and name != "kheaders_adb.__version__":
            yield Import(name, line)


def allowed(importer: str, imported: str) -> bool:
    if importer == imported or any({importer, imported} <= equals for equals in EQUALS):
        return True
    return RANK[imported] < RANK[importer]


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


def test_the_rules_forbid_what_they_are_for() -> None:
    """Siblings and upward imports, also inside functions and under TYPE_CHECKING, are seen."""
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from kheaders_adb.store import Store\n"
        "def late():\n"
        "    import kheaders_adb.pipeline\n"
        "    from kheaders_adb import api\n"
    )
    found = {item.piece for item in own_imports(ast.parse(source))}
    assert found == {"store", "pipeline", "api"}
    assert not any(allowed("device", piece) for piece in found)
    assert allowed("cli", "api") is False
    assert allowed("store", "model")
    assert allowed("pipeline", "fetch")


def test_only_one_module_knows_adbutils() -> None:
    users = {
        name_of(path)
        for path in MODULES
        for name, _ in imports(parse(path))
        if name.split(".")[0] == "adbutils"
    }
    assert users == {"device/adb.py"}


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
    assert found == EXCUSED


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
