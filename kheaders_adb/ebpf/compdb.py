"""Entries in a ``compile_commands.json``, so that clangd and other tools resolve kernel headers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kheaders_adb.ebpf.compile import CompileOptions
from kheaders_adb.ebpf.flags import parse_flags
from kheaders_adb.ebpf.headers import HeaderTree
from kheaders_adb.errors import UsageError
from kheaders_adb.untrusted import host_file

_MAX_BYTES = 256 << 20
_HINT = "repair or remove the file, or name another with --output"


def entry(
    tree: HeaderTree, source: Path, directory: Path, options: CompileOptions
) -> dict[str, Any]:
    """Return one entry of the JSON compilation database for a program's front stage.

    Args:
        tree: the headers.
        source: the program, relative to ``directory`` or absolute.
        directory: the absolute directory that relative paths start from.
        options: as it is compiled.
    """
    file = str(directory / source)
    return {
        "directory": str(directory),
        "file": file,
        "arguments": [
            str(options.clang),
            *("-target", tree.arch.triple),
            f"-O{options.optimize}",
            *parse_flags(tree, libbpf=options.libbpf),
            *(f"-I{directory / include}" for include in options.include_dirs),
            *(f"-D{define}" for define in options.defines),
            *options.extra,
            *("-c", file),
        ],
    }


def update(database: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Add entries to a database, in the place of those for the same file; all others stay.

    Args:
        database: the file; it is made if there is none, and a link to one is followed.
        entries: as ``entry`` makes them.

    Raises:
        UsageError: the file is not a compilation database, or cannot be read or written; it is unchanged.
        StoreError: the disk failed; it is unchanged.

    The file is replaced in one step.
    """
    step = f"updating {database}"
    old = _read(database, step)
    kept = [item for item in old if _file_of(item) not in {_file_of(new) for new in entries}]
    text = json.dumps([*kept, *entries], indent=2, ensure_ascii=False) + "\n"
    with host_file.writing(database, step=step):
        target = database.resolve()
        with host_file.drafted(target) as draft:
            draft.write_text(text, encoding="utf-8", errors="surrogateescape")
            draft.replace(target)


def _read(target: Path, step: str) -> list[dict[str, Any]]:
    if host_file.kind_of(target, step=step) is None:
        return []
    with host_file.opened(target, step=step) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise UsageError(f"{target} is larger than {_MAX_BYTES} bytes", step=step, hint=_HINT)
        text = file.read(_MAX_BYTES).decode("utf-8", "surrogateescape")
    broken = UsageError(
        f"{target} is not a compilation database; it is left as it is",
        step=step,
        hint=_HINT,
    )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise broken from error
    if not isinstance(content, list) or not all(
        isinstance(item, dict)
        and isinstance(item.get("file"), str)
        and isinstance(item.get("directory", ""), str)
        for item in content
    ):
        raise broken
    return content


def _file_of(item: dict[str, Any]) -> str:
    return os.path.normpath(str(Path(item.get("directory", "")) / item["file"]))
