"""The shells that adbd starts: one command each, run by the host's shell in the device's folder."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import selectors
import signal
import subprocess
import time
from typing import IO

from .devices import RUNS_AS_UID, Device
from .faults import Channel
from .protocol import SHELL_HEADER, ShellId, shell_packet

_SHELL_READ_BYTES = 16 * 1024
_SIGHUP_GRACE_S = 5.0


class Wire(enum.Enum):
    """How a shell's streams are put on the wire."""

    PROTOCOL = "shell,v2"  # packets: stdout, stderr, exit code
    MERGED = "shell"  # one stream, no exit code
    EXEC = "exec"  # the same, never on a PTY


class Shell:
    """One command, run by the host's shell in the device's folder."""

    def __init__(
        self, channel: Channel, device: Device, command: str, wire: Wire, *, on_pty: bool = False
    ) -> None:
        self._channel = channel
        self._wire = wire
        self._to_stdin = bytearray()
        self._from_client = bytearray()
        needles = [os.fsencode(device.home / view) for view in ("root", "user")]
        self._erasers = {ShellId.STDOUT: _Eraser(needles), ShellId.STDERR: _Eraser(needles)}
        as_user: dict[str, int] = {}
        if os.geteuid() == 0:
            as_user = {"user": RUNS_AS_UID, "group": RUNS_AS_UID}
        # A PTY's line discipline turns LF into CRLF, echoes what is typed, and knows one output only.
        ours, theirs = os.openpty() if on_pty else (-1, -1)
        self._process = subprocess.Popen(
            [str(device.shell), "-c", os.fsencode(device.translate(command or ":"))],
            stdin=theirs if on_pty else subprocess.PIPE,
            stdout=theirs if on_pty else subprocess.PIPE,
            stderr=subprocess.PIPE if wire is Wire.PROTOCOL and not on_pty else subprocess.STDOUT,
            env=dict(device.environment()),
            cwd=device.view,
            start_new_session=True,
            extra_groups=[] if as_user else None,
            user=as_user.get("user"),
            group=as_user.get("group"),
            umask=-1 if device.umask is None else device.umask,
        )
        self._stdin: IO[bytes] | None = self._process.stdin
        self._outputs = {
            kind: stream
            for kind, stream in (
                (ShellId.STDOUT, self._process.stdout),
                (ShellId.STDERR, self._process.stderr),
            )
            if stream is not None
        }
        if on_pty:
            os.close(theirs)
            terminal = os.fdopen(ours, "r+b", buffering=0)
            self._stdin = terminal
            self._outputs = {ShellId.STDOUT: terminal}
        self._on_pty = on_pty
        self._running = device.running
        self._running.add(self._process.pid)

    def run(self) -> None:
        """Carry its streams until it has ended; ends it if the conversation does."""
        try:
            self._carry()
            code = self._process.wait()
            if self._wire is Wire.PROTOCOL:
                byte = code if code >= 0 else 0x80 | -code
                self._channel.send(shell_packet(ShellId.EXIT, bytes([byte & 0xFF])))
        finally:
            self._end()

    def _carry(self) -> None:
        assert self._stdin is not None
        os.set_blocking(self._stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            for kind, output in self._outputs.items():
                selector.register(output, selectors.EVENT_READ, kind)
            selector.register(self._channel.sock, selectors.EVENT_READ, ShellId.STDIN)
            open_outputs = len(self._outputs)
            while open_outputs:
                for key, _ in selector.select(0.05 if self._to_stdin else None):
                    kind = key.data
                    if kind is ShellId.STDIN:
                        self._take_input()
                        continue
                    data = _read(key.fd)
                    self._give(kind, data)
                    if not data:
                        selector.unregister(key.fileobj)
                        open_outputs -= 1
                self._feed()

    def _give(self, kind: ShellId, data: bytes) -> None:
        text = self._erasers[kind].feed(data) if data else self._erasers[kind].finish()
        if not text:
            return
        self._channel.send(shell_packet(kind, text) if self._wire is Wire.PROTOCOL else text)

    def _take_input(self) -> None:
        data = self._channel.receive_some(65536)
        if self._wire is not Wire.PROTOCOL:
            self._to_stdin += data
            return
        self._from_client += data
        while len(self._from_client) >= SHELL_HEADER.size:
            kind, size_bytes = SHELL_HEADER.unpack_from(self._from_client)
            end = SHELL_HEADER.size + size_bytes
            if len(self._from_client) < end:
                break
            payload = bytes(self._from_client[SHELL_HEADER.size : end])
            del self._from_client[:end]
            if kind == ShellId.STDIN:
                self._to_stdin += payload
            elif kind == ShellId.CLOSE_STDIN:
                self._feed(finish=True)

    def _feed(self, *, finish: bool = False) -> None:
        stdin = self._stdin
        assert stdin is not None
        if stdin.closed:
            self._to_stdin.clear()
            return
        # A PTY's input cannot be closed alone; adbd then leaves it open (shell_service.cpp).
        finish = finish and not self._on_pty
        try:
            if finish:
                os.set_blocking(stdin.fileno(), True)
            while self._to_stdin:
                written = os.write(stdin.fileno(), self._to_stdin)
                del self._to_stdin[:written]
            if finish:
                stdin.close()
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # nobody reads any more: pipe, PTY
                raise
            self._to_stdin.clear()
            if not self._on_pty:
                with contextlib.suppress(BrokenPipeError):
                    stdin.close()

    def _end(self) -> None:
        # As adbd does when its peer is gone: a hangup for the shell itself.  What outlives that is the
        # fake's to clean up.
        process = self._process
        for stream in (self._stdin, *self._outputs.values()):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SIGHUP_GRACE_S)
            # Nor is what it has begun, such as an rmmod, killed in the middle.
            patience = time.monotonic() + _SIGHUP_GRACE_S
            with contextlib.suppress(ProcessLookupError, PermissionError):
                while time.monotonic() < patience:
                    os.killpg(process.pid, 0)
                    time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._running.discard(process.pid)
        process.wait()


def _read(descriptor: int) -> bytes:
    """The next output; nothing at its end, which a PTY tells by EIO."""
    try:
        return os.read(descriptor, _SHELL_READ_BYTES)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


class _Eraser:
    """Takes the host's folders out of a stream again, also where one straddles two chunks."""

    def __init__(self, needles: list[bytes]) -> None:
        self._needles = needles
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """The next chunk, less what may be the start of a folder's name."""
        text = self._kept + data
        for needle in self._needles:
            text = text.replace(needle, b"")
        keep = 0
        for needle in self._needles:
            start = text.find(needle[:1], max(0, len(text) - len(needle) + 1))
            while start >= 0:
                if needle.startswith(text[start:]):
                    keep = max(keep, len(text) - start)
                    break
                start = text.find(needle[:1], start + 1)
        self._kept = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> bytes:
        """What was held back."""
        kept, self._kept = self._kept, b""
        return kept
