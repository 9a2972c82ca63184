"""``doctor``: is everything there that the other commands need, and if not, what to do."""

from __future__ import annotations

import dataclasses
import enum
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kheaders_adb import settings
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.errors import KheadersError, StoreError

if TYPE_CHECKING:
    from kheaders_adb.adb.deadline import Deadline
    from kheaders_adb.store import Store

_TREE_BYTES = 64 * 1024 * 1024
"""Room for one archive and its tree on a file system with 4 KiB blocks."""


class Health(enum.StrEnum):
    """How an examined thing is: fine, in the way of some commands, or in the way of `pull`."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing examined.

    Attributes:
        name: what.
        health: how it is.
        seen: what was found.
        remedy: what to do, or None.
        exit_code: that of the error which `pull` would end with; 0 if none.
    """

    name: str
    health: Health
    seen: str
    remedy: str | None = None
    exit_code: int = 0


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

    Ends with 0 if `pull` has what it needs, else with the exit code that `pull` would end with.  With --undo
    nothing is checked; it ends with 0 if all of it is undone.
    """
    console = Console.standard(output)
    if undo:
        findings = _undo(target, store.open(), console)
    else:
        findings = [
            *_examine_server(target, target.deadline().sooner(10.0)),
            *_examine_store(store.path()),
            _examine_clang(settings.clang()),
        ]
    failed = next((item for item in findings if item.health is Health.FAIL), None)
    if output.json:
        console.document(
            {
                "ok": failed is None,
                "findings": [dataclasses.asdict(item) for item in findings],
            }
        )
    else:
        width = max(len(item.name) for item in findings)
        for item in findings:
            console.result(f"{item.health:4}  {item.name:{width}}  {item.seen}")
            if item.remedy:
                console.result(f"{'':4}  {'':{width}}  → {item.remedy}")
    return failed.exit_code if failed else 0


def _examine_server(target: Target, deadline: Deadline) -> list[Finding]:
    from kheaders_adb.adb.select import check_usable
    from kheaders_adb.adb.start import adb_binary
    from kheaders_adb.adb.wire import ServerRefusedError
    from kheaders_adb.device.device import Device

    name = "adb server"
    # Looked at, not started: a doctor that changes things cannot be trusted.
    server = dataclasses.replace(target.adb_server(), start=False)
    try:
        version = server.version(deadline)
        entries = server.devices(deadline)
    except ServerRefusedError as error:
        if not server.address.is_local or server.address.path is not None:
            return [_failed(name, error)]
        try:
            binary = adb_binary(deadline)
        except KheadersError as missing:
            return [_failed(name, missing)]
        return [
            Finding(
                name,
                Health.OK,
                f"none at {server.address}; the first command that needs one starts {binary}",
            )
        ]
    except KheadersError as error:
        return [_failed(name, error)]
    findings = [Finding(name, Health.OK, f"version 1.0.{version} at {server.address}")]
    if not entries:
        findings.append(
            Finding(
                "devices",
                Health.WARN,
                "none",
                "plug one in with USB debugging on, or `adb connect HOST:PORT`",
            )
        )
    for entry in entries:
        device = Device(server, entry, deadline)
        try:
            check_usable(entry)
            device.prepare()
        except KheadersError as error:
            findings.append(
                Finding("device", Health.WARN, f"{entry.serial}: {error.seen}", error.hint)
            )
        else:
            said = ", ".join(filter(None, (entry.state, device.shell.note)))
            findings.append(Finding("device", Health.OK, f"{entry.serial}: {said}"))
    return findings


def _examine_store(path: Path) -> list[Finding]:
    from kheaders_adb.pipeline.left import describe
    from kheaders_adb.store import Store

    name = "store"
    try:
        store = Store.open(path)
        with store.stage():
            pass
        changes = store.changes.left()
        case_sensitive = store.case_sensitive
        free_bytes = shutil.disk_usage(path).free
    except StoreError as error:
        return [_failed(name, error)]
    except OSError as error:
        return [_failed(name, StoreError(f"{path}: {error.strerror}"))]
    left = [
        Finding(
            "device",
            Health.WARN,
            f"{change.serial}: {describe(change)}",
            f"kheaders-adb doctor --undo -s {shlex.quote(change.serial)}",
        )
        for change in changes
    ]
    free = f"{free_bytes / 1024**3:.1f} GiB free"
    findings = left
    if free_bytes < _TREE_BYTES:
        findings.append(
            Finding(
                name,
                Health.FAIL,
                f"{path}: only {free}",
                "free some space, run `kheaders-adb gc`, or choose another place with --store",
                StoreError.exit_code,
            )
        )
    else:
        findings.append(Finding(name, Health.OK, f"{path}: writable, {free}"))
    if not case_sensitive:
        findings.append(
            Finding(
                name,
                Health.WARN,
                "this file system ignores case, so eight netfilter headers lose their twins",
                "choose a case-sensitive file system with --store or $KHEADERS_ADB_STORE",
            )
        )
    return findings


def _undo(target: Target, store: Store, console: Console) -> list[Finding]:
    from kheaders_adb.adb.select import Selection, choose
    from kheaders_adb.pipeline.left import undo

    selection = target.selection()
    serial = selection.serial
    if serial is None and selection != Selection():
        serial = choose(target.adb_server().devices(target.deadline()), selection).serial
    findings = [
        Finding("device", Health.OK, f"{done.change.serial}: {done.seen}")
        if done.error is None
        else _failed("device", done.error)
        for done in undo(
            target.adb_server(), store.changes, serial, target.deadline(), console.announce
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


def _failed(name: str, error: KheadersError) -> Finding:
    return Finding(name, Health.FAIL, error.seen, error.hint, error.exit_code)
