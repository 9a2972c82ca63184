"""Options that name what is worked on or written: of two values neither is taken by its order.

Those that say how and where it is done (the adb server, the store, time) may be repeated, and the last one
counts, as with adb: what an alias or a makefile has given can be given anew behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kheaders_adb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kheaders_adb.cli.groups import Target

NOUNS = {
    "transport_id": "device",
    "kernel": "kernel",
    "module": "module or folder of them",
    "config": "configuration",
    "release": "release",
    "stamp": "file",
    "out": "output",
    "file": "output",
    "to": "folder",
    "root": "folder",
}
"""The parameters that name what is worked on or written, and what that is."""


def names_one(param: Any) -> bool:
    """Whether a parameter is an option with one value."""
    return param.param_type_name == "option" and not (
        param.is_flag or param.multiple or param.count
    )


def watched(parser: Any, ctx: Any) -> Any:
    """A command's parser, made to refuse two values for what names one thing."""
    params = {
        param.name: param
        for param in ctx.command.get_params(ctx)
        if param.name in NOUNS and names_one(param)
    }
    for name, param in params.items():
        parser.add_option(obj=param, opts=param.opts, dest=name, action="append")
    parse = parser.parse_args

    def parse_args(args: list[str]) -> Any:
        given, rest, order = parse(args)
        for name, param in params.items():
            if name in given:
                if not ctx.resilient_parsing:
                    require_one(name, param.opts[0], given[name])
                given[name] = given[name][-1]
        return given, rest, order

    parser.parse_args = parse_args
    return parser


NO_DEVICE = "name the kernel instead: @SERIAL is the one that a device was last seen running"


def require_no_device(target: Target) -> None:
    """Make sure that no device is chosen before the name of a command that takes what is staged.

    Raises:
        UsageError: one is, and so the user does not mean just any kernel.
    """
    if target.names_one:
        raise UsageError(
            "this command asks no device, and -s, -d, -e or -t names one", hint=NO_DEVICE
        )


def require_one(name: str, option: str, values: Iterable[object]) -> None:
    """Make sure that an option's values are all the same.

    Args:
        name: the parameter's.
        option: as the user writes it.
        values: all that were given.

    Raises:
        UsageError: they are not.
    """
    different = list(dict.fromkeys(map(str, values)))
    if len(different) < 2:
        return
    noun = NOUNS[name]
    raise UsageError(
        f"{option} is for one {noun}, and {len(different)} are given: {', '.join(different)}",
        hint="name one; for several, run the command once for each"
        if noun == "device"
        else "leave out all but one",
    )
