"""Compiling BPF programs against a header tree."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kheaders_adb.ebpf.flags import (
    DEFAULT_CPU,
    DEFAULT_OPTIMIZE,
    SHIMS,
    bpf_flags,
    front_flags,
    list_flags,
)
from kheaders_adb.ebpf.headers import Arch, HeaderTree
from kheaders_adb.ebpf.process import DEFAULT_LIMITS, Ended, Limits, finish, started
from kheaders_adb.ebpf.programs import absent_folders, check_paths
from kheaders_adb.ebpf.workplace import temporary_folder
from kheaders_adb.errors import CompileError, UsageError
from kheaders_adb.parallel import in_parallel
from kheaders_adb.untrusted import host_file
from kheaders_adb.untrusted.host_file import Kind, drafted

OPTIMIZE_LEVELS = ("1", "2", "3", "s", "z")

Diagnostics = Callable[[bytes], None]
"""Takes clang's standard error as it comes, byte for byte."""


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """How to compile.

    Attributes:
        clang: the compiler.
        libbpf: a directory with ``bpf/`` alone in it (``find_libbpf``), or None to do without.
        defines: ``NAME`` or ``NAME=VALUE``.
        include_dirs: searched after the kernel's, in this order.
        optimize: one of ``OPTIMIZE_LEVELS``.
        cpu: the BPF instruction set.
        debug: debug information and BTF.
        dependencies: write a makefile fragment beside the object, ``prog.d`` for ``prog.o``, with an empty
            rule for each header: gc may remove them.
        depends_on: what the object depends on, besides what clang reads.
        color: colours in diagnostics.
        extra: more arguments for the front stage, after all others.
        limits: what each of clang's two processes may take.
    """

    clang: Path
    libbpf: Path | None = None
    defines: tuple[str, ...] = ()
    include_dirs: tuple[Path, ...] = ()
    optimize: str = DEFAULT_OPTIMIZE
    cpu: str = DEFAULT_CPU
    debug: bool = True
    dependencies: bool = False
    depends_on: tuple[Path, ...] = ()
    color: bool = False
    extra: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS


def compile_program(
    tree: HeaderTree,
    source: Path,
    output: Path,
    options: CompileOptions,
    on_diagnostics: Diagnostics,
) -> Path:
    """Compile one program and return ``output``.

    Args:
        tree: the headers.
        source: the C program.
        output: the object to write.
        options: how.
        on_diagnostics: receives clang's standard error.

    Raises:
        UsageError: the source is not a file, or the output is the source or in no directory.
        CompileError: clang failed, or is no clang that could do it; it has said why.  Or it exceeded a
            limit, or the headers tried to read a file that is none of theirs.

    The object appears complete or not at all; an older one stays when the compilation fails.  No process but
    clang's two is started unless one of them fails, and the second starts up while the first works.
    What the second gets can make it read no file but those that the first has read, and the first only
    files that the headers or the program may read.
    """
    return compile_programs(tree, [(source, output)], options, on_diagnostics)[0]


def _compile(
    tree: HeaderTree,
    source: Path,
    output: Path,
    options: CompileOptions,
    on_diagnostics: Diagnostics,
    stop: threading.Event,
) -> Path:
    kind = host_file.kind_of(output, step=f"compiling {source}")
    if kind not in (None, Kind.FILE) or output.parts[:2] in (("/", "dev"), ("/", "proc")):
        # Neither a device such as /dev/null nor a link such as /dev/stderr, whatever it leads to, must be
        # replaced by a file; and /dev/fd/3 is another one to clang.
        with temporary_folder(f"compiling {source}") as folder:
            made = folder / "object.o"
            _stages(tree, source, made, options, on_diagnostics, stop)
            with host_file.writing(output, step=f"compiling {source}"):
                output.write_bytes(made.read_bytes())
        return output
    with drafted(output) as draft:
        # Before clang says it in its own way, of a name that is not the user's.
        with host_file.writing(output, step=f"compiling {source}"):
            draft.touch(exist_ok=False)
            draft.unlink()
        listing = _stages(tree, source, draft, options, on_diagnostics, stop)
        if options.dependencies:
            from kheaders_adb.ebpf.reads import with_target

            dependencies = output.with_suffix(".d")
            with drafted(dependencies) as note:
                # The rule is for the object, not for the intermediate code that the front stage writes.
                _write(note, with_target(listing, str(output), options.depends_on), dependencies)
                _publish(note, dependencies)
        _publish(draft, output)
    return output


