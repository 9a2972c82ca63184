"""``verify``, ``gc``, ``pin``, ``unpin``, ``export``: looking after the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Kernel, Output, StoreChoice
from kheaders_adb.cli.kernels import find_kernel, warn_of_broken
from kheaders_adb.cli.piped import is_stdout, piped
from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.steps import StepKind

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNITS_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def verify(
    store: StoreChoice,
    output: Output,
    kernel: Kernel = "latest",
    all_kernels: Annotated[
        bool, typer.Option("--all", help="Everything in the store, not one kernel.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what is wrong from the stored archives.")
    ] = False,
) -> int:
    """Compare staged trees, file by file, with the digests recorded when they were staged.

    Ends with 8 if anything is wrong and was not mended.
    """
    from kheaders_adb.archive.reader import read_archive
    from kheaders_adb.store.upkeep.verify import verify as verify_store

    console = Console.standard(output)
    trees = store.open()
    records = None if all_kernels else [find_kernel(trees, kernel, console)]
    with console.doing(StepKind.VERIFY):
        done = verify_store(trees, records, repair_with=read_archive if repair else None)
    if output.json:
        console.document(
            {
                "ok": done.is_sound,
                "trees": list(done.trees),
                "files": done.files,
                "omitted": done.omitted,
                "problems": [
                    {
                        "tree": problem.tree,
                        "path": problem.path,
                        "kind": problem.kind.value,
                        "seen": problem.seen,
                        "also_in": list(problem.also_in),
                        "repaired": problem.repaired,
                        "remedy": problem.remedy,
                    }
                    for problem in done.problems
                ],
            }
        )
    else:
        for problem in done.problems:
            state = "repaired" if problem.repaired else problem.remedy or "not repaired"
            console.result(f"{problem.path}: {problem.seen} ({state})")
            for place in problem.also_in:
                console.result(f"    the same file in {place}")
        console.say(
            f"{counted(len(done.trees), 'tree')}, {counted(done.files, 'file')}: "
            + (counted(len(done.problems), "problem") if done.problems else "all as recorded")
        )
        if any(not problem.repaired and problem.remedy is None for problem in done.problems):
            console.say("  hint: `kheaders-adb verify --all --repair` repairs what it can")
        if done.omitted:
            console.say(
                f"  {counted(done.omitted, 'link')} of the archives led nowhere inside them and were "
                "left out when they were staged"
            )
    return 0 if done.is_sound else StoreError.exit_code


def gc(
    store: StoreChoice,
    output: Output,
    max_age: Annotated[
        str | None,
        typer.Option(
            "--max-age", metavar="AGE", help="Remove what was not used for this long: 30d, 12h."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="Shrink the store to this size: 2G, 500M."),
    ] = None,
    max_kernels: Annotated[
        int | None,
        typer.Option("--max-kernels", metavar="N", min=0, help="Keep at most N kernels."),
    ] = None,
    keep_latest: Annotated[
        int,
        typer.Option(
            "--keep-latest",
            metavar="N",
            min=0,
            help="Keep the N newest of each device in any case.",
        ),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
) -> None:
    """Remove kernels by age, number or size, those used least recently first; pinned ones stay.

    Without a limit only litter goes: what killed runs left, and what no kernel refers to.  It is safe beside
    running pulls.
    """
    from kheaders_adb.cli.render import size_text
    from kheaders_adb.store.upkeep.gc import Policy, collect

    console = Console.standard(output)
    policy = Policy(
        max_age_s=None if max_age is None else parse_age(max_age),
        max_kernels=max_kernels,
        max_size_bytes=None if max_size is None else parse_size(max_size),
        keep_latest_per_device=keep_latest,
    )
    trees = store.open()
    with console.doing(StepKind.GC):
        done = collect(trees, policy, dry_run=dry_run)
    warn_of_broken(console, done.broken)
    if output.json:
        console.document(
            {
                "dry_run": dry_run,
                "removed": [record.key for record in done.removed],
                "kept": done.kept,
                "trees": list(done.trees),
                "archives": list(done.archives),
                "configs": list(done.configs),
                "broken": [str(found.path) for found in done.broken],
                "litter": done.litter,
                "freed_bytes": done.freed_bytes,
            }
        )
        return
    verb, freed = ("would remove", "would be freed") if dry_run else ("removed", "freed")
    for record in done.removed:
        console.result(f"{verb} {record.identity.release} ({record.key[:12]})")
    console.say(
        f"{verb} {counted(len(done.removed), 'kernel')}, {counted(len(done.trees), 'tree')}: "
        f"{size_text(done.freed_bytes)} {freed}; left: {counted(done.kept, 'kernel')}"
    )


def counted(number: int, noun: str) -> str:
    """A number of things, as in "1 tree" and "2 trees"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def pin(store: StoreChoice, output: Output, kernel: Kernel = "latest") -> None:
    """Keep a kernel from being removed by gc."""
    _set_pin(store, output, kernel, pinned=True)


