"""Which kernel's headers a command uses: the line on stderr, and the fields of ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kheaders_adb.cli.console import PROGRAM, Console

if TYPE_CHECKING:
    from kheaders_adb.cli.headers import Chosen


def say_used(chosen: Chosen, console: Console) -> None:
    """Say whose headers are used, in one line: makefiles show it at each ``$(shell …)``.

    It is a warning where the user has named none of several kernels.
    """
    record = chosen.record
    using = (
        f"using {record.identity.release} "
        f"({record.key[:12]}, {chosen.tree.arch.name.lower()}, {record.verdict.level}) "
        + (f"of {chosen.serial}" if chosen.serial is not None else "imported")
    )
    if chosen.of_how_many > 1:
        console.warn(f"{chosen.of_how_many} kernels are staged and none is named: {using}")
    else:
        console.say(f"{PROGRAM}: {using}")


def used_to_json(chosen: Chosen) -> dict[str, Any]:
    """The same for ``--json``, in the fields of ``pull --json``; ``arch`` is that of the headers.

    ``project_file`` is the ``.kheaders.toml`` that was read.
    """
    from kheaders_adb.cli.render import kernel_to_json, verdict_to_json

    return {
        "serial": chosen.serial,
        "kernel": kernel_to_json(chosen.record.identity),
        "arch": chosen.tree.arch.name.lower(),
        "verdict": verdict_to_json(chosen.record.verdict),
        "tree": str(chosen.tree.root),
        "project_file": None if chosen.project.path is None else str(chosen.project.path),
    }
