"""What every command has in common: groups of options, and the disk's errors by our name."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from kheaders_adb.cli import inputs
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.cli.process import disk_error
from kheaders_adb.cli.words import require_values

GROUPS: tuple[type[Any], ...] = (Target, StoreChoice, Output)


def options_of(command: Any, context: Any) -> dict[str, bool]:
    """Each option of a command, and whether a value follows it."""
    return {
        name: not (getattr(param, "is_flag", False) or getattr(param, "count", False))
        for param in command.get_params(context)
        if param.param_type_name == "option"
        for name in (*param.opts, *param.secondary_opts)
    }


class Command(TyperCommand):
    """A command whose help is ours, and none of whose options takes another for its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's."""
        words = args[: args.index("--")] if "--" in args else args
        require_values(words, options_of(self, ctx), ctx.command_path)
        return super().parse_args(ctx, args)

    def get_help(self, ctx: Any) -> str:
        """The text of ``--help``."""
        from kheaders_adb.cli.help import help_text

        return help_text(self, ctx)


class Group(TyperGroup):
    """A command of commands, whose help is ours."""

    def get_help(self, ctx: Any) -> str:
        """The text of ``--help``."""
        from kheaders_adb.cli.help import help_text

        return help_text(self, ctx)

    def summary_of(self, name: str) -> str:
        """What a command of it does."""
        from kheaders_adb.cli.page import summary_of

        return summary_of(self.commands[name].help)


def command(
    app: typer.Typer, name: str, *, cls: type[Command] = Command
) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Register a function as the command `name` of `app`, of the class `cls` if that must be a special one.

    Parameters that are groups become that group's options.  The function returns an exit code, None for 0.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        groups = {key: hint for key, hint in hints.items() if hint in GROUPS}

        @functools.wraps(function)
        def run(ctx: typer.Context, **given: Any) -> None:
            before: dict[type[Any], Any] = ctx.obj or {}
            for key, group in groups.items():
                given[key] = _gather(group, given, before.get(group))
            try:
                with _listening(given.values()):
                    raise typer.Exit(function(**given) or 0)
            except BrokenPipeError:  # of stderr
                raise
            except OSError as error:
                raise disk_error(error) from error

        _show_as_options(run, function, hints, groups)
        app.command(name, cls=cls)(run)
        return run

    return register


def globals_callback(app: typer.Typer, extra: Callable[..., None]) -> None:
    """Make the groups' options available before the command's name too, next to those of `extra`."""

    def callback(ctx: typer.Context, **given: Any) -> None:
        ctx.obj = {group: _gather(group, given, None) for group in GROUPS}
        extra(**given)

    hints = get_type_hints(extra, include_extras=True)
    callback.__doc__ = extra.__doc__
    groups = {f"_{group.__name__}": group for group in GROUPS}
    _show_as_options(callback, extra, hints | groups, groups, more=groups)
    app.callback()(callback)


def _listening(given: Iterable[Any]) -> contextlib.AbstractContextManager[None]:
    """What passes the library's log on, where the user wants to read it."""
    for output in given:
        if isinstance(output, Output) and (output.verbose or output.log_json is not None):
            from kheaders_adb.cli.listening import listening

            return listening(output, Console.standard(output))
    return contextlib.nullcontext()


def _gather(group: type[Any], given: dict[str, Any], before: Any) -> Any:
    """The group's value: what stands after the command's name, else what stands before it."""
    values = {}
    for field in dataclasses.fields(group):
        value = given.pop(field.name, field.default)
        if value == field.default and before is not None:
            value = getattr(before, field.name)
        values[field.name] = value
    return group(**values)


def _show_as_options(
    run: Callable[..., None],
    function: Callable[..., Any],
    hints: dict[str, Any],
    groups: dict[str, type[Any]],
    *,
    more: dict[str, type[Any]] | None = None,
) -> None:
    """Give `run` the signature that typer reads options from: `function`'s with the groups spread out."""
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    ]
    names = [*inspect.signature(function).parameters, *(more or {})]
    defaults = inspect.signature(function).parameters
    for name in names:
        if name in groups:
            group_hints = get_type_hints(groups[name], include_extras=True)
            for field in dataclasses.fields(groups[name]):
                hint = group_hints[field.name]
                for info in get_args(hint)[1:]:
                    info.rich_help_panel = groups[name].HEADING
                parameters.append(
                    inspect.Parameter(
                        field.name,
                        inspect.Parameter.KEYWORD_ONLY,
                        default=field.default,
                        annotation=hint,
                    )
                )
        else:
            parameters.append(
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=defaults[name].default,
                    annotation=hints[name],
                )
            )
    for parameter in parameters:
        inputs.guard(parameter.annotation, parameter.name)
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
