"""A command whose stderr is a terminal, and what is shown there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Watched:
    """A command whose stderr is a terminal."""

    process: subprocess.Popen[str]
    master: int
    _shown: bytearray = field(default_factory=bytearray)

    def shown(self) -> str:
        """All that was shown until its end."""
        with contextlib.suppress(OSError):  # how a terminal ends that nobody has open any more
            while data := os.read(self.master, 65536):
                self._shown += data
        return self._shown.decode()

    def shown_until(self, wanted: str) -> None:
        """Wait until something is shown."""
        while wanted not in self._shown.decode(errors="ignore"):
            self._shown += os.read(self.master, 65536)


@contextmanager
def watching(
    argv: Sequence[str], env: Mapping[str, str], *, columns: int = 80, is_paused: bool = False
) -> Iterator[Watched]:
    """Run a command so; it is killed where the block ends."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    if is_paused:
        termios.tcflow(slave, termios.TCOOFF)
    with subprocess.Popen(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
    ) as process:
        os.close(slave)
        try:
            yield Watched(process, master)
        finally:
            process.kill()
            os.close(master)


def lines_drawn(shown: str) -> list[str]:
    """What stood in the line one after another, without seconds and bars."""
    texts = [
        re.sub(r"( \d+ s|: +\d+%.*)$", "", text) for text in re.findall(r"\r([^\r\n\x1b]+)", shown)
    ]
    return list(dict.fromkeys(texts))
