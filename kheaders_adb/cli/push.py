"""``push``: staged headers onto the device, for bcc and bpftrace there."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.cli.headers import ModuleOption, kept_for
from kheaders_adb.ebpf.variables import Shell
from kheaders_adb.steps import StepKind

if TYPE_CHECKING:
    from kheaders_adb.model import Staged


def push(
    target: Target,
    store: StoreChoice,
    output: Output,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="The folder on the device [default: one in its temporary folder].",
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="The folder of a chroot on the device: put them into it, and name them as from inside.",
        ),
    ] = None,
    module: ModuleOption = None,
) -> None:
    """Put the headers of a device's kernel onto it and print the variables that bcc and bpftrace need there.

    They are staged on this host first, if they are not yet.
    """
    from kheaders_adb.device.push import inside, push_tree
    from kheaders_adb.ebpf.headers import read_tree
    from kheaders_adb.ebpf.variables import environment as variables_of
    from kheaders_adb.ebpf.variables import format_environment

    console = Console.standard(output)
    with kept_for(target, store, console, module) as kept:
        staged, device = kept.staged, kept.device
        tree = read_tree(staged.tree)
        with console.doing(StepKind.PUSH, serial=device.serial) as line:
            folder, sent = push_tree(
                device,
                staged.tree,
                kept.store.tree_entries(staged.tree.name),
                _name(staged),
                PurePosixPath(to) if to else None,
                PurePosixPath(root) if root is not None else None,
                on_progress=line.on_progress,
            )
    console.say(
        f"{device.serial}: the headers of {staged.kernel.release} are in {folder}"
        + ("" if sent else " already")
    )
    seen = inside(folder, PurePosixPath(root)) if root else folder
    variables = variables_of(tree, root=str(seen))
    if output.json:
        console.document({"folder": str(folder), "sent": sent, "environment": variables})
    else:
        console.value(format_environment(variables, Shell.SH).rstrip("\n"))


def _name(staged: Staged) -> str:
    """A name for the tree's content that any file system takes."""
    release = re.sub(r"[^A-Za-z0-9._+-]", "_", staged.kernel.release)[:64]
    archive, _, repair = staged.tree.name.partition("-repaired-")
    return "-".join([release, archive[:16], *([repair[:8]] if repair else [])])