def compile_programs(
    tree: HeaderTree,
    programs: Sequence[tuple[Path, Path]],
    options: CompileOptions,
    on_diagnostics: Diagnostics,
    *,
    parallel: int = 1,
) -> list[Path]:
    """Compile several programs, given as (source, output), and return the outputs.

    All of them are tried; the diagnostics of each stay together.

    Raises:
        UsageError: two of them would write the same object, or as for ``compile_program``.
        CompileError: some failed.
    """
    outputs = [output.absolute() for _, output in programs]
    for output in outputs:
        if outputs.count(output) > 1:
            raise UsageError(
                f"several sources would be compiled to {output}",
                hint="compile sources of the same name into different directories",
            )
    for source, output in programs:
        check_paths(source, output)
    _check_options(options)
    stop = threading.Event()

    def one(program: tuple[Path, Path]) -> CompileError | None:
        said: list[bytes] = []
        try:
            _compile(tree, *program, options, said.append, stop)
        except CompileError as error:
            return error
        finally:
            if said:
                on_diagnostics(b"".join(said))
        return None

    # One alone has a thread of its own too: a signal in the middle of starting clang would lose sight of it.
    ended = in_parallel(one, programs, at_once=parallel, stop=stop)
    failures = [error for error in ended if error is not None]
    if failures:
        first = failures[0]
        if len(failures) == 1:
            raise first
        raise CompileError(
            f"{len(failures)} of {len(programs)} programs failed, the first: {first}",
            step="compiling",
            hint=first.hint,
        ) from first
    return [output for _, output in programs]


def _stages(
    tree: HeaderTree,
    source: Path,
    draft: Path,
    options: CompileOptions,
    on_diagnostics: Diagnostics,
    stop: threading.Event,
) -> bytes:
    """Run both stages and return clang's list of the files that it has read."""
    step = f"compiling {source}"
    given = _named(options)
    color = "-fcolor-diagnostics" if options.color else "-fno-color-diagnostics"
    # What clang writes down of a crash is for its authors, takes as long again, and goes to /tmp.
    base = [str(options.clang), color, "-fno-crash-diagnostics"]
    with _lists(draft, step) as (listing, graph):
        front = [
            *base,
            *front_flags(
                tree, libbpf=options.libbpf, optimize=options.optimize, debug=options.debug
            ),
            *(f"-I{directory}" for directory in options.include_dirs),
            *(f"-D{define}" for define in options.defines),
            *options.extra,
            *list_flags(listing, graph, phony=options.dependencies),
            # Text, since it is read here; and clang assembles nothing for it, as it would for bitcode.
            *("-S", _as_argument(source), "-o", "-"),
        ]
        back = [*base, *bpf_flags(cpu=options.cpu, optimize=options.optimize)]
        back += ["-c", "-", "-o", str(draft)]
        try:
            with (
                started(front, options.limits) as first,
                started(back, options.limits, fed=True) as second,
            ):
                # Imported while clang works: it takes a hundred times as long.
                from kheaders_adb.ebpf import assembly, reads
                from kheaders_adb.ebpf.clang import headers_asked, headers_nearby

                parsed = finish(first, options.limits, stop=stop)
                if parsed.diagnostics:
                    on_diagnostics(parsed.diagnostics)
                if parsed.status or parsed.limit:
                    raise _failure(parsed, options, step)
                compilers = [
                    partial(near, options.clang) for near in (headers_nearby, headers_asked)
                ]
                bounds = reads.Bounds((tree.root, SHIMS, *_libbpf(options)), given)
                read = reads.check_reads(listing, graph, source, bounds, compilers)
                if b"target triple" not in parsed.code:
                    raise CompileError(
                        "clang has read the program and made nothing of it",
                        step=step,
                        hint="leave out flags that ask for something else, such as -fsyntax-only",
                    )
                if tree.arch is Arch.ARM:
                    _refuse_pointers(parsed.code, step)
                cleaned = assembly.clean(parsed.code, read.holds)
                if cleaned.dropped:
                    on_diagnostics(_warning(source, cleaned.dropped))
                # The second stage is fed from here and not by the first: when it dies early, the first would
                # complain of a broken pipe and the reason would drown.
                built = finish(second, options.limits, given=cleaned.code, stop=stop)
        except OSError as error:
            from kheaders_adb.ebpf.clang import cannot_be_run

            raise cannot_be_run(options.clang, error, step) from error
    if built.diagnostics:
        on_diagnostics(built.diagnostics)
    refused = assembly.refused_in(built.diagnostics, cleaned)
    if refused is not None:
        raise CompileError(
            f"{assembly.place(parsed.code, refused)}: an asm with directives for the assembler cannot go "
            f'into a BPF object, where it could read any file of this host: "{refused.text}"',
            step=step,
            hint="leave that function of the headers out of the program",
        )
    if built.status or built.limit:
        raise _failure(built, options, step)
    return read.listing


