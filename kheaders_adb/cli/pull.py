"""``pull``: stage the headers of the kernel that a device runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kheaders_adb import settings
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.errors import UsageError
from kheaders_adb.model import Privilege, Via


def pull(
    target: Target,
    store: StoreChoice,
    output: Output,
    module: Annotated[
        Path | None,
        typer.Option(
            "--module",
            metavar="FILE|DIR",
            help="A kheaders.ko to load where the kernel shows no headers, or a folder of them.",
        ),
    ] = None,
    via: Annotated[
        Via,
        typer.Option(
            "--via",
            help="sysfs: only what the kernel shows; load: insert kheaders.ko; "
            "carve: take the archive out of kheaders.ko without inserting it.",
        ),
    ] = Via.AUTO,
    allow_mismatch: Annotated[
        bool,
        typer.Option(
            "--allow-mismatch", help="Stage headers of another kernel too, marked as such."
        ),
    ] = False,
    repair_config: Annotated[
        bool,
        typer.Option(
            "--repair-config",
            help="Where only the configuration differs, stage with autoconf.h regenerated from the "
            "running kernel's.",
        ),
    ] = False,
    privilege: Annotated[
        Privilege,
        typer.Option(
            "--privilege",
            help="How to become root where that is needed; auto: su, else `adb root`, undone afterwards.",
        ),
    ] = Privilege.AUTO,
    su_command: Annotated[
        str | None,
        typer.Option(
            "--su-command",
            metavar="TEXT",
            help="The only su to try: a name or path, and arguments ($KHEADERS_ADB_SU_COMMAND), "
            "such as kp, sudo or /debug_ramdisk/su.",
        ),
    ] = None,
    keep_root: Annotated[
        bool, typer.Option("--keep-root", help="Do not undo an `adb root` made by this command.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Read the archive again even if it is staged.")
    ] = False,
) -> None:
    """Stage the headers of the running kernel and print the path of the tree.

    The archive is taken from /sys/kernel/kheaders.tar.xz (or /proc); where the kernel does not show it,
    kheaders.ko is loaded, read and unloaded again.  It is staged only if it belongs to the running kernel.
    """
    from kheaders_adb.cli.staging import ensure_staged, tell
    from kheaders_adb.pipeline.options import Options, Tolerance

    console = Console.standard(output)
    if su_command is not None and privilege in (Privilege.NONE, Privilege.ADBD):
        raise UsageError(
            f"--su-command and --privilege {privilege} exclude each other",
            hint="leave one of the two out",
        )
    options = Options(
        module=module,
        via=via,
        tolerance=Tolerance.of(allow_mismatch=allow_mismatch, repair_config=repair_config),
        privilege=privilege,
        su=None if su_command is None else settings.su_command(su_command),
        keep_root=keep_root,
        refresh=refresh,
    )
    staged, _, _ = ensure_staged(target, store, console, options)
    tell(staged, console, verbose=output.verbose > 0)
    if output.json:
        from kheaders_adb.cli.render import staged_to_json

        console.document(staged_to_json(staged))
    else:
        console.value(str(staged.tree))
