"""The environment lines by which bcc, bpftrace and scripts find a staged tree."""

from __future__ import annotations

import enum
import shlex
from collections.abc import Mapping

from kheaders_adb.ebpf.headers import HeaderTree
from kheaders_adb.errors import UsageError

# PowerShell takes typographic single quotes for plain ones.
_PWSH_QUOTES = "'\u2018\u2019\u201a\u201b"


class Shell(enum.StrEnum):
    """A family of shells that understand the same assignment."""

    SH = "sh"
    FISH = "fish"
    PWSH = "pwsh"


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
    """Return one line for each variable that exports it when the shell evaluates it.

    Raises:
        UsageError: a value holds a line break or NUL, which not all of the shells could take.
    """
    for name, value in variables.items():
        if any(character in value for character in "\n\r\0"):
            raise UsageError(
                f"the value of {name} holds a line break: {value!r}",
                hint="keep the store in a directory without such a name",
            )
    return "".join(f"{_assignment(name, value, shell)}\n" for name, value in variables.items())


def _assignment(name: str, value: str, shell: Shell) -> str:
    match shell:
        case Shell.SH:
            return f"export {name}={shlex.quote(value)};"
        case Shell.FISH:
            quoted = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"set -gx {name} '{quoted}';"
        case Shell.PWSH:
            quoted = "".join(2 * c if c in _PWSH_QUOTES else c for c in value)
            return f"$env:{name} = '{quoted}';"
