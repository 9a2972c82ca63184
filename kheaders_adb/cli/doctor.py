"""``doctor``: is everything there that the other commands need, and if not, what to do."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from kheaders_adb import settings
from kheaders_adb.cli.checkup import Checkup, Finding, Health, examine_server
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.cli.tables import Cell, Tone, put_record
from kheaders_adb.errors import KheadersError, StoreError
from kheaders_adb.steps import StepKind

if TYPE_CHECKING:
    from kheaders_adb.store import Store

_TONES = {Health.OK: Tone.GOOD, Health.WARN: Tone.DOUBTFUL, Health.FAIL: Tone.BAD}
_TREE_BYTES = 64 * 1024 * 1024
"""Room for one archive and its tree on a file system with 4 KiB blocks."""


def doctor(
    target: Target,
    store: StoreChoice,
    output: Output,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo",
            help="Undo what killed runs have left changed on devices: adbd as root, a module, files.",
        ),
    ] = False,
) -> int:
    """Check the adb server, the devices, the store and clang, and say how to mend what is wrong.

    Nothing is changed on a device, and no su is asked: a line for each says what `pull` would do.  Ends with
    0 if `pull` has what it needs, as far as that can be seen, else with the exit code that `pull` would end
    with.  With --undo nothing is checked; it ends with 0 if all of it is undone.
    """
    console = Console.standard(output)
    with console.doing(StepKind.UNDO if undo else StepKind.ASK):
        findings = (_undo if undo else _examine)(target, store, console)
    failed = next((item for item in findings if item.health is Health.FAIL), None)
    if output.json:
        console.document(
            {
                "ok": failed is None,
                "findings": [dataclasses.asdict(item) for item in findings],
            }
        )
    else:
        put_record(console, _rows(findings))
    return failed.exit_code if failed else 0


def _rows(findings: list[Finding]) -> list[tuple[Cell, Cell]]:
    width = max(len(item.name) for item in findings)
    rows = []
    for item in findings:
        # Of several devices each has a row.
        seen = item.seen.replace("\n    ", f"\n{'':{width + 8}}")
        health = Cell(f"{item.health:4}  {item.name}", _TONES[item.health], len(item.health))
        rows.append((health, Cell(seen)))
        if item.remedy:
            rows.append((Cell(""), Cell(f"→ {item.remedy}", hang=2)))
    return rows


def _examine(target: Target, choice: StoreChoice, console: Console) -> list[Finding]:
    server, selection = target.adb_server(console.say), target.selection()
    clang = _examine_clang(settings.clang())
    try:
        store = choice.open()
    except StoreError as error:
        # As `pull`, which opens the store before it looks for a device.
        checkup = examine_server(server, selection, None, target.deadline())
        return [Finding.failed("store", error), *checkup.findings, clang]
    checkup = examine_server(server, selection, store, target.deadline())
    return [*checkup.findings, *_examine_store(store, checkup), clang]


def _examine_store(store: Store, checkup: Checkup) -> list[Finding]:
    from kheaders_adb.pipeline.left import describe

    name = "store"
    findings: list[Finding] = []
    try:
        findings = [
            Finding(
                "device",
                Health.WARN,
                f"{change.serial}: {describe(change)}",
                f"kheaders-adb doctor --undo -s {shlex.quote(change.serial)}",
            )
            for change in store.changes.left()
        ]
        findings.append(_examine_disk(store))
        ignores_case = not store.case_sensitive
    except StoreError as error:
        ignores_case = False
        findings.append(Finding.failed(name, error))
    if checkup.is_staged:  # then `pull` writes nothing
        findings = [finding.as_warning() for finding in findings]
    if ignores_case:
        findings.append(
            Finding(
                name,
                Health.WARN,
                "this file system ignores case, so eight netfilter headers lose their twins",
                "choose a case-sensitive file system with --store or $KHEADERS_ADB_STORE",
            )
        )
    return findings


def _examine_disk(store: Store) -> Finding:
    from kheaders_adb.cli.render import size_text
    from kheaders_adb.store.upkeep.usage import Usage

    try:
        with store.stage():
            pass
        free_bytes = shutil.disk_usage(store.root).free
    except OSError as error:
        raise StoreError(f"{store.root}: {error.strerror}") from error
    free = f"{free_bytes / 1024**3:.1f} GiB free"
    if free_bytes < _TREE_BYTES:
        return Finding(
            "store",
            Health.FAIL,
            f"{store.root}: only {free}",
            "free some space, run `kheaders-adb gc`, or choose another place with --store",
            StoreError.exit_code,
        )
    taken = size_text(Usage.of(store).total_bytes)
    return Finding("store", Health.OK, f"{store.root}: writable, takes {taken}, {free}")


def _undo(target: Target, choice: StoreChoice, console: Console) -> list[Finding]:
    from kheaders_adb.adb.select import Selection, choose
    from kheaders_adb.pipeline.left import undo

    store, selection = choice.open(), target.selection()
    serial = selection.serial
    if serial is None and selection != Selection():
        serial = choose(target.adb_server(console.say).devices(target.deadline()), selection).serial
    findings = [
        Finding("device", Health.OK, f"{done.change.serial}: {done.seen}")
        if done.error is None
        else Finding.failed("device", done.error)
        for done in undo(
            target.adb_server(console.say),
            store.changes,
            serial,
            target.deadline(),
            console.announce,
        )
    ]
    return findings or [
        Finding("device", Health.OK, f"no killed run has left anything that {store.root} knows of")
    ]


def _examine_clang(given: str | None) -> Finding:
    from kheaders_adb.ebpf.clang import diagnose, find_clang

    name = "clang"
    try:
        clang = find_clang(given)
    except KheadersError as error:
        return Finding(name, Health.WARN, f"{error.seen} (only `compile` needs one)", error.hint)
    if (unfit := diagnose(clang)) is not None:
        return Finding(name, Health.WARN, f"{unfit.seen} (only `compile` needs it)", unfit.hint)
    return Finding(name, Health.OK, f"{clang}, with the bpf target")
