"""The shells that users type in, on a pseudo-terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

SHELLS = ("bash", "zsh", "fish")
_PROMPT = "READY> "
_STARTUP = {
    "bash": (".bashrc", f"PS1='{_PROMPT}'\n"),
    "zsh": (".zshrc", f"PS1='{_PROMPT}'\n"),
    "fish": (
        ".config/fish/config.fish",
        f"function fish_prompt; echo -n '{_PROMPT}'; end\nfunction fish_greeting; end\n",
    ),
}
_TO_BEGINNING_OF_LINE = "\x01"
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;?>=]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][AB0-2]|[=>78M])"
)
_PATIENCE_S = 60.0


def prepare_home(shell: str, home: Path) -> Path:
    """Give a user's shell its start-up file, which is returned, and put programs into ``home/bin``."""
    name, text = _STARTUP[shell]
    startup = home / name
    startup.parent.mkdir(parents=True, exist_ok=True)
    startup.write_text(text)
    add_program(home, "kheaders-adb", f'#!/bin/sh\nexec {sys.executable} -m kheaders_adb "$@"\n')
    add_program(
        home,
        "argv",
        f"#!{sys.executable} -S\nimport json, sys\nprint('!', json.dumps(sys.argv[1:]), '!')\n",
    )
    return startup


def add_program(home: Path, name: str, text: str) -> None:
    """Put a script onto the user's path."""
    path = home / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Prompt:
    """A shell that waits for a line.

    Args:
        shell: one of `SHELLS`.
        home: its user's home folder, which it begins in; `prepare_home` has been there.
        env: its environment, but for what a terminal and a user have.
    """

    def __init__(self, shell: str, home: Path, env: Mapping[str, str]) -> None:
        self._shell = shell
        self._home = home
        path = f"{home / 'bin'}{os.pathsep}{env['PATH']}"
        self._env = {**env, "HOME": str(home), "PATH": path, "TERM": "xterm", "LANG": "C.UTF-8"}
        self._shown = ""

    def __enter__(self) -> Self:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(self._home)
            os.execvpe(self._shell, [self._shell, "-i"], self._env)
        termios.tcsetwinsize(self._terminal, (40, 160))
        self.wait_for(_PROMPT)
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._terminal)
        os.waitpid(self._pid, 0)

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._terminal, keys.encode())

    def wait_for(self, pattern: str) -> str:
        """What has been shown since the last time, once `pattern` is found in it."""
        end = time.monotonic() + _PATIENCE_S
        while not re.search(pattern, self._shown, re.DOTALL):
            assert time.monotonic() < end, f"{pattern!r} was not shown, but:\n{self._shown}"
            if select.select([self._terminal], [], [], 0.2)[0]:
                data = os.read(self._terminal, 65536).decode("utf-8", "replace")
                self._shown = _ESCAPES.sub("", self._shown + data)
        shown, self._shown = self._shown, ""
        return shown

    def completed(self, line: str) -> list[str]:
        """The words that the shell reads from `line` once Tab has been pressed at its end."""
        self.type(f"{line}\t{_TO_BEGINNING_OF_LINE}argv \r")
        shown = self.wait_for(rf"\] !\r\n.*{_PROMPT}")
        for told in ("error", "Traceback", "hint", "not found"):
            assert told not in shown
        words: list[str] = json.loads(re.findall(r"! (\[.*\]) !", shown)[-1])
        return words

    def listed(self, line: str, pattern: str) -> str:
        """What is shown when Tab is pressed at the end of `line` until the shell lists what fits.

        Args:
            pattern: what is listed last.
        """
        # Once for what all have in common, and twice more in bash.
        self.type(f"{line}\t\t\t")
        shown = self.wait_for(pattern)
        self.type("\x03")
        return shown
