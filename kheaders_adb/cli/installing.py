"""``--install-completion``: the scripts of ``completions/`` put where the user's shell finds them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from kheaders_adb.errors import UsageError

SCRIPTS = {"bash": "kheaders-adb.bash", "zsh": "_kheaders-adb", "fish": "kheaders-adb.fish"}
_FOLDER = Path(__file__).parent / "completions"


def shell_meant(named: str) -> str:
    """The shell that a user has named; of an empty name, the one that this runs in.

    Raises:
        UsageError: there are no scripts for it.
    """
    shell = named or _shell_around()
    if shell not in SCRIPTS:
        raise UsageError(
            f"there is no completion for the shell {shell!r}",
            hint="bash, zsh and fish have one: name it, as in --install-completion=zsh",
        )
    return shell


def script_for(shell: str) -> str:
    """The script that makes a shell complete the command line."""
    return (_FOLDER / SCRIPTS[shell]).read_text("utf-8")


def install(shell: str) -> Path:
    """Write a shell's script for this user and have the shell read it; returns where it is.

    The places are those in which typer used to put its own, so that these are gone; doing it twice changes
    nothing more.  Start-up files are only added to.

    Raises:
        OSError: a file cannot be read or written.
    """
    home = Path.home()
    match shell:
        case "bash":
            path = home / ".bash_completions" / "kheaders-adb.sh"
            # As typer writes it, for a name without quotes.
            quoted = f"'{path}'" if "'" not in str(path) else shlex.quote(str(path))
            _add_line(home / ".bashrc", f"source {quoted}")
        case "zsh":
            path = home / ".zfunc" / "_kheaders-adb"
            startup = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
            _add_line(startup, "fpath+=~/.zfunc; autoload -Uz compinit; compinit")
        case _:
            config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
            path = config / "fish" / "completions" / "kheaders-adb.fish"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script_for(shell), "utf-8")
    return path


def _add_line(path: Path, line: str) -> None:
    before = path.read_bytes() if path.exists() else b""
    if os.fsencode(line) in before.splitlines():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"\n" if before and not before.endswith(b"\n") else b"")
        file.write(os.fsencode(line) + b"\n")


def _shell_around() -> str:
    import shellingham

    try:
        return str(shellingham.detect_shell()[0])
    except (shellingham.ShellDetectionFailure, OSError):
        return Path(os.environ.get("SHELL", "")).name