def unpin(store: StoreChoice, output: Output, kernel: Kernel = "latest") -> None:
    """Let gc remove a kernel again."""
    _set_pin(store, output, kernel, pinned=False)


def _set_pin(store: StoreChoice, output: Output, kernel: str, *, pinned: bool) -> None:
    console = Console.standard(output)
    trees = store.open()
    record = trees.resolve(kernel)
    if pinned:
        trees.pin(record.key)
    else:
        trees.unpin(record.key)
    console.say(
        f"{'pinned' if pinned else 'unpinned'} {record.identity.release} ({record.key[:12]})"
    )
    if output.json:
        console.document({"kernel": {"key": record.key}, "pinned": pinned})


def export(
    file: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where to: a file, - for stdout; a folder with --tree.",
        ),
    ],
    store: StoreChoice,
    output: Output,
    kernel: Kernel = "latest",
    tree: Annotated[
        bool, typer.Option("--tree", help="The extracted tree instead of the archive.")
    ] = False,
    config: Annotated[
        bool,
        typer.Option("--config", help="The kernel's config.gz instead."),
    ] = False,
) -> None:
    """Copy a kernel's archive, byte for byte as it was read, its tree or its config.gz out of the store."""
    from kheaders_adb.store.upkeep.export import export_archive, export_config, export_tree

    if tree and config:
        raise UsageError("--tree and --config exclude each other", hint="leave one of the two out")
    console = Console.standard(output)
    trees = store.open()
    record = find_kernel(trees, kernel, console, to_use=tree)
    if tree:
        if is_stdout(file):
            raise UsageError("a tree is a folder, and no stdout", hint="give a folder with -o")
        with console.doing(StepKind.EXPORT, file):
            count = export_tree(trees, record, file)
        console.say(f"{file}: {count} files of {record.identity.release}")
    elif config:
        with piped(file, console, name="config.gz", what="a config.gz") as place:
            count = export_config(trees, record, place)
        console.say(f"{file}: {count} bytes, the configuration of {record.identity.release}")
    else:
        with piped(file, console, name="kheaders.tar.xz", what="an archive") as place:
            count = export_archive(trees, record, place)
        console.say(f"{file}: {count} bytes, sha256 {record.archive.sha256}")
    if output.json:
        console.document({"kernel": {"key": record.key}, "output": str(file)})


def parse_age(text: str) -> float:
    """Seconds of an age such as "30d", "12h" or "90m".

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if match is None:
        raise UsageError(f"--max-age: {text!r} is no age", hint="give one such as 30d, 12h or 90m")
    return int(match[1]) * _UNITS_S[match[2]]


def parse_size(text: str) -> int:
    """Bytes of a size such as "2G", "500M" or "1048576".

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"--max-size: {text!r} is no size", hint="give one such as 2G or 500M")
    return int(match[1]) * _UNITS_BYTES[match[2].upper()]
