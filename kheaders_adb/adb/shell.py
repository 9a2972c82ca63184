"""The shell protocol, version 2: stdout, stderr and an exit code that proves the output complete.

Source: AOSP ``shell_protocol.h``.  A packet is one byte of id, four bytes of little-endian length, data.
The exit packet comes last; a stream without it was cut off, whatever came before.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from kheaders_adb.adb.wire import Wire
from kheaders_adb.errors import TransferError

_MAX_PACKET_BYTES = 16 * 1024 * 1024
_MAX_STDERR_BYTES = 256 * 1024


class _PacketId(enum.IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4


@dataclass(frozen=True, slots=True)
class ShellResult:
    """A finished command: its complete output and its exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class Stream(Protocol):
    """A running command: iterating yields its stdout, and ends normally only where all of it came."""

    @property
    def exit_code(self) -> int | None:
        """The command's; None before its end."""

    @property
    def stderr(self) -> bytes:
        """What the command wrote to stderr so far."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield stdout."""

    def send_stdin(self, data: bytes | memoryview) -> None:
        """Send `data` to the command's standard input."""

    def close_stdin(self) -> None:
        """End the command's standard input."""

    def close(self) -> None:
        """Drop the connection."""

    def lost(self, seen: str) -> TransferError:
        """A TransferError with the connection's context."""


class ShellStream:
    """A running command, read as it goes.

    Iterating yields stdout in chunks of any size; afterwards `exit_code` is set.  Iteration ends
    normally only with the exit packet.

    Args:
        wire: a connection on which a ``shell,v2,raw:`` service was opened; owned from here on.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stderr = bytearray()
        self.exit_code: int | None = None

    @property
    def stderr(self) -> bytes:
        """What the command wrote to stderr so far (the first 256 KiB of it)."""
        return bytes(self._stderr)

    def __iter__(self) -> Iterator[bytes]:
        """Yield stdout.

        Raises:
            TransferError: the stream ended without the exit packet, or is not the shell protocol.
            DeadlineError: it stalled or took too long.
        """
        wire = self._wire
        while True:
            head = wire.read_exact(5)
            size_bytes = int.from_bytes(head[1:], "little")
            if size_bytes > _MAX_PACKET_BYTES:
                raise wire.lost(f"the device announced a shell packet of {size_bytes} bytes")
            if head[0] == _PacketId.STDOUT:
                # Handed on in parts as they come, so that a large packet does not delay the reader.
                while size_bytes:
                    part = wire.read_some(size_bytes)
                    if not part:
                        raise wire.lost("the connection ended inside the command's output")
                    size_bytes -= len(part)
                    yield part
                continue
            data = wire.read_exact(size_bytes)
            if head[0] == _PacketId.STDERR:
                self._stderr += data[: _MAX_STDERR_BYTES - len(self._stderr)]
            elif head[0] == _PacketId.EXIT:
                if size_bytes != 1:
                    raise wire.lost("the device sent a malformed exit packet")
                self.exit_code = data[0]
                return
            # Anything else is for interactive shells and means nothing here.

    def send_stdin(self, data: bytes | memoryview) -> None:
        """Send `data` to the command's standard input."""
        rest = memoryview(data)
        while rest:
            part, rest = rest[:65536], rest[65536:]
            self._wire.write(_packet(_PacketId.STDIN, part))

    def close_stdin(self) -> None:
        """End the command's standard input; a command that reads it would else wait for good."""
        self._wire.write(_packet(_PacketId.CLOSE_STDIN, b""))

    def close(self) -> None:
        """Drop the connection; the device ends the command when it next writes."""
        self._wire.close()

    def lost(self, seen: str) -> TransferError:
        """A TransferError with the connection's context."""
        return self._wire.lost(seen)


def collect(stream: Stream, *, limit_bytes: int) -> ShellResult:
    """Run `stream` to its end and return all of it, then close it.

    Raises:
        TransferError: as for iterating, or stdout grew beyond `limit_bytes`.
    """
    out = bytearray()
    try:
        for chunk in stream:
            out += chunk
            if len(out) > limit_bytes:
                raise stream.lost(f"the command wrote more than {limit_bytes} bytes")
    finally:
        stream.close()
    assert stream.exit_code is not None
    return ShellResult(bytes(out), stream.stderr, stream.exit_code)


def _packet(kind: _PacketId, data: bytes | memoryview) -> bytes:
    return bytes((kind,)) + len(data).to_bytes(4, "little") + bytes(data)
