"""``diff``: in what two kernels, and their headers, differ."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kheaders_adb import settings
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.cli.headers import kept_for
from kheaders_adb.cli.kernels import find_kernel
from kheaders_adb.errors import MismatchError, UsageError
from kheaders_adb.pipeline.named import tree_gone

if TYPE_CHECKING:
    from pathlib import Path

    from kheaders_adb.cli.differences import Found
    from kheaders_adb.kernel.layouts import PlaceChange
    from kheaders_adb.kernel.symbols import SymbolChange
    from kheaders_adb.pipeline.comparison import LayoutComparison, Side
    from kheaders_adb.store import KernelRecord, Store

_KERNEL = (
    "a key prefix, a release or its beginning if unique, 'latest', or @SERIAL, whose headers are pulled if "
    "they are not staged"
)


def diff(
    before: Annotated[str, typer.Argument(metavar="FROM", help=f"A kernel: {_KERNEL}.")],
    after: Annotated[str, typer.Argument(metavar="TO", help="The kernel to compare it with.")],
    target: Target,
    store: StoreChoice,
    output: Output,
    header: Annotated[
        str | None,
        typer.Option(
            "--header",
            metavar="PATH",
            help="Print what differs in this header, as a unified diff.",
        ),
    ] = None,
    stat: Annotated[
        bool, typer.Option("--stat", help="Count the lines that differ in each header.")
    ] = False,
    layout: Annotated[
        bool,
        typer.Option(
            "--layout", help="Compare how structures lie in memory, as clang sees both trees."
        ),
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 5 if anything differs.")
    ] = False,
) -> int:
    """Show in what two kernels differ: configuration, headers, structures.

    Devices are named as kernels, by @SERIAL; one is asked only if nothing is staged for it.
    """
    from kheaders_adb.cli.differences import Found, show
    from kheaders_adb.pipeline.comparison import (
        compare_staged,
        compare_texts,
        compare_trees,
        count_changes,
    )

    console = Console.standard(output)
    _refuse_device(target)
    clang = _clang() if layout else None
    with ExitStack() as held:
        trees, old = _held(before, target, store, console, held, to_use=layout)
        _, new = _held(after, target, store, console, held, to_use=layout)
        comparison = compare_staged(trees, old, new)
        found = Found(
            comparison,
            count_changes(trees, comparison) if stat else None,
            header,
            compare_texts(trees, comparison, header) if header is not None else [],
            compare_trees(trees, comparison, clang) if clang is not None else None,
        )
    for caution in found.layouts.cautions if found.layouts else ():
        console.warn(caution)
    for note in comparison.notes:
        console.say(f"  note: {note}")
    if output.json:
        console.document(found_to_json(trees, found))
    else:
        show(found, console)
    return MismatchError.exit_code if exit_code and found.differs else 0


def _clang() -> Path:
    from kheaders_adb.ebpf.clang import find_clang

    return find_clang(settings.clang())


def _refuse_device(target: Target) -> None:
    if target.names_one:
        raise UsageError(
            "diff compares two kernels, and -s, -d, -e and -t choose one device",
            hint="name devices by @SERIAL",
        )


def _held(
    kernel: str,
    target: Target,
    choice: StoreChoice,
    console: Console,
    held: ExitStack,
    *,
    to_use: bool,
) -> tuple[Store, KernelRecord]:
    """A kernel that is staged, now if need be, and stays so while `held` is open."""
    store = choice.open()
    serial = kernel.removeprefix("@")
    if serial not in ("", kernel) and store.running(serial) is None:
        kept = held.enter_context(
            kept_for(replace(target, serials=[serial]), choice, console, None)
        )
        return store, kept.record
    record = find_kernel(store, kernel, console, to_use=to_use)
    if not held.enter_context(store.in_use_if_there(record)):
        raise tree_gone(store.tree_path(record.tree), record.identity)
    return store, record


def found_to_json(trees: Store, found: Found) -> dict[str, Any]:
    """The object of ``diff --json``."""
    comparison, headers = found.comparison, found.comparison.headers
    symbols = comparison.symbols
    return {
        "from": _side_to_json(trees, comparison.before),
        "to": _side_to_json(trees, comparison.after),
        "notes": list(comparison.notes),
        "config": {
            "source": comparison.source and comparison.source.value,
            "added": [_symbol_to_json(one) for one in symbols if one.before is None],
            "removed": [_symbol_to_json(one) for one in symbols if one.after is None],
            "changed": [
                _symbol_to_json(one) for one in symbols if None not in (one.before, one.after)
            ],
        },
        "headers": {
            "added": list(headers.added),
            "removed": list(headers.removed),
            "changed": list(headers.changed),
            "stat": None
            if found.lines is None
            else [
                {"path": path, "added": counts.added, "removed": counts.removed}
                for path, counts in found.lines.items()
            ],
        },
        "header": None
        if found.header is None
        else {"path": found.header, "diff": "".join(f"{line}\n" for line in found.text)},
        "layouts": None if found.layouts is None else _layouts_to_json(found.layouts),
    }


def _side_to_json(trees: Store, side: Side) -> dict[str, Any]:
    from kheaders_adb.cli.render import kernel_to_json, verdict_to_json

    return {
        "serial": side.record.serial,
        "kernel": kernel_to_json(side.record.identity),
        "compiler": side.info.facts.compiler,
        "verdict": verdict_to_json(side.record.verdict),
        "tree": str(trees.tree_path(side.record.tree)),
        "files": len(side.entries),
    }


def _symbol_to_json(change: SymbolChange) -> dict[str, Any]:
    mention = change.mention
    return {
        "symbol": change.symbol,
        "from": change.before,
        "to": change.after,
        "header": None if mention is None else mention.header,
        "structure": None if mention is None else mention.structure,
    }


def _layouts_to_json(layouts: LayoutComparison) -> dict[str, Any]:
    found = layouts.differences
    return {
        "headers": layouts.headers,
        "left_out": list(layouts.left_out),
        "compared": found.compared,
        "added": [{"name": one.name, "kind": one.kind.value} for one in found.added],
        "removed": [{"name": one.name, "kind": one.kind.value} for one in found.removed],
        "changed": [
            {
                "name": one.record.name,
                "kind": one.record.kind.value,
                "size_bytes": {"from": one.before_bytes, "to": one.after_bytes},
                "members": [_member_to_json(member) for member in one.members],
                "members_changed": one.members_changed,
            }
            for one in found.changed
        ],
    }


def _member_to_json(change: PlaceChange) -> dict[str, Any]:
    sides = {"from": change.before, "to": change.after}
    return {
        "name": change.name,
        **{
            side: None
            if place is None
            else {
                "offset_bits": place.offset_bits,
                "width_bits": place.width_bits,
                "type": place.type,
            }
            for side, place in sides.items()
        },
    }
