"""The header tree that a command for compiling is to use: of a device, or out of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kheaders_adb import settings
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import StoreChoice, Target
from kheaders_adb.cli.kernels import find_kernel
from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.pipeline.named import read_staged, tree_gone

if TYPE_CHECKING:
    from kheaders_adb.adb.deadline import Deadline
    from kheaders_adb.device.device import Device
    from kheaders_adb.ebpf.headers import HeaderTree
    from kheaders_adb.model import Staged
    from kheaders_adb.project import Project
    from kheaders_adb.store import KernelRecord, Store

LibbpfOption = Annotated[
    Path | None,
    typer.Option(
        "--libbpf",
        metavar="DIR",
        help="Where libbpf's headers are (else pkg-config's, or the usual places).",
    ),
]
ModuleOption = Annotated[
    Path | None,
    typer.Option(
        "--module",
        metavar="FILE|DIR",
        help="A kheaders.ko to load where the device's kernel shows no headers.",
    ),
]
OptimizeOption = Annotated[
    str, typer.Option("-O", metavar="LEVEL", help="Optimise: 1, 2, 3, s or z.")
]
CpuOption = Annotated[
    str, typer.Option("--cpu", metavar="CPU", help="The BPF instruction set: v1 to v4.")
]


#: How often headers are staged again that others have removed before they could be used.
_ATTEMPTS = 5
_DEFAULT = "latest"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A tree, the store that it is in, the record of its kernel there, and the device that runs it.

    Attributes:
        serial: the device's, asked now or seen when it was last used; None if there never was one.
        project: the project that it is used for.
        name: the KERNEL that means it.
        of_how_many: how many kernels it was taken from by default; 0 where it was named.
    """

    tree: HeaderTree
    store: Store
    record: KernelRecord
    serial: str | None
    project: Project
    name: str
    of_how_many: int = 0

    def in_use(self) -> AbstractContextManager[None]:
        """Keep gc and remove from taking the tree while in the block."""
        return self.store.in_use(self.record)

    def libbpf(self, given: Path | None) -> Path | None:
        """libbpf's headers as the compiler is to see them, or None where there are none."""
        from kheaders_adb.ebpf.libbpf import find_libbpf

        return find_libbpf(given, settings.links_path)

    def changing_files(self) -> tuple[Path, ...]:
        """The files that change when it would be another tree, or another project, next time."""
        from kheaders_adb.store import meanings

        noted = meanings.note(self.store, self.name, self.record)
        return (noted,) if self.project.path is None else (noted, self.project.path)

    def settle(self) -> None:
        """Once something is built: if another tree would have been chosen by now, it is to be built again."""
        from kheaders_adb.store import meanings

        meanings.settle(self.store, self.name, self.record)


def names_a_device(target: Target) -> bool:
    """Whether the user has chosen a device, with a flag or with ``$ANDROID_SERIAL``."""
    return target.names_one or settings.serial_of_environment() is not None


def staged_tree(
    choice: StoreChoice, kernel: str | None, project: Project, console: Console
) -> Chosen:
    """The tree of a staged kernel; if None is named, of the project's or the one last used.

    No device is asked.
    """
    from kheaders_adb.store.choose import last_seen_on

    store = choice.open()
    named = kernel if kernel is not None else project.kernel
    name = _DEFAULT if named is None else named
    try:
        record = find_kernel(store, name, console, to_use=True)
    except UsageError as error:
        if kernel is None and named is not None:
            error.add_note(f"{project.path} names this kernel")
        raise
    with store.in_use_if_there(record) as is_there:  # else it may vanish between two of its files
        if not is_there:
            raise tree_gone(store.tree_path(record.tree), record.identity)
        tree = read_staged(store.tree_path(record.tree), record.identity)
    for note in store.take_notes():
        console.say(f"  note: {note}")
    serial = named[1:] if named and named.startswith("@") else last_seen_on(store, record)
    of_how_many = len(store.records()) if named is None else 0
    return _caution(Chosen(tree, store, record, serial, project, name, of_how_many), console)


def tree_for(
    target: Target,
    choice: StoreChoice,
    kernel: str | None,
    project: Project,
    console: Console,
    *,
    module: Path | None = None,
) -> Chosen:
    """The tree of a device's kernel, staged now if need be; without a device, of a staged kernel.

    A kernel or a device that the user names counts more than the project's kernel.

    Raises:
        UsageError: both a device and a kernel are named on the command line, or a module without a device.
    """
    if kernel is not None:
        if target.names_one:
            raise UsageError(
                "--kernel and a device exclude each other", hint="leave one of the two out"
            )
        if module is not None:
            raise UsageError(
                "--kernel and --module exclude each other", hint="leave one of the two out"
            )
        return staged_tree(choice, kernel, project, console)
    if not names_a_device(target):
        if module is not None:
            raise UsageError(
                "--module is for the kernel of a device, and none is named",
                hint="name the device with -s, or leave --module out",
            )
        return staged_tree(choice, None, project, console)
    with kept_for(target, choice, console, module) as kept:
        tree = read_staged(kept.staged.tree, kept.record.identity)
    serial = kept.staged.serial
    return _caution(
        Chosen(tree, kept.store, kept.record, serial, project, name=f"@{serial}"), console
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """What is staged for a device, where, its kernel's record there, and the device."""

    staged: Staged
    store: Store
    record: KernelRecord
    device: Device


def _staged_for(
    target: Target,
    choice: StoreChoice,
    console: Console,
    module: Path | None,
    deadline: Deadline | None = None,
) -> tuple[Staged, Store, Device]:
    """As `staging.ensure_staged`, for a command that goes on to use the headers."""
    from kheaders_adb.cli.staging import ensure_staged, tell
    from kheaders_adb.pipeline.options import Options, Tolerance

    # What was staged under a mismatch was wanted so; it is warned of each time.
    options = Options(module=module, tolerance=Tolerance.STAGED)
    staged, store, device = ensure_staged(target, choice, console, options, deadline)
    tell(staged, console, cached=False)
    return staged, store, device


@contextmanager
def kept_for(
    target: Target, choice: StoreChoice, console: Console, module: Path | None
) -> Iterator[Kept]:
    """As `staging.ensure_staged`, and keep gc and remove from taking the tree while in the block.

    Where one of them was quicker, the headers are staged once more.
    """
    deadline = target.deadline()
    for _ in range(_ATTEMPTS):
        staged, store, device = _staged_for(target, choice, console, module, deadline)
        record = store.find_kernel(staged.kernel.key)
        if record is None or record.tree != staged.tree.name:
            continue
        with store.in_use_if_there(record) as is_there:
            if is_there:
                yield Kept(staged, store, record, device)
                return
    raise StoreError(
        f"others remove the headers from {store.root} as soon as they are staged",
        step="using the header tree",
        hint="end the `gc` or `remove` that goes on there, then run the same command again",
    )


def _caution(chosen: Chosen, console: Console) -> Chosen:
    for caution in chosen.tree.cautions:
        console.warn(caution)
    return chosen
