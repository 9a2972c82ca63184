"""The environment lines by which bcc, bpftrace and scripts find a staged tree."""

from __future__ import annotations

import enum
import json
import shlex
from collections.abc import Mapping

from kheaders_adb.ebpf.headers import HeaderTree
from kheaders_adb.errors import UsageError

# PowerShell takes typographic single quotes for plain ones.
_PWSH_QUOTES = "'\u2018\u2019\u201a\u201b"


# What some reader of such a file takes for more than itself: quotes, escapes and references (python-dotenv,
# docker compose), a comment (Node), blanks, patterns and commands (the shell, in `env $(…)` and `. file`).
_NOT_IN_DOTENV = frozenset("'\"`\\$#*?[]{}()<>|&;!~")

NAMES = (
    "KHEADERS_DIR",
    "KHEADERS_ARCH",
    "BCC_KERNEL_SOURCE",
    "BPFTRACE_KERNEL_SOURCE",
    "BPFTRACE_KERNEL_BUILD",
    "BCC_LINUX_VERSION_CODE",
)
"""All that `environment` may set, in this version or an older one."""


class Shell(enum.StrEnum):
    """Whose syntax: a shell's by its name, or that of a file of variables."""

    SH = "sh"
    BASH = "bash"
    ZSH = "zsh"
    DASH = "dash"
    KSH = "ksh"
    FISH = "fish"
    PWSH = "pwsh"
    DOTENV = "dotenv"
    JSON = "json"


def environment(tree: HeaderTree, *, root: str | None = None) -> dict[str, str]:
    """Return the variables, in a fixed order.

    Args:
        tree: the headers.
        root: where the tree is for whoever reads the variables, if that is not here: on the device.

    ``BCC_KERNEL_SOURCE`` is read by bcc, the ``BPFTRACE_`` ones by bpftrace; ``KHEADERS_DIR`` and
    ``KHEADERS_ARCH`` are for scripts.  Not ``BCC_LINUX_VERSION_CODE``: bcc takes the same number from the
    tree, and given the variable it warns twice a program, on stdout.
    """
    where = root if root is not None else str(tree.root)
    return {
        "KHEADERS_DIR": where,
        "KHEADERS_ARCH": tree.arch.srcarch,
        "BCC_KERNEL_SOURCE": where,
        "BPFTRACE_KERNEL_SOURCE": where,
        "BPFTRACE_KERNEL_BUILD": where,
    }


def format_environment(variables: Mapping[str, str], shell: Shell = Shell.SH) -> str:
    """Return what sets the variables, a line for each: for a shell's ``eval``, or a file's content.

    JSON is one object.  A line of dotenv is read alike by ``$GITHUB_ENV``, ``docker --env-file``,
    python-dotenv and the shell in ``env $(…)``: it has neither quotes nor escapes.

    Raises:
        UsageError: a value cannot be written so; JSON holds all that is text, shells all but line breaks.
    """
    for name, value in variables.items():
        _require_writable(name, value, shell)
    if shell is Shell.JSON:
        return _json(variables)
    return "".join(f"{_assignment(name, value, shell)}\n" for name, value in variables.items())


def format_unset(shell: Shell = Shell.SH) -> str:
    """Return what removes all of the variables again, set or not; in JSON null stands for that.

    Raises:
        UsageError: dotenv, which can set variables only.
    """
    match shell:
        case Shell.JSON:
            return _json(dict.fromkeys(NAMES))
        case Shell.DOTENV:
            raise UsageError(
                "a dotenv file cannot remove variables",
                hint="take --shell json, where null says so, or leave the file out",
            )
        case Shell.FISH:
            line = "set -e -g {};"
        case Shell.PWSH:
            line = "$env:{} = $null;"
        case _:
            line = "unset {};"
    return "".join(f"{line.format(name)}\n" for name in NAMES)


def _require_writable(name: str, value: str, shell: Shell) -> None:
    hint = "keep the store in a directory without such a name"
    if shell is Shell.JSON:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the value of {name} is not UTF-8, which JSON cannot hold: {value!r}", hint=hint
            ) from error
        return
    if any(character in value for character in "\n\r\0"):
        raise UsageError(f"the value of {name} holds a line break: {value!r}", hint=hint)
    if shell is Shell.DOTENV:
        for character in value:
            if character in _NOT_IN_DOTENV or character.isspace() or not character.isprintable():
                raise UsageError(
                    f"the value of {name} holds {character!r}, which not all readers of a dotenv file take "
                    f"alike: {value!r}",
                    hint=f"{hint}, or take --shell sh or --shell json",
                )


def _json(variables: Mapping[str, str | None]) -> str:
    return json.dumps(variables, indent=2) + "\n"


def _assignment(name: str, value: str, shell: Shell) -> str:
    match shell:
        case Shell.FISH:
            quoted = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"set -gx {name} '{quoted}';"
        case Shell.PWSH:
            quoted = "".join(2 * c if c in _PWSH_QUOTES else c for c in value)
            return f"$env:{name} = '{quoted}';"
        case Shell.DOTENV:
            return f"{name}={value}"
        case _:
            return f"export {name}={shlex.quote(value)};"