def _failure(ended: Ended, options: CompileOptions, step: str) -> CompileError:
    from kheaders_adb.ebpf.clang import failure
    from kheaders_adb.ebpf.libbpf import INSTALL_HINT

    lacks_libbpf = options.libbpf is None and b"'bpf/bpf_" in ended.diagnostics
    return failure(options.clang, ended, step, hint=INSTALL_HINT if lacks_libbpf else None)


def _named(options: CompileOptions) -> tuple[Path, ...]:
    """Return the folders and files that the user has named for clang to read."""
    extra: list[Path] = []
    if options.extra:
        from kheaders_adb.ebpf.reads import named_by_flags

        extra = named_by_flags(options.extra)
    return (*options.include_dirs, *extra, *_libbpf(options))


def _libbpf(options: CompileOptions) -> tuple[Path, ...]:
    # Its folder may hold no more than a link to the headers.
    return (options.libbpf, options.libbpf / "bpf") if options.libbpf else ()


def _warning(source: Path, dropped: tuple[str, ...]) -> bytes:
    more = f" and {len(dropped) - 1} more lines" if len(dropped) > 1 else ""
    return os.fsencode(
        f'{source}: warning: assembly outside of functions is left out: "{dropped[0]}"{more}\n'
    )


def _refuse_pointers(code: bytes, step: str) -> None:
    from kheaders_adb.ebpf.pointers import pointer_accesses

    found = pointer_accesses(code.decode("utf-8", "replace"))
    if found:
        raise CompileError(
            "pointers have 4 bytes in this kernel and 8 in BPF, so that accesses to "
            + ", ".join(found[:5])
            + (" and others" if len(found) > 5 else "")
            + " would go to the wrong place",
            step=step,
            hint="add offsetof(struct …, field) to the address yourself, and read pointers into a u32",
        )


@contextlib.contextmanager
def _lists(draft: Path, step: str) -> Iterator[tuple[Path, Path]]:
    """Give the names of two files for clang's lists, beside the object where that is a file."""
    if not draft.exists():
        with drafted(draft) as listing, drafted(draft) as graph:
            yield listing, graph
        return
    from kheaders_adb.ebpf.workplace import temporary_folder

    with temporary_folder(step) as folder:
        yield folder / "list", folder / "graph"


def _check_options(options: CompileOptions) -> None:
    if options.optimize not in OPTIMIZE_LEVELS:
        raise UsageError(
            f"-O{options.optimize} is not a level for BPF programs",
            hint=f"one of {', '.join(OPTIMIZE_LEVELS)}; without optimisation the verifier refuses them",
        )
    absent_folders(options.include_dirs)


def _as_argument(path: Path) -> str:
    """Return a path that clang cannot take for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def _write(draft: Path, content: bytes, target: Path) -> None:
    try:
        draft.write_bytes(content)
    except OSError as error:
        raise CompileError(
            f"{target} cannot be written: {error.strerror}", step="writing the dependencies"
        ) from error


def _publish(draft: Path, target: Path) -> None:
    try:
        draft.replace(target)
    except OSError as error:
        raise CompileError(
            f"{target} cannot be written: {error.strerror}", step="writing the object"
        ) from error
