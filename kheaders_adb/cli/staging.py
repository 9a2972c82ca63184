"""Staging the headers of a device's kernel, as every command does that talks to a device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kheaders_adb import settings
from kheaders_adb.cli.render import staged_lines
from kheaders_adb.kernel.caution import verdict_warning
from kheaders_adb.pipeline.options import Options
from kheaders_adb.pipeline.retry import ensure_selected

if TYPE_CHECKING:
    from kheaders_adb.adb.deadline import Deadline
    from kheaders_adb.cli.console import Console
    from kheaders_adb.cli.groups import StoreChoice, Target
    from kheaders_adb.device.device import Device
    from kheaders_adb.model import Staged
    from kheaders_adb.store import Store


def ensure_staged(
    target: Target,
    choice: StoreChoice,
    console: Console,
    options: Options,
    deadline: Deadline | None = None,
) -> tuple[Staged, Store, Device]:
    """Stage the headers of a device's kernel, unless they are, with a line about what takes long.

    Returns:
        What is staged, where, and the device, which still has the rest of the command's time.
    """
    deadline = deadline or target.deadline()
    options = replace(options, su=options.su or settings.su_command())
    store = choice.open()
    with console.status() as line:
        staged, device = ensure_selected(
            target.adb_server(console.say),
            target.selection(),
            store,
            replace(
                options,
                on_note=console.say,
                on_change=console.announce,
                on_progress=line.on_progress,
                on_step=line.on_step,
            ),
            deadline=deadline,
            wait_s=settings.patience_s(target.wait_s),
        )
    return staged, store.within(lambda: device.deadline.remaining_s), device


def tell(staged: Staged, console: Console, *, cached: bool = True, verbose: bool = False) -> None:
    """Say what was staged, and what must be known of it.

    Args:
        cached: whether to speak of headers that were there already; notes and warnings always come.
        verbose: whether to say why they were used again, or were not.
    """
    for line in staged_lines(staged, verbose=verbose) if cached or not staged.cached else ():
        console.say(line)
    for note in staged.notes:
        console.say(f"  note: {note}")
    if warning := verdict_warning(staged.verdict, quiet=console.wanted.quiet):
        console.warn(f"{staged.serial}: {warning}")
