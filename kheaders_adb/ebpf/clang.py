"""Finding a clang, and saying what is wrong with it once it has failed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb.errors import CompileError

if TYPE_CHECKING:
    from kheaders_adb.ebpf.process import Ended

MIN_MAJOR = 14

_ASK_TIMEOUT_S = 20

_INSTALL = (
    "install clang 14 or newer (Debian and Ubuntu: apt install clang; Fedora: dnf install clang; "
    "macOS: brew install llvm), or name one with CLANG=/path/to/clang"
)


def find_clang(given: str | None = None, *, directories: list[Path] | None = None) -> Path:
    """Return the path of the clang to use.

    Args:
        given: a name or path that the user chose; nothing else is considered then.
        directories: where to look, by default those of PATH.

    Without ``given``: ``clang``, else the ``clang-NN`` with the highest number of at least 14.  Nothing is
    run: that the clang found is new enough is checked by the header that every compilation starts with,
    that it can make BPF objects shows when it does; ``diagnose`` says which of the two it was.

    Raises:
        CompileError: there is none.
    """
    where = (
        directories if directories is not None else [Path(entry) for entry in os.get_exec_path()]
    )
    search = os.pathsep.join(map(str, where))
    if given:
        found = shutil.which(given, path=search)
        if found is None:
            raise CompileError(
                f"{given} is not an executable file", step="looking for clang", hint=_INSTALL
            )
        return Path(found)
    found = shutil.which("clang", path=search)
    if found is not None:
        return Path(found)
    numbered = {
        int(match[1]): entry
        for directory in reversed(where)
        for entry in _entries(directory)
        if (match := re.fullmatch(r"clang-(\d{1,3})", entry.name)) and os.access(entry, os.X_OK)
    }
    newest = max(numbered, default=0)
    if newest >= MIN_MAJOR:
        return numbered[newest]
    seen = f"clang-{newest} is too old" if newest else "there is no clang on PATH"
    raise CompileError(seen, step="looking for clang", hint=_INSTALL)


def diagnose(clang: Path) -> CompileError | None:
    """Return what makes this clang useless for BPF, or None when it should do.

    It is asked for its version and its targets, which takes two processes: call this after a failure.
    """
    try:
        version = _ask(clang, "--version")
        targets = _ask(clang, "-print-targets")
    except (OSError, subprocess.SubprocessError) as error:
        return CompileError(f"{clang} cannot be run: {error}", step="asking clang", hint=_INSTALL)
    found = re.search(r"clang version (\d+)", version)
    if found is None:
        return CompileError(f"{clang} is not clang", step="asking clang", hint=_INSTALL)
    if int(found[1]) < MIN_MAJOR:
        return CompileError(
            f"{clang} is version {found[1]}, older than {MIN_MAJOR}",
            step="asking clang",
            hint=_INSTALL,
        )
    if not re.search(r"^\s*bpf\s", targets, re.M):
        return CompileError(
            f"{clang} was built without the bpf target",
            step="asking clang",
            hint="Apple's clang and Android's NDK are built so; " + _INSTALL,
        )
    return None


def failure(clang: Path, ended: Ended, step: str, *, hint: str | None = None) -> CompileError:
    """Return the error for a clang that has failed: a limit, its own fault, or that of what it was given.

    Args:
        clang: the compiler; asked what it is, if no limit has ended it.
        ended: how it ended.
        step: what was being done.
        hint: what to do about what it was given.
    """
    if ended.limit:
        return CompileError(
            f"clang was ended at {ended.limit}",
            step=step,
            hint="real headers need far less: look for some that include themselves or expand without end",
        )
    return diagnose(clang) or CompileError(
        f"clang ended by signal {-ended.status}"
        if ended.status < 0
        else f"clang failed ({ended.status})",
        step=step,
        hint=hint,
    )


def cannot_be_run(clang: Path, error: OSError, step: str) -> CompileError:
    """Return the error for a clang that does not start."""
    return CompileError(
        f"{clang} cannot be run: {error.strerror}",
        step=step,
        hint="name a working clang with CLANG=/path/to/clang",
    )


def headers_nearby(clang: Path) -> list[Path]:
    """Return where clang's own headers are, as it is usually installed: beside it, without running it."""
    return list(clang.resolve().parent.parent.glob("lib*/clang/*/include"))


def headers_asked(clang: Path) -> list[Path]:
    """Return where clang says that its own headers are; empty if it does not."""
    try:
        answer = _ask(clang, "-print-resource-dir").strip()
    except (OSError, subprocess.SubprocessError):
        return []
    return [Path(answer) / "include"] if answer else []


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []  # PATH often names directories that do not exist


def _ask(clang: Path, question: str) -> str:
    answer = subprocess.run(
        [clang, question],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_ASK_TIMEOUT_S,
        check=False,
    )
    return answer.stdout.decode("utf-8", "replace")
