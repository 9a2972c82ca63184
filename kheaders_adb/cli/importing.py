"""``import``: stage an archive that lies on the host."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.steps import StepKind

if TYPE_CHECKING:
    from kheaders_adb.device.device import Device


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A kheaders.tar.xz.")],
    target: Target,
    store: StoreChoice,
    output: Output,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The configuration of the kernel it is for, plain or gzipped.",
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option("--release", metavar="RELEASE", help="The release of the kernel it is for."),
    ] = None,
    allow_mismatch: Annotated[
        bool,
        typer.Option("--allow-mismatch", help="Stage it even if it does not fit, marked as such."),
    ] = False,
    repair_config: Annotated[
        bool,
        typer.Option(
            "--repair-config",
            help="Where only the configuration differs, stage with autoconf.h regenerated.",
        ),
    ] = False,
) -> None:
    """Stage an archive that is already on this host and print the path of its tree.

    With -s (-d, -e, -t) it is matched with the kernel which that device runs, else with --config and
    --release; without any of them it is staged as `unmatched`.
    """
    from kheaders_adb.cli.kernels import record_to_json
    from kheaders_adb.cli.render import omitted_line, verdict_line
    from kheaders_adb.importing.claim import claim_of
    from kheaders_adb.importing.from_archive import import_archive, require_archive
    from kheaders_adb.kernel.caution import verdict_warning
    from kheaders_adb.pipeline.options import Tolerance

    console = Console.standard(output)
    require_archive(file)
    trees = store.open()
    on_device = target.names_one

    def find() -> Device:
        from kheaders_adb.device.device import Device

        return Device.select(target.adb_server(console.say), target.selection(), target.deadline())

    with console.doing(StepKind.PROBE) if on_device else nullcontext():
        claim, serial = claim_of(find if on_device else None, config, release)
    with console.status() as line:
        record = import_archive(
            file,
            trees,
            claim,
            serial=serial,
            tolerance=Tolerance.of(allow_mismatch=allow_mismatch, repair_config=repair_config),
            on_note=lambda note: console.say(f"  note: {note}"),
            on_step=line.on_step,
        )
    console.say(f"{file}: headers of kernel {record.identity.release} ({record.key[:12]})")
    if left_out := omitted_line(record.archive):
        console.say(f"  note: {left_out}")
    console.say(f"  verdict: {verdict_line(record.verdict)}")
    if warning := verdict_warning(record.verdict, quiet=output.quiet):
        console.warn(warning)
    if output.json:
        from kheaders_adb.store.upkeep.usage import kernel_bytes

        console.document(record_to_json(trees, record, kernel_bytes(trees, record)))
    else:
        console.value(str(trees.tree_path(record.tree)))
