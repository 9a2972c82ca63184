"""A command's output where adb has no shell protocol: the device's own shell says where it ends.

Without that protocol one stream holds what a command writes to stdout and to stderr, and its end may be the
command's or the connection's.  So the shell is told to write a mark first, then the command's output, then
the mark, the exit code, what went to stderr, and the mark again.  A stream without all of these was cut off.

On a terminal (``shell:`` before Android 7, some su) each LF becomes CR LF.  That is undone in text; what is
binary is written in base64 by a tool of the device.
"""

from __future__ import annotations

import binascii
import re
import shlex
from collections.abc import Iterator

from kheaders_adb.adb.beginning import TRY_SHELL, Beginning, said, split_name
from kheaders_adb.adb.shell import Stream
from kheaders_adb.adb.wire import Wire
from kheaders_adb.errors import TransferError

ENCODERS = ("base64", "toybox base64", "busybox base64", "openssl base64")
"""Commands that write stdin to stdout in base64."""

_MAX_END_BYTES = 256 * 1024
_BLANKS = b" \t\r\n"


def marked(command: str, mark: str, *, encoder: str = "", held: bool = False) -> str:
    """The command that runs `command` (a POSIX shell script) and says where its output begins and ends.

    Args:
        mark: with which it says so.
        encoder: what its output is to be written through; or empty.
        held: its stdin ends when a line comes, or the connection ends; else it has none.
    """
    name, rest = split_name(command)
    # The trap: a shell that a hangup ended would leave the command running under the number of a dead one.
    # What goes to stderr is kept in a variable, since the device may have no place for a file.  The command
    # is a word: not every shell understands a `case` inside of $().
    stdin = "" if held else " </dev/null"
    word = shlex.quote(rest)
    return (
        f"{name}trap : HUP INT TERM\nm={mark}\necho $m\n{'read -r x|' if held else ''}"
        f"{{ {{ e=$(exec{stdin} 2>&1 >&3 3>&-;eval {word}); }} 3>&1\n"
        f'printf "$m %s\\n%s\\n$m." $? "$e"; }}{encoder and "|"}{encoder}'
    )


class RawStream:
    """What comes over a connection, as it is.

    Args:
        wire: a connection on which ``exec:`` or ``shell:`` was opened; owned from here on.
        stdin_end: what tells the command there that its input is over.
    """

    def __init__(self, wire: Wire, stdin_end: bytes = b"") -> None:
        self._wire = wire
        self._stdin_end = stdin_end

    def __iter__(self) -> Iterator[bytes]:
        """Yield what comes, to the end of the connection."""
        while part := self._wire.read_some():
            yield part

    def close_stdin(self) -> None:
        """Tell the command that its input is over, if it was told to wait for that."""
        if self._stdin_end:
            self._wire.write(self._stdin_end)

    def close(self) -> None:
        """Drop the connection."""
        self._wire.close()

    def lost(self, seen: str) -> TransferError:
        """A TransferError with the connection's context."""
        return self._wire.lost(seen)


class MarkedStream:
    """A running command of `marked`, read as it goes; as `ShellStream`, but for input.

    Args:
        carrier: what brings its output; owned from here on.
        mark: the mark that it was given.
        is_encoded: whether it was given an encoder.
    """

    def __init__(self, carrier: RawStream | Stream, mark: str, *, is_encoded: bool) -> None:
        self._carrier = carrier
        self._mark = mark.encode()
        self._is_encoded = is_encoded
        self._stderr = b""
        self.exit_code: int | None = None
        self.on_terminal = False

    @property
    def stderr(self) -> bytes:
        """What the command wrote to stderr; it comes last."""
        return self._stderr

    def __iter__(self) -> Iterator[bytes]:
        """Yield stdout.

        Raises:
            TransferError: the stream ended without the last mark, or was altered on its way.
            DeadlineError: it stalled or took too long.
        """
        pending, end = b"", self._mark + b" "
        chunks = self._content()
        for chunk in chunks:
            pending += chunk
            out, found, rest = pending.partition(end)
            if found:
                if out:
                    yield out
                self._finish(rest, chunks)
                return
            # Nothing is held back, since a reader may wait for it, but what the mark may begin with.
            at = pending.rfind(end[:1])
            at = at if at >= 0 and end.startswith(pending[at:]) else len(pending)
            if out := pending[:at]:
                yield out
            pending = pending[at:]
        raise self.lost("the connection ended inside the command's output")

    def send_stdin(self, data: bytes | memoryview) -> None:
        """Such a command has no input."""
        raise NotImplementedError

    def close_stdin(self) -> None:
        """End the command's standard input, where it was told to wait for that."""
        self._carrier.close_stdin()

    def close(self) -> None:
        """Drop the connection; the device ends the command when it next writes."""
        self._carrier.close()

    def lost(self, seen: str) -> TransferError:
        """A TransferError with the connection's context."""
        return self._carrier.lost(seen)

    def _finish(self, rest: bytes, chunks: Iterator[bytes]) -> None:
        """Take what follows the output: the exit code, stderr, and the mark again."""
        whole = re.compile(rb"(\d{1,3})\n(.*)\n" + re.escape(self._mark) + rb"\.", re.DOTALL)
        while (found := whole.match(rest)) is None:
            if len(rest) > _MAX_END_BYTES:
                raise self.lost("the device says too much behind the command's output")
            part = next(chunks, b"")
            if not part:
                raise self.lost("the connection ended before the command's exit code")
            rest += part
        self._stderr = found[2]
        self.exit_code = int(found[1])

    def _content(self) -> Iterator[bytes]:
        """What follows the first mark, as it was written on the device."""
        beginning = Beginning(self._mark.decode(), iter(self._carrier), self)
        if not beginning.is_there:
            words = said(beginning.noise)
            error = self.lost(f"the command did not begin{words and f' ({words})'}")
            error.hint = TRY_SHELL if words else error.hint
            raise error
        self.on_terminal = beginning.on_terminal
        chunks = beginning.output()
        if self._is_encoded:
            return self._decoded(chunks)
        return _without_returns(chunks) if self.on_terminal else chunks

    def _decoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        pending = b""
        for chunk in chunks:
            pending += chunk.translate(None, _BLANKS)
            whole, pending = pending[: len(pending) & ~3], pending[len(pending) & ~3 :]
            try:
                content = binascii.a2b_base64(whole, strict_mode=True)
            except binascii.Error as error:
                raise self.lost(
                    f"what the device encoded was altered on its way: {error}"
                ) from error
            if content:
                yield content


def _without_returns(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Text as it was before a terminal, or one behind another, put a CR before each LF."""
    pending = b""
    for chunk in chunks:
        text = re.sub(rb"\r+\n", b"\n", pending + chunk)
        held = len(text) - len(text.rstrip(b"\r"))
        text, pending = text[: len(text) - held], text[len(text) - held :]
        if text:
            yield text
    if pending:
        yield pending
