"""``compile`` and ``compdb``: BPF programs against the headers of a device's own kernel."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kheaders_adb import settings
from kheaders_adb.cli.command import Command, options_of
from kheaders_adb.cli.console import Console, error_to_json
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.cli.headers import (
    Chosen,
    CpuOption,
    LibbpfOption,
    ModuleOption,
    OptimizeOption,
    tree_for,
)
from kheaders_adb.cli.piped import is_stdout, piped, refuse_stdout
from kheaders_adb.cli.projects import project_for
from kheaders_adb.cli.used import say_used, used_to_json
from kheaders_adb.cli.words import flags_of_clang
from kheaders_adb.errors import CompileError, UsageError
from kheaders_adb.steps import StepKind

if TYPE_CHECKING:
    from kheaders_adb.ebpf.compile import CompileOptions

_FOR_CLANG = "--for-clang"


class WithClangFlags(Command):
    """A command whose arguments after ``--`` are for clang, and flags before it that can only be clang's."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Turn what stands after ``--`` into values of a hidden option."""
        at = args.index("--") if "--" in args else len(args)
        ours, clangs = flags_of_clang(args[:at], options_of(self, ctx), ctx.command_path)
        rest = [f"{_FOR_CLANG}={flag}" for flag in (*clangs, *args[at + 1 :])]
        # In front: after the sources, an option without its value could swallow the first of them.
        return super().parse_args(ctx, [*rest, *ours])


Sources = Annotated[
    list[Path], typer.Argument(metavar="SRC…", help="C programs.", show_default=False)
]
KernelOption = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        metavar="KERNEL",
        help="A staged kernel: a key prefix, a release or its beginning if unique, @SERIAL, or 'latest' (the "
        "default without a device).",
    ),
]
DefineOption = Annotated[
    list[str] | None, typer.Option("-D", metavar="NAME[=VALUE]", help="Define a macro.")
]
IncludeOption = Annotated[
    list[Path] | None,
    typer.Option("-I", metavar="DIR", help="Search this folder too, after the kernel's."),
]
ForClang = Annotated[list[str] | None, typer.Option(_FOR_CLANG, hidden=True)]


def compile_(
    sources: Sources,
    target: Target,
    store: StoreChoice,
    output: Output,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="The object, a folder for several, or - for stdout [default: beside each source, as .o].",
        ),
    ] = None,
    kernel: KernelOption = None,
    module: ModuleOption = None,
    defines: DefineOption = None,
    include_dirs: IncludeOption = None,
    optimize: OptimizeOption = "2",
    cpu: CpuOption = "v2",
    debug: Annotated[
        bool, typer.Option("-g/-g0", help="Debug information and BTF, or neither.")
    ] = True,
    dependencies: Annotated[
        bool,
        typer.Option(
            "-MD",
            "-MP",
            help="Write prog.d for make and ninja beside prog.o; it also lists what changes with the kernel.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j", metavar="N", min=1, help="Compile N at a time [default: one per processor]."
        ),
    ] = None,
    libbpf: LibbpfOption = None,
    for_clang: ForClang = None,
) -> None:
    """Compile BPF programs against a kernel's own headers.

    With -s (or $ANDROID_SERIAL), against those of the kernel that the device runs now, which are staged
    first if they are not; else against staged ones.  Arguments after -- go to clang's front stage.
    """
    from kheaders_adb.ebpf.compile import compile_programs
    from kheaders_adb.ebpf.programs import check_paths

    console = Console.standard(output)
    project = project_for(
        [source.parent for source in sources], console, verbose=output.verbose > 0
    )
    folders = (*(include_dirs or ()), *project.include_dirs)
    _look_at(folders, console)
    if is_stdout(out) and (len(sources) > 1 or dependencies):
        raise UsageError(
            "-o - is for one object alone",
            hint="give a folder with -o" if len(sources) > 1 else "leave -MD out, or give a file",
        )
    with piped(out, console, name="object.o", what="an object") as place:
        programs = [(source, _object_for(source, place, len(sources))) for source in sources]
        for program in programs:
            check_paths(*program)
        chosen = tree_for(target, store, kernel, project, console, module=module)
        options = _options(
            chosen,
            console,
            libbpf,
            _Given(
                project.defines_besides(tuple(defines or ())),
                folders,
                optimize,
                cpu,
                debug,
                dependencies,
                tuple(for_clang or ()),
            ),
        )
        say_used(chosen, console)
        said: list[bytes] = []

        def on_diagnostics(text: bytes) -> None:
            console.diagnostics(text)
            said.append(text)

        def document(**result: Any) -> None:
            if output.json:
                from kheaders_adb.ebpf.diagnostics import parse_diagnostics

                heard = [asdict(each) for text in said for each in parse_diagnostics(text)]
                console.document({**used_to_json(chosen), "diagnostics": heard, **result})

        try:
            compiling = console.doing(StepKind.COMPILE, " ".join(map(str, sources)))
            with chosen.in_use(), compiling:
                try:
                    written = compile_programs(
                        chosen.tree,
                        programs,
                        options,
                        on_diagnostics,
                        parallel=jobs or os.cpu_count() or 1,
                    )
                finally:
                    # Objects may have been written although others failed, or a signal came.
                    if dependencies:
                        chosen.settle()
        except CompileError as error:
            document(error=error_to_json(error))
            raise
        document(objects=[str(path) for path in written])


