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

_MAX_BYTES = 256 << 20


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
        UsageError: the file is not a compilation database, or cannot be written; it is unchanged.

    The file is replaced in one step.
    """
    target = database.resolve()
    step = f"updating {database}"
    try:
        old = _read(target, step)
        kept = [item for item in old if _file_of(item) not in {_file_of(new) for new in entries}]
        text = json.dumps([*kept, *entries], indent=2, ensure_ascii=False) + "\n"
        draft = target.with_name(f".{target.name}.{os.urandom(6).hex()}.tmp")
        try:
            draft.write_text(text, encoding="utf-8", errors="surrogateescape")
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}", step=step) from error


def _read(target: Path, step: str) -> list[dict[str, Any]]:
    try:
        if target.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{target} is larger than {_MAX_BYTES} bytes", step=step)
        text = target.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    broken = UsageError(
        f"{target} is not a compilation database; it is left as it is",
        step=step,
        hint="repair or remove the file, or name another with --output",
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
