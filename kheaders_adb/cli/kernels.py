"""``list``, ``show``, ``path``, ``remove``: the kernels whose headers are staged."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Kernel, Output, StoreChoice
from kheaders_adb.errors import ArchiveError, MismatchError, StoreError, UsageError
from kheaders_adb.pipeline.named import judged_today, require_tree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kheaders_adb.store import BrokenRecord, KernelRecord, Store

_STATUS_WIDTH = 8


def find_kernel(
    store: Store, kernel: str, console: Console, *, to_use: bool = False
) -> KernelRecord:
    """The record that `kernel` means; warns, each time, if its tree is not simply the kernel's.

    Args:
        to_use: its tree is going to be used, so that it must belong to the kernel by today's rules.

    Raises:
        UsageError: none or several are meant.
        MismatchError, ArchiveError: `to_use`, and today's rules say that it does not belong or refuse it.
        StoreError: the disk failed.
    """
    from kheaders_adb.kernel.caution import verdict_warning

    record = by_todays_rules(store, store.resolve(kernel), console, to_use=to_use)
    if warning := verdict_warning(record.verdict, quiet=console.wanted.quiet):
        console.warn(f"{record.identity.release} ({record.key[:12]}): {warning}")
    return record


def by_todays_rules(
    store: Store, record: KernelRecord, console: Console, *, to_use: bool
) -> KernelRecord:
    """The record, judged again from what is stored if older rules have judged it; as `find_kernel`."""
    found = judged_today(store, record, to_use=to_use)
    now = found.record
    name = f"{now.identity.release} ({now.key[:12]})"
    if found.error is not None:
        console.warn(f"{name} cannot be judged by today's rules: {found.error.seen}")
    if found.was is not None:
        console.say(
            f"{name}: {now.verdict.level} by today's rules, "
            f"{found.was} by those of kheaders-adb {now.tool_version}"
        )
    return now


def warn_of_broken(console: Console, broken: Iterable[BrokenRecord]) -> None:
    """Name the files among the records that are none; gc leaves whatever may be theirs."""
    for found in broken:
        console.warn(
            f"{found.path}: {found.seen}; "
            + (
                "move it out of the store"
                if found.key is None
                else "the next pull of that kernel replaces it, `kheaders-adb verify --all --repair` "
                "removes it; until then gc leaves what may belong to it"
            )
        )


def list_kernels(store: StoreChoice, output: Output) -> None:
    """List the staged kernels, the newest first.

    SIZE is what there is on the disk for a kernel; what kernels share is in the size of each, and once in the
    total.
    """
    from kheaders_adb.cli.render import or_dash, size_text
    from kheaders_adb.cli.tables import Cell, Tone, level_tone, put_table
    from kheaders_adb.store.upkeep.usage import Usage

    console = Console.standard(output)
    trees = store.open()
    scan = trees.scan()
    records = [by_todays_rules(trees, record, console, to_use=False) for record in scan.records]
    warn_of_broken(console, scan.broken)
    usage = Usage.of(trees)
    if output.json:
        kernels = [record_to_json(trees, record, usage.of_kernel(record)) for record in records]
        console.document({"kernels": kernels, "disk_bytes": usage.total_bytes})
        return
    if not records:
        console.say("nothing is staged yet; `kheaders-adb pull` stages the headers of a device")
        return
    pinned = trees.pinned()
    titles = ("KEY", "RELEASE", "MACHINE", "DEVICE", "VERDICT", "SIZE", "AGE", "")
    rows = [
        [
            Cell(record.key[:12]),
            Cell(record.identity.release),
            Cell(record.identity.machine),
            Cell(or_dash(record.serial)),
            Cell(record.verdict.level.value, level_tone(record.verdict.level)),
            Cell(size_text(usage.of_kernel(record))),
            Cell(_age(time.time() - record.staged_at)),
            Cell("pinned" if record.key in pinned else "", Tone.GOOD),
        ]
        for record in records
    ]
    put_table(console, titles, rows, folded=("RELEASE",))
    kernels_counted = "1 kernel" if len(records) == 1 else f"{len(records)} kernels"
    console.say(f"{kernels_counted}, {size_text(usage.total_bytes)} on the disk")


def show(
    store: StoreChoice,
    output: Output,
    kernel: Kernel = "latest",
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="TEXT",
            help="Print this with the fields put in: '{release} {level}'.",
        ),
    ] = None,
) -> None:
    """Show one kernel: its identity, where its headers came from, and every check behind the verdict."""
    from kheaders_adb.cli.render import omitted_line
    from kheaders_adb.cli.tables import Cell, level_tone, put_record, status_tone
    from kheaders_adb.store.upkeep.usage import kernel_bytes

    console = Console.standard(output)
    if form is not None:
        from kheaders_adb.cli.fields import formatted, require_format

        if output.json:
            raise UsageError(
                "--format and --json exclude each other", hint="leave one of the two out"
            )
        require_format(form)
        trees = store.open()
        console.value(formatted(form, trees, find_kernel(trees, kernel, console)))
        return
    trees = store.open()
    record = find_kernel(trees, kernel, console)
    if output.json:
        console.document(record_to_json(trees, record, kernel_bytes(trees, record)))
        return
    identity, archive = record.identity, record.archive
    left_out = omitted_line(archive)
    staged_at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.staged_at))
    rows = [
        (Cell(name), Cell(text))
        for name, text in (
            ("key", record.key),
            ("release", identity.release),
            ("version", identity.version),
            ("machine", identity.machine),
            ("build-id", identity.build_id or "unknown"),
            ("config", f"sha256 {identity.config_sha256}" if identity.config_sha256 else "unknown"),
            ("evidence", identity.evidence.value),
            ("device", record.serial or "-"),
            ("source", f"{record.source.kind.value} {record.source.path}"),
            ("archive", f"sha256 {archive.sha256}"),
            ("", f"{archive.size_bytes} bytes, {archive.members} members"),
            *([("", left_out)] if left_out else []),
            ("tree", str(trees.tree_path(record.tree))),
            ("staged", f"{staged_at} by kheaders-adb {record.tool_version}"),
        )
    ]
    level = record.verdict.level
    rows.append((Cell("verdict"), Cell(level.value, level_tone(level))))
    for check in record.verdict.checks:
        status = check.status.value
        found = check.found if status != "differ" else f"{check.found}, not {check.expected}"
        detail = found or check.expected or ""
        tone, hang = status_tone(check.status), _STATUS_WIDTH + 1
        said = f"{status:{_STATUS_WIDTH}} {detail}".rstrip()
        rows.append((Cell(f"  {check.name}"), Cell(said, tone, len(status), hang)))
        if check.note:
            rows.append((Cell(""), Cell(f"{'':{_STATUS_WIDTH}} ({check.note})", hang=hang)))
    put_record(console, rows)


def path(
    store: StoreChoice,
    output: Output,
    kernel: Kernel = "latest",
    exists: Annotated[
        bool,
        typer.Option("--exists", help="Print nothing; the exit code says whether it can be used."),
    ] = False,
) -> int:
    """Print the path of a staged tree."""
    if exists:
        return _exists(store, kernel, output)
    console = Console.standard(output)
    trees = store.open()
    record = find_kernel(trees, kernel, console, to_use=True)
    tree = require_tree(trees, record)
    if output.json:
        console.document({"kernel": {"key": record.key}, "tree": str(tree)})
    else:
        console.value(str(tree))
    return 0


def _exists(choice: StoreChoice, kernel: str, output: Output) -> int:
    """What `path` would end with, without a word, unless the question cannot be answered."""
    console = Console.standard(replace(output, quiet=True))
    code = 0
    store = choice.open()
    try:
        record = by_todays_rules(store, store.resolve(kernel), console, to_use=True)
    except (UsageError, MismatchError, ArchiveError) as error:
        code = error.exit_code
    else:
        from kheaders_adb.store.faults import is_folder

        if not is_folder(store.tree_path(record.tree)):
            code = StoreError.exit_code
    if output.json:
        console.document({"exists": code == 0})
    return code


def remove(
    kernels: Annotated[
        list[str],
        typer.Argument(
            metavar="KERNEL…",
            help="Key prefixes, releases or their beginnings if unique, @SERIAL, or 'latest'.",
        ),
    ],
    store: StoreChoice,
    output: Output,
) -> None:
    """Remove kernels from the store, and their trees where no other kernel needs them."""
    from kheaders_adb.cli.render import size_text
    from kheaders_adb.store.upkeep.gc import remove as remove_kernel

    console = Console.standard(output)
    trees = store.open()
    # All are resolved before the first is removed: a typing error removes nothing.
    records = {record.key: record for record in map(trees.resolve, kernels)}
    freed_bytes = 0
    for record in records.values():
        freed = remove_kernel(trees, record.key).freed_bytes
        freed_bytes += freed
        console.say(
            f"removed {record.identity.release} ({record.key[:12]}): {size_text(freed)} freed"
        )
    if output.json:
        console.document({"removed": list(records), "freed_bytes": freed_bytes})


def record_to_json(trees: Store, record: KernelRecord, disk_bytes: int) -> dict[str, Any]:
    """A staged kernel for ``--json``, in the fields of ``pull --json``."""
    from kheaders_adb.cli.render import (
        kernel_to_json,
        source_to_json,
        verdict_to_json,
    )
    from kheaders_adb.store.records import archive_to_json

    size = trees.tree_size(record.tree)
    return {
        "serial": record.serial,
        "kernel": kernel_to_json(record.identity),
        "source": source_to_json(record.source),
        "archive": archive_to_json(record.archive),
        "verdict": verdict_to_json(record.verdict),
        "tree": str(trees.tree_path(record.tree)),
        "files": None if size is None else size.files,
        "content_bytes": None if size is None else size.content_bytes,
        "disk_bytes": disk_bytes,
        "pinned": record.key in trees.pinned(),
        "staged_at": record.staged_at,
        "tool_version": record.tool_version,
    }


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "now" if seconds < 1 else f"{int(seconds)} s"
