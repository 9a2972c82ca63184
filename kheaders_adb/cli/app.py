"""The command line: the program, and the commands it is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kheaders_adb._version import __version__
from kheaders_adb.cli.command import Command, Group, command, globals_callback
from kheaders_adb.cli.console import PROGRAM, OutputError
from kheaders_adb.cli.groups import DEFAULT_WAIT_S
from kheaders_adb.cli.words import ALIASES, MEANT, with_left_out
from kheaders_adb.errors import UsageError

COMMANDS = {
    "pull": "pull.pull",
    "devices": "devices.devices",
    "list": "kernels.list_kernels",
    "show": "kernels.show",
    "path": "kernels.path",
    "diff": "diff.diff",
    "remove": "kernels.remove",
    "import": "importing.import_",
    "export": "upkeep.export",
    "verify": "upkeep.verify",
    "gc": "upkeep.gc",
    "store": "storage.store",
    "pin": "upkeep.pin",
    "unpin": "upkeep.unpin",
    "compile": "compile.compile_",
    "compdb": "compile.compdb",
    "cflags": "flags.cflags",
    "env": "flags.env",
    "push": "push.push",
    "doctor": "doctor.doctor",
}
"""Each command, in the order of ``--help``: the module beside this one, and the function in it.

Where the module has ``SUBCOMMANDS``, the command has these and does nothing by itself.
"""


class Commands(TyperGroup):
    """The commands, of which a run imports only the one that it is for.

    Importing them all takes longer than ``path`` and ``cflags`` themselves, and a makefile calls those for
    every object.
    """

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The command of this name, made now; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            part = typer.Typer(name=cmd_name, add_completion=False, **_SETTINGS)
            module, function = _function(cmd_name)
            if subcommands := getattr(module, "SUBCOMMANDS", None):
                part.callback(cls=Group)(function)
                for name, its_function in subcommands.items():
                    command(part, name)(its_function)
            else:
                kind = getattr(module, "COMMAND_CLASS", Command)
                command(part, cmd_name, cls=kind)(function)
            self.commands[cmd_name] = typer.main.get_command(part)
        return self.commands[cmd_name]

    def get_help(self, ctx: Any) -> str:
        """The text of ``--help``."""
        from kheaders_adb.cli.help import help_text

        return help_text(self, ctx)

    def summary_of(self, name: str) -> str:
        """What a command does, off its function: making the command itself would take longer."""
        from kheaders_adb.cli.page import summary_of

        return summary_of(_function(name)[1].__doc__)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's, which suggests names only of commands that are there already."""
        if args[:1] == ["help"]:
            if len(args) == 1 or args[1].startswith("-") or args[1] == "help":
                typer.echo(ctx.get_help())
                raise typer.Exit
            args = [*args[1:], "--help"]
        if args and args[0] in ALIASES:
            args = [ALIASES[args[0]], *args[1:]]
        if args and args[0] not in COMMANDS:
            if args[0] in MEANT:
                raise UsageError(
                    f"no such command: {args[0]}",
                    hint=f"`{PROGRAM} {MEANT[args[0]]} --help` says what ours of that kind does",
                )
            for name in COMMANDS:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


def _function(name: str) -> tuple[ModuleType, Callable[..., int | None]]:
    """A command's function, and the module that it is in."""
    module_name, _, function = COMMANDS[name].partition(".")
    module = import_module(f"{__package__}.{module_name}")
    return module, getattr(module, function)


_SETTINGS: dict[str, Any] = {
    # Plain text: rich costs more at start-up than a warm pull spends on the wire.
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
_LEFT_OUT = {
    "--wait": f"{DEFAULT_WAIT_S:g}",
    "--install-completion": "",
    "--show-completion": "",
}
_COMPLETE = f"_{PROGRAM.upper().replace('-', '_')}_COMPLETE"
# typer has no public name for what all mistakes on a command line are.
_MISTAKE: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
# The completion is our own (`completion`): typer's has the shell run what a serial says.
app = typer.Typer(
    name=PROGRAM, no_args_is_help=True, add_completion=False, cls=Commands, **_SETTINGS
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _install_completion(named: str | None) -> None:
    if named is not None:
        from kheaders_adb.cli.installing import install, shell_meant
        from kheaders_adb.untrusted.text import harmless

        shell = shell_meant(named)
        typer.echo(f"{shell} completion installed in {harmless(str(install(shell)))}")
        typer.echo("Completion will take effect once you restart the terminal")
        raise typer.Exit


def _show_completion(named: str | None) -> None:
    if named is not None:
        from kheaders_adb.cli.installing import script_for, shell_meant

        typer.echo(script_for(shell_meant(named)), nl=False)
        raise typer.Exit


def _about(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    install_completion: Annotated[
        str | None,
        typer.Option(
            "--install-completion",
            metavar="[=SHELL]",
            callback=_install_completion,
            is_eager=True,
            help="Install completion for bash, zsh or fish [default: the shell you are in].",
        ),
    ] = None,
    show_completion: Annotated[
        str | None,
        typer.Option(
            "--show-completion",
            metavar="[=SHELL]",
            callback=_show_completion,
            is_eager=True,
            help="Print what that installs.",
        ),
    ] = None,
) -> None:
    """Pull a running kernel's own headers over adb, prove that they belong to it, stage them for eBPF."""


globals_callback(app, _about)


def run(words: Sequence[str]) -> int:
    """Run a command line and return its exit code.

    Raises:
        KheadersError: that of the command; UsageError also for what is no command line of ours.
    """
    if shell := os.environ.get(_COMPLETE):
        from kheaders_adb.cli.completion import answer

        answer(typer.main.get_command(app), shell, words)
        return 0
    ours, theirs = split(words)
    given = with_left_out(ours, _LEFT_OUT)
    program = typer.main.get_command(app)
    try:
        with program.make_context(PROGRAM, [*given, *theirs]) as context:
            program.invoke(context)
    except typer.Exit as done:
        return int(done.exit_code)
    except _MISTAKE as mistake:
        if not words:
            mistake.show()  # all of the help
            return UsageError.exit_code
        at = getattr(mistake, "ctx", None)
        asked = at.command_path if at is not None else PROGRAM
        raise UsageError(
            mistake.format_message().strip().rstrip("."), hint=f"see `{asked} --help`"
        ) from mistake
    except OSError as error:
        if (
            error.filename is None
        ):  # of help, or of the version; what commands write is looked after there
            raise OutputError(error) from error
        raise
    return 0


def split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The words that are for us, and those from ``--`` on, which are for clang."""
    at = list(words).index("--") if "--" in words else len(words)
    return words[:at], words[at:]