def compdb(
    sources: Sources,
    target: Target,
    store: StoreChoice,
    output: Output,
    out: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The database to add to."),
    ] = Path("compile_commands.json"),
    kernel: KernelOption = None,
    module: ModuleOption = None,
    defines: DefineOption = None,
    include_dirs: IncludeOption = None,
    libbpf: LibbpfOption = None,
    for_clang: ForClang = None,
) -> None:
    """Add programs to compile_commands.json, so that clangd finds the kernel's headers.

    Entries of other files stay; those of the same files are replaced.
    """
    from kheaders_adb.ebpf.compdb import entry, update
    from kheaders_adb.untrusted import host_file

    console = Console.standard(output)
    refuse_stdout(out, "-o")
    project = project_for(
        [source.parent for source in sources], console, verbose=output.verbose > 0
    )
    folders = (*(include_dirs or ()), *project.include_dirs)
    _look_at(folders, console)
    for source in sources:
        host_file.require(source, host_file.Kind.FILE, step="adding to the compilation database")
    chosen = tree_for(target, store, kernel, project, console, module=module)
    given = _Given(
        project.defines_besides(tuple(defines or ())), folders, extra=tuple(for_clang or ())
    )
    options = _options(chosen, console, libbpf, given)
    here = Path.cwd()
    update(out, [entry(chosen.tree, source, here, options) for source in sources])
    say_used(chosen, console)
    if output.json:
        console.document(
            {
                **used_to_json(chosen),
                "database": str(out),
                "files": [str(here / source) for source in sources],
            }
        )
    else:
        console.say(f"{out}: {len(sources)} of its entries are for {chosen.tree.release}")


@dataclass(frozen=True, slots=True)
class _Given:
    """What the user gave for the compiler."""

    defines: tuple[str, ...] = ()
    include_dirs: tuple[Path, ...] = ()
    optimize: str = "2"
    cpu: str = "v2"
    debug: bool = True
    dependencies: bool = False
    extra: tuple[str, ...] = ()


def _options(
    chosen: Chosen, console: Console, libbpf: Path | None, given: _Given
) -> CompileOptions:
    from kheaders_adb.ebpf.clang import find_clang
    from kheaders_adb.ebpf.compile import CompileOptions

    return CompileOptions(
        clang=find_clang(settings.clang()),
        libbpf=chosen.libbpf(libbpf),
        defines=given.defines,
        include_dirs=given.include_dirs,
        optimize=given.optimize,
        cpu=given.cpu,
        debug=given.debug,
        dependencies=given.dependencies,
        depends_on=chosen.changing_files() if given.dependencies else (),
        # Colours would stand in the words that --json has.
        color=console.colour and not console.wanted.json,
        extra=given.extra,
    )


def _look_at(include_dirs: tuple[Path, ...], console: Console) -> None:
    from kheaders_adb.ebpf.programs import absent_folders

    for folder in absent_folders(include_dirs):
        console.warn(f"-I {folder}: there is no such folder")


def _object_for(source: Path, out: Path | None, count: int) -> Path:
    from kheaders_adb.ebpf.programs import object_path
    from kheaders_adb.untrusted import host_file

    default = object_path(source)
    if out is None:
        return default
    if host_file.kind_of(out, step=f"compiling {source}") is host_file.Kind.FOLDER:
        return out / default.name
    if count > 1:
        raise UsageError(
            f"{out} is not a folder, and {count} sources are compiled",
            hint=f"{'name a folder' if out.exists() else f'make the folder {out} first'}; "
            "without -o each object is put beside its source",
        )
    return out


COMMAND_CLASS = WithClangFlags
"""What the commands of this module are made of."""
