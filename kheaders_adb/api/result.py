"""What the API returns: a staged tree to compile against, and how it went with each of several devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb import model, settings
from kheaders_adb.api import arguments
from kheaders_adb.ebpf.stages import Stage
from kheaders_adb.errors import CompileError, KheadersError, StoreError
from kheaders_adb.store import KernelRecord, Store

if TYPE_CHECKING:
    from kheaders_adb.ebpf.headers import HeaderTree


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
        libbpf: str | Path | None = None,
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
            UsageError: `libbpf` holds no such headers, or there is no such stage, or an argument is none.
            StoreError: the tree is not there any more.
        """
        from kheaders_adb.ebpf.flags import bpf_flags, front_flags
        from kheaders_adb.ebpf.libbpf import find_libbpf

        level = arguments.word_of(optimize, "optimize")
        if arguments.choice(Stage, stage, "stage") is Stage.BPF:
            return bpf_flags(cpu=arguments.word_of(cpu, "cpu"), optimize=level)
        found = find_libbpf(arguments.path_of(libbpf, "libbpf"), settings.links_path)
        return front_flags(self._headers(), libbpf=found, optimize=level)

    def environment(self) -> dict[str, str]:
        """The variables by which bcc, bpftrace and scripts find the tree, as ``kheaders-adb env`` has them.

        Raises:
            CompileError: the tree is of an architecture that cannot be compiled for.
            StoreError: the tree is not there any more.
        """
        from kheaders_adb.ebpf.variables import environment

        return environment(self._headers())

    def compile(
        self,
        source: str | Path,
        output: str | Path | None = None,
        *,
        clang: str | None = None,
        libbpf: str | Path | None = None,
        defines: Sequence[str] = (),
        include_dirs: Sequence[str | Path] = (),
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
            UsageError: `source` is no file, `output` cannot be one, or another argument is none.
            StoreError: the kernel or its tree was removed meanwhile.

        Guarantees:
            The object appears complete or not at all.
        """
        from kheaders_adb.ebpf.clang import find_clang
        from kheaders_adb.ebpf.compile import CompileOptions, compile_program
        from kheaders_adb.ebpf.libbpf import find_libbpf
        from kheaders_adb.ebpf.programs import object_path

        program = arguments.required_path(source, "source")
        target = arguments.path_of(output, "output") or object_path(program)
        chosen = settings.clang() if clang is None else arguments.word_of(clang, "clang")
        options = CompileOptions(
            clang=find_clang(chosen),
            libbpf=find_libbpf(arguments.path_of(libbpf, "libbpf"), settings.links_path),
            defines=arguments.each(arguments.word_of, defines, "defines"),
            include_dirs=arguments.each(arguments.required_path, include_dirs, "include_dirs"),
            extra=arguments.each(arguments.word_of, extra, "extra"),
        )
        said: list[bytes] = []
        store = Store.open(self.store, create=False)
        try:
            with store.in_use(self._record(store)):
                return compile_program(
                    self._headers(), program, target, options, on_diagnostics or said.append
                )
        except CompileError as error:
            if said:
                error.add_note(b"".join(said).decode("utf-8", "replace").rstrip())
            raise

    def _headers(self) -> HeaderTree:
        from kheaders_adb.pipeline.named import read_staged

        return read_staged(self.tree, self.kernel)

    def _record(self, store: Store) -> KernelRecord:
        """The kernel's, with this tree: since this was staged, another one may have been."""
        key = self.kernel.key
        record = store.read_kernel(store.kernel_path(key))
        if record is None:
            raise StoreError(
                f"no kernel {key} is staged in {store.root}",
                step="using the header tree",
                hint="it was removed meanwhile: run `kheaders-adb pull` again",
            )
        return dataclasses.replace(record, tree=self.tree.name)


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
