"""Compiling BPF programs against a header tree."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb.ebpf.flags import DEFAULT_CPU, DEFAULT_OPTIMIZE, bpf_flags, front_flags
from kheaders_adb.ebpf.headers import Arch, HeaderTree
from kheaders_adb.errors import CompileError, UsageError

_GRACE_S = 2.0

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
        dependencies: write a makefile fragment beside the object, ``prog.d`` for ``prog.o``.
        color: colours in diagnostics.
        extra: more arguments for the front stage, after all others.
    """

    clang: Path
    libbpf: Path | None = None
    defines: tuple[str, ...] = ()
    include_dirs: tuple[Path, ...] = ()
    optimize: str = DEFAULT_OPTIMIZE
    cpu: str = DEFAULT_CPU
    debug: bool = True
    dependencies: bool = False
    color: bool = False
    extra: tuple[str, ...] = ()


def object_path(source: Path) -> Path:
    """Return where a source's object goes by default: beside it, ``prog.bpf.c`` → ``prog.bpf.o``."""
    return source.with_suffix(".o")


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
        CompileError: clang failed, or is no clang that could do it; it has said why.

    The object appears complete or not at all; an older one stays when the compilation fails.  No process but
    clang's two is started unless one of them fails, and the second starts up while the first works.
    """
    _check_paths(source, output)
    _check_options(options)
    if output.exists() and not output.is_file():
        # A device such as /dev/null must not be replaced by a file.
        return _stages(tree, source, output, output, None, options, on_diagnostics)
    with _draft(output) as draft:
        dependencies = output.with_suffix(".d") if options.dependencies else None
        if dependencies is None:
            _stages(tree, source, draft, output, None, options, on_diagnostics)
        else:
            with _draft(dependencies) as note:
                _stages(tree, source, draft, output, note, options, on_diagnostics)
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
        _check_paths(source, output)
    if len(programs) == 1:
        return [compile_program(tree, *programs[0], options, on_diagnostics)]

    from concurrent.futures import ThreadPoolExecutor  # slow to import, for one program in vain

    def one(program: tuple[Path, Path]) -> CompileError | None:
        said: list[bytes] = []
        try:
            compile_program(tree, *program, options, said.append)
        except CompileError as error:
            return error
        finally:
            if said:
                on_diagnostics(b"".join(said))
        return None

    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        try:
            failures = [error for error in pool.map(one, programs) if error is not None]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
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
    output: Path,
    dependencies: Path | None,
    options: CompileOptions,
    on_diagnostics: Diagnostics,
) -> Path:
    narrow = tree.arch is Arch.ARM
    color = ["-fcolor-diagnostics" if options.color else "-fno-color-diagnostics"]
    front = [
        str(options.clang),
        *color,
        *front_flags(tree, libbpf=options.libbpf, optimize=options.optimize, debug=options.debug),
        *(f"-I{directory}" for directory in options.include_dirs),
        *(f"-D{define}" for define in options.defines),
        # The rule is for the object, not for the intermediate code that this stage writes.
        *(("-MD", "-MF", str(dependencies), "-MQ", str(output)) if dependencies else ()),
        *options.extra,
        *("-S" if narrow else "-c", _as_argument(source), "-o", "-"),
    ]
    back = [
        str(options.clang),
        *color,
        *bpf_flags(cpu=options.cpu, optimize=options.optimize),
        *("-c", "-", "-o", str(draft)),
    ]
    step = f"compiling {source}"
    try:
        with (
            _process(front, subprocess.DEVNULL) as first,
            _process(back, subprocess.PIPE) as second,
        ):
            code, said = first.communicate()
            lacks_libbpf = options.libbpf is None and b"'bpf/bpf_" in said
            if said:
                on_diagnostics(said)
            if first.returncode != 0:
                second.terminate()
            elif narrow:
                _refuse_pointers(code, step)
            # The second stage is fed from here and not by the first: when it dies early, the first would
            # complain of a broken pipe and the reason would drown.
            if first.returncode == 0:
                _feed(second, code)
            _, said = second.communicate()
            if said and first.returncode == 0:
                on_diagnostics(said)
    except OSError as error:
        raise CompileError(
            f"{options.clang} cannot be run: {error.strerror}",
            step=step,
            hint="name a working clang with CLANG=/path/to/clang",
        ) from error
    status = first.returncode or second.returncode
    if status:
        from kheaders_adb.ebpf.clang import diagnose
        from kheaders_adb.ebpf.libbpf import INSTALL_HINT

        raise diagnose(options.clang) or CompileError(
            f"clang ended by signal {-status}" if status < 0 else f"clang failed ({status})",
            step=step,
            hint=INSTALL_HINT if lacks_libbpf else None,
        )
    return output


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
def _process(command: list[str], stdin: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process; it is dead when the block is left, in whatever way."""
    with subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()  # clang then removes what it has begun to write
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
                process.kill()


def _feed(process: subprocess.Popen[bytes], code: bytes) -> None:
    """Give clang all of its input at once: it reads that before it says anything, so neither waits long."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died, and its exit code will say so
        process.stdin.write(code)
        process.stdin.flush()


def _check_paths(source: Path, output: Path) -> None:
    if not source.is_file():
        raise UsageError(f"{source} is not a file", step="compiling")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is not a directory", step=f"compiling {source}")
    if output.is_dir():
        raise UsageError(f"{output} is a directory", step=f"compiling {source}")
    if output.exists() and output.samefile(source):
        raise UsageError(f"the object would replace its source {source}", step="compiling")


def _check_options(options: CompileOptions) -> None:
    if options.optimize not in OPTIMIZE_LEVELS:
        raise UsageError(
            f"-O{options.optimize} is not a level for BPF programs",
            hint=f"one of {', '.join(OPTIMIZE_LEVELS)}; without optimisation the verifier refuses them",
        )


def _as_argument(path: Path) -> str:
    """Return a path that clang cannot take for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Give a new name beside ``target``; what is there at the end is removed."""
    draft = target.with_name(f".{target.name}.{os.urandom(6).hex()}.tmp")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, target: Path) -> None:
    try:
        draft.replace(target)
    except OSError as error:
        raise CompileError(
            f"{target} cannot be written: {error.strerror}", step="writing the object"
        ) from error
