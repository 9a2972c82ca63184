"""Where a command's output begins: what a shell prints by itself comes before it.

Login scripts of vendors greet, linkers warn, and some put a ``login:`` in the shell's place.  So a command
first writes a mark, which nothing else can know, and what comes before that is noise.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

from kheaders_adb.adb.shell import Stream
from kheaders_adb.errors import DeadlineError, TransferError
from kheaders_adb.untrusted.text import one_line

TRY_SHELL = (
    "see what `adb shell` says on it: where something else answers in the shell's place, such as a login, no "
    "command can be run"
)

_MAX_NOISE_BYTES = 64 * 1024
_MAX_SAID_CHARACTERS = 200


def new_mark() -> str:
    """A mark that no output holds by chance."""
    return f"@{secrets.token_hex(6)}"


def split_name(command: str) -> tuple[str, str]:
    """The line with which a script tells its name, and the rest of it; a command without one has none."""
    name = re.match("# .*\n", command)
    end = name.end() if name else 0
    return command[:end], command[end:]


def beginning_with(mark: str, command: str) -> str:
    """A command (a POSIX shell script) that writes a line with the mark first."""
    name, rest = split_name(command)
    return f"{name}echo {mark}\n{rest}"


class Beginning:
    """The mark, looked for in what a command's shell writes.

    Args:
        mark: the mark.
        chunks: what is written, cut anywhere; never empty.
        stream: whose output that is.

    Attributes:
        noise: what came before the mark; all that came if there was none.
        is_there: whether the mark came.
        on_terminal: whether a terminal has altered its end of line.

    Raises:
        TransferError: there is too much before it.
        DeadlineError: it did not come in time.
    """

    def __init__(self, mark: str, chunks: Iterator[bytes], stream: Stream) -> None:
        start = re.compile(re.escape(mark.encode()) + rb"(\r*)\n")
        head = b""
        while True:
            found = start.search(head)
            # By where the mark stands: how much comes at once is chance.
            if (found.start() if found else len(head)) > _MAX_NOISE_BYTES:
                raise stream.lost("the device says too much before the command's output")
            if found is not None:
                break
            try:
                part = next(chunks, b"")
            except DeadlineError as error:
                if words := said(head):
                    error.seen += f"; its shell had said: {words}"
                    error.hint = TRY_SHELL
                raise
            if not part:
                break
            head += part
        self._chunks = chunks
        self._rest = head[found.end() :] if found else b""
        self.noise = head[: found.start()] if found else head
        self.is_there = found is not None
        self.on_terminal = bool(found and found[1])

    def output(self) -> Iterator[bytes]:
        """What follows the mark."""
        if self._rest:
            yield self._rest
        yield from self._chunks


def said(noise: bytes) -> str:
    """What was written, on one line that is fit to be shown."""
    return one_line(noise.decode("utf-8", "replace").strip())[:_MAX_SAID_CHARACTERS]


class BegunStream:
    """A running command of `beginning_with`, without what its shell said before it.

    Where the command did not begin at all, there is no output, and what was said instead comes as stderr.

    Args:
        carrier: what brings its output; owned from here on.
        mark: the mark that it was given.
    """

    def __init__(self, carrier: Stream, mark: str) -> None:
        self._carrier = carrier
        self._mark = mark
        self._said = b""

    def __iter__(self) -> Iterator[bytes]:
        """Yield stdout; raises as the carrier's does."""
        beginning = Beginning(self._mark, iter(self._carrier), self)
        if not beginning.is_there:
            self._said = beginning.noise
        yield from beginning.output()

    @property
    def exit_code(self) -> int | None:
        """The command's; None before its end."""
        return self._carrier.exit_code

    @property
    def stderr(self) -> bytes:
        """What the command wrote to stderr so far."""
        return self._said + self._carrier.stderr

    def send_stdin(self, data: bytes | memoryview) -> None:
        """Send `data` to the command's standard input."""
        self._carrier.send_stdin(data)

    def close_stdin(self) -> None:
        """End the command's standard input."""
        self._carrier.close_stdin()

    def close(self) -> None:
        """Drop the connection."""
        self._carrier.close()

    def lost(self, seen: str) -> TransferError:
        """A TransferError with the connection's context."""
        return self._carrier.lost(seen)
