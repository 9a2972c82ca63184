"""``cflags`` and ``env``: staged headers for other build systems and tools."""

from __future__ import annotations

import enum
import platform
from pathlib import Path
from typing import Annotated

import typer

from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import KernelIfNamed, Output, StoreChoice
from kheaders_adb.cli.headers import CpuOption, LibbpfOption, OptimizeOption, staged_tree
from kheaders_adb.cli.piped import refuse_stdout
from kheaders_adb.cli.projects import project_for
from kheaders_adb.cli.used import say_used, used_to_json
from kheaders_adb.ebpf.stages import Stage
from kheaders_adb.ebpf.variables import Shell
from kheaders_adb.errors import UsageError
from kheaders_adb.project import Project


class Format(enum.StrEnum):
    """How flags are written."""

    SHELL = "shell"
    JSON = "json"
    MAKE = "make"


def cflags(
    store: StoreChoice,
    output: Output,
    kernel: KernelIfNamed = None,
    stage: Annotated[
        Stage,
        typer.Option(
            "--stage", help="front: C to LLVM IR for the device; bpf: LLVM IR to a BPF object."
        ),
    ] = Stage.FRONT,
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="shell: quoted where needed; json: an array; make: for an assignment."
        ),
    ] = Format.SHELL,
    stamp: Annotated[
        Path | None,
        typer.Option(
            "--stamp",
            metavar="FILE",
            help="Write them into this file instead, for `clang @FILE`; it is touched only if they change.",
        ),
    ] = None,
    libbpf: LibbpfOption = None,
    optimize: OptimizeOption = "2",
    cpu: CpuOption = "v2",
) -> None:
    """Print clang's flags for a staged kernel's headers.

    Two stages make an object: `clang $(kheaders-adb cflags) -c prog.c -o prog.bc`, then
    `clang $(kheaders-adb cflags --stage bpf) -c prog.bc -o prog.o`.
    """
    from kheaders_adb.ebpf import flags

    console = Console.standard(output)
    refuse_stdout(stamp, "--stamp")
    project = project_for([Path()], console, verbose=output.verbose > 0)
    chosen = staged_tree(store, kernel, project, console)
    if stage is Stage.BPF:
        found = flags.bpf_flags(cpu=cpu, optimize=optimize)
    else:
        found = flags.front_flags(chosen.tree, libbpf=chosen.libbpf(libbpf), optimize=optimize)
        found += [f"-I{folder}" for folder in project.include_dirs]
        found += [f"-D{define}" for define in project.defines]
        if form is Format.SHELL and not output.json and stamp is None:
            _require_words(project)
    stamped: dict[str, object] = {}
    if stamp is not None:
        from kheaders_adb.ebpf.stamp import write_stamp

        stamped = {"stamp": str(stamp), "changed": write_stamp(stamp, found)}
    say_used(chosen, console)
    if output.json:
        console.document({**used_to_json(chosen), "stage": stage.value, "flags": found, **stamped})
    if output.json or stamped:
        return
    match form:
        case Format.SHELL:
            console.value(flags.format_shell(found))
        case Format.JSON:
            console.value(flags.format_json(found))
        case Format.MAKE:
            console.value(flags.format_make(found))


def _require_words(project: Project) -> None:
    """Make sure that a shell which splits what is printed, quotes or not, makes no flags of a file's words.

    Raises:
        UsageError: it would.
    """
    for flag in (*project.defines, *map(str, project.include_dirs)):
        if any(char.isspace() for char in flag):
            raise UsageError(
                f"{project.path}: {flag!r} holds a blank, and `clang $(…)` would split it into flags",
                hint="use --stamp FILE with `clang @FILE`, --format make or json, or `compile`",
            )


def env(
    store: StoreChoice,
    output: Output,
    kernel: KernelIfNamed = None,
    shell: Annotated[
        Shell,
        typer.Option(
            "--shell",
            help="Whose syntax; dotenv: for $GITHUB_ENV, docker's env files, python-dotenv, env $(…).",
        ),
    ] = Shell.SH,
    unset: Annotated[
        bool,
        typer.Option(
            "--unset",
            help="Print what removes the variables again, of whatever kernel; in fish with --shell fish.",
        ),
    ] = False,
) -> None:
    """Print the variables by which bcc, bpftrace and scripts find a staged kernel's headers.

    For `eval "$(kheaders-adb env)"` in sh, bash, zsh and fish, and for direnv's .envrc.
    """
    from kheaders_adb.ebpf.variables import NAMES, environment, format_environment, format_unset

    console = Console.standard(output)
    if unset:
        if output.json:
            console.document({"environment": dict.fromkeys(NAMES)})
        else:
            console.value(format_unset(shell).rstrip("\n"))
        return
    project = project_for([Path()], console, verbose=output.verbose > 0)
    chosen = staged_tree(store, kernel, project, console)
    tree = chosen.tree
    host = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if host != tree.arch.machine:
        console.say(
            f"kheaders-adb: these headers are of {tree.arch.machine}; bcc and bpftrace on this host "
            f"({host}) cannot compile with them, but can on the device: see `kheaders-adb push`"
        )
    variables = environment(tree)
    say_used(chosen, console)
    if output.json:
        console.document({**used_to_json(chosen), "environment": variables})
    else:
        console.value(format_environment(variables, shell).rstrip("\n"))
