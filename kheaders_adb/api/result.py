"""What the API returns: a staged tree to compile against, and how it went with each of several devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb import model, settings
from kheaders_adb.ebpf.stages import Stage
from kheaders_adb.errors import CompileError, KheadersError
from kheaders_adb.store import Store


@dataclass(frozen=True, slots=True)
class Staged(model.Staged):
    """A staged header tree, as `model.Staged`, and what it is good for.

    Attributes:
        store: the folder of the store that it is in.
    """

    store: Path = dataclasses.field(kw_only=True)

    def cflags(
        self,
        *,
        stage: Stage | str = Stage.FRONT,
        libbpf: Path | None = None,
        optimize: str = "2",
        cpu: str = "v2",
    ) -> list[str]:
        """clang's flags for one of the two stages, as ``kheaders-adb cflags`` prints them.

        Args:
            stage: ``front``, from C to LLVM IR for the device's processor; ``bpf``, from that to an object.
            libbpf: where libbpf's headers are; None for where pkg-config says, if they are installed.
            optimize: clang's level without ``-O``, the same for both stages.
            cpu: the BPF instruction set, for the second.

        Raises:
            CompileError: the tree is of an architecture that cannot be compiled for.
            UsageError: `libbpf` holds no such headers, or there is no such stage.
        """
        from kheaders_adb.api.arguments import choice
        from kheaders_adb.ebpf.flags import bpf_flags, front_flags
        from kheaders_adb.ebpf.headers import read_tree
        from kheaders_adb.ebpf.libbpf import find_libbpf

        if choice(Stage, stage, "stage") is Stage.BPF:
            return bpf_flags(cpu=cpu, optimize=optimize)
        found = find_libbpf(libbpf, settings.links_path)
        return front_flags(read_tree(self.tree), libbpf=found, optimize=optimize)

    def environment(self) -> dict[str, str]:
        """The variables by which bcc, bpftrace and scripts find the tree, as ``kheaders-adb env`` has them.

        Raises:
            CompileError: the tree is of an architecture that cannot be compiled for.
        """
        from kheaders_adb.ebpf.headers import read_tree
        from kheaders_adb.ebpf.variables import environment

        return environment(read_tree(self.tree))

    def compile(
        self,
        source: str | Path,
        output: str | Path | None = None,
        *,
        clang: str | None = None,
        libbpf: Path | None = None,
        defines: Sequence[str] = (),
        include_dirs: Sequence[Path] = (),
        extra: Sequence[str] = (),
        on_diagnostics: Callable[[bytes], None] | None = None,
    ) -> Path:
        """Compile a BPF program and return the path of the object.

        Args:
            source: the C program.
            output: the object; None for one beside the source, ``prog.bpf.c`` → ``prog.bpf.o``.
            clang: name or path; None for ``$CLANG``, or the one found on PATH.
            libbpf: as for `cflags`.
            defines: ``NAME`` or ``NAME=VALUE``.
            include_dirs: searched after the kernel's.
            extra: more arguments for clang's front stage.
            on_diagnostics: receives what clang writes; without it, an error carries that as a note.

        Raises:
            CompileError: clang failed, or there is none that makes BPF objects.
            UsageError: `source` is no file, or `output` cannot be one.
            StoreError: the tree was removed meanwhile.

        Guarantees:
            The object appears complete or not at all.
        """
        from kheaders_adb.ebpf.clang import find_clang
        from kheaders_adb.ebpf.compile import CompileOptions, compile_program
        from kheaders_adb.ebpf.headers import read_tree
        from kheaders_adb.ebpf.libbpf import find_libbpf
        from kheaders_adb.ebpf.programs import object_path

        options = CompileOptions(
            clang=find_clang(clang or settings.clang()),
            libbpf=find_libbpf(libbpf, settings.links_path),
            defines=tuple(defines),
            include_dirs=tuple(include_dirs),
            extra=tuple(extra),
        )
        source = Path(source)
        target = Path(output) if output is not None else object_path(source)
        said: list[bytes] = []
        store = Store.open(self.store, create=False)
        try:
            with store.in_use(store.resolve(self.kernel.key)):
                return compile_program(
                    read_tree(self.tree), source, target, options, on_diagnostics or said.append
                )
        except CompileError as error:
            if said:
                error.add_note(b"".join(said).decode("utf-8", "replace").rstrip())
            raise


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went with one of several devices: exactly one of `staged` and `error` is set.

    Attributes:
        serial: the device.
        staged: what is staged for it.
        error: why nothing is.
    """

    serial: str
    staged: Staged | None = None
    error: KheadersError | None = None
