"""What the package can say, read out of its source: every error's message, every hint.

A text that is put together at run time is a pattern: what is filled in is `HOLE`.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import kheaders_adb
from kheaders_adb import errors
from kheaders_adb.device.refusals import LOG_RULES, TOOL_RULES

PACKAGE = Path(kheaders_adb.__file__).parent
HOLE = "\N{HORIZONTAL ELLIPSIS}"
_MAX_FORMS = 64

_ERRORS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.KheadersError)
} | {"ServiceFailedError", "ServerRefusedError", "ProbeFailedError", "ArchiveGoneError"}
_MAKERS = {"lost"}
"""Functions that take a message and return an error."""


@dataclass(frozen=True, slots=True)
class Message:
    """One text that an error may have, and where it is said: "adb/wire.py:75"."""

    text: str
    where: str


@functools.cache
def _trees() -> dict[str, ast.Module]:
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def forms(node: ast.expr, scope: Scope) -> list[str]:
    """Every text that an expression can become, with holes."""
    match node:
        case ast.Constant(str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            texts = [forms(part, scope) for part in parts]
            return ["".join(parts) for parts in product(*texts)][:_MAX_FORMS]
        case ast.FormattedValue(value=ast.IfExp() as value):
            return forms(value, scope)
        case ast.IfExp(body=body, orelse=orelse):
            return [*forms(body, scope), *forms(orelse, scope)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            pairs = product(forms(left, scope), forms(right, scope))
            return ["".join(pair) for pair in pairs][:_MAX_FORMS]
        case ast.BoolOp(op=ast.And(), values=[_, last]):
            return ["", *forms(last, scope)]
        case ast.Name(id=name) if name not in scope.pending:
            return replace(scope, pending=scope.pending | {name}).values(name)
    return [HOLE]


@dataclass(frozen=True, slots=True)
class Scope:
    """A function and the module around it, as far as it takes to know what a name may hold."""

    module: ast.Module
    function: ast.FunctionDef | None
    pending: frozenset[str] = frozenset()

    def values(self, name: str) -> list[str]:
        """Every text that a name is given, here, in the module, or by those that call the function."""
        found: list[str] = []
        nodes = ast.walk(self.function) if self.function else iter(self.module.body)
        for node in nodes:
            match node:
                case ast.Assign(targets=[ast.Name(id=other)], value=value) if other == name:
                    found += forms(value, self)
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                    for target, value in zip(names, values, strict=False):
                        if isinstance(target, ast.Name) and target.id == name:
                            found += forms(value, self)
        if not found and self.function:
            arguments = [argument.arg for argument in self.function.args.args]
            if name in arguments:
                found = self._given(arguments.index(name))
            else:
                found = replace(self, function=None).values(name)
        return list(dict.fromkeys(found)) or [HOLE]

    def _given(self, position: int) -> list[str]:
        assert self.function is not None
        found: list[str] = []
        for node, function in _calls(self.module):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            if called == self.function.name and position < len(node.args):
                found += forms(node.args[position], Scope(self.module, function))
        return found


def _calls(
    node: ast.AST, function: ast.FunctionDef | None = None
) -> Iterator[tuple[ast.Call, ast.FunctionDef | None]]:
    """Every call below a node, and the function that it stands in."""
    if isinstance(node, ast.Call):
        yield node, function
    if isinstance(node, ast.FunctionDef):
        function = node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, function)


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def messages() -> list[Message]:
    """Everything that an error of the package can say; archives' rules fill holes in it."""
    found = []
    for name, module in _trees().items():
        for call, function in _calls(module):
            kind = _name(call.func)
            if (kind in _ERRORS or kind in _MAKERS) and call.args:
                where = f"{name}:{call.lineno}"
                texts = forms(call.args[0], Scope(module, function))
                found += [Message(text, where) for text in texts]
    for rule in (*LOG_RULES, *TOOL_RULES):
        found.append(Message(rule.seen, f"device/refusals.py ({rule.cause})"))
    return found


def texts() -> Iterator[Message]:
    """Every text in the package's code, docstrings left out."""
    for name, module in _trees().items():
        documentation = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
        parts = set()
        for node in ast.walk(module):
            if isinstance(node, ast.JoinedStr):
                parts |= {id(part) for part in node.values}
        for node in ast.walk(module):
            if id(node) in documentation or id(node) in parts:
                continue
            if isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.Constant) and isinstance(node.value, str)
            ):
                for text in forms(node, Scope(module, None)):
                    yield Message(text, f"{name}:{node.lineno}")
