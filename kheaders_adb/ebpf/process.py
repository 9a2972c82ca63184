"""One clang under limits: headers are a program for it, and that must come to an end."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

from kheaders_adb.errors import CompileError

_GRACE_S = 2.0
#: How long a signal may go unnoticed by the threads in which several programs are compiled.
_LOOK_S = 0.1
_CHUNK_BYTES = 1 << 16
# Between the signal at which clang removes what it has begun to write and the one that just ends it.
_CPU_GRACE_S = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """What one clang may take.  A program against real headers takes a second and 200 MB.

    Attributes:
        wall_s: time from when it has its input.
        cpu_s: processor time; it also ends a clang whose starter was killed.
        memory_bytes: address space.
        file_bytes: each file that it writes, its standard output among them.
        diagnostics_bytes: how much of its messages is kept, of the beginning and of the end together; the
            rest is read and counted.
    """

    wall_s: float = 300
    cpu_s: int = 120
    memory_bytes: int = 4 << 30
    file_bytes: int = 256 << 20
    diagnostics_bytes: int = 1 << 20


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a clang ended.

    Attributes:
        status: its exit code, or a signal as a negative number.
        code: its standard output.
        diagnostics: its standard error, the beginning and the end of it when there was too much.
        limit: the limit that ended it, in words, or None.
    """

    status: int
    code: bytes
    diagnostics: bytes
    limit: str | None


@dataclass(frozen=True, slots=True)
class Running:
    """A clang at work.

    Attributes:
        process: it.
        output: gets its standard output.
    """

    process: subprocess.Popen[bytes]
    output: BinaryIO


@contextlib.contextmanager
def started(command: list[str], limits: Limits, *, fed: bool = False) -> Iterator[Running]:
    """Start a process; it is dead when the block is left, in whatever way.

    Args:
        command: the program and its arguments.
        limits: what it may take.
        fed: it gets its standard input from ``finish``; else it has none.

    Raises:
        OSError: it cannot be started.
        CompileError: the system cannot limit it.
    """
    with (
        _nameless_file() as output,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        try:
            _limit(process.pid, limits)
            yield Running(process, output)
        finally:
            if process.poll() is None:
                process.terminate()  # clang then removes what it has begun to write
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
                process.kill()


class Abandoned(BaseException):
    """What was waited for is not wanted any more."""


def finish(
    running: Running, limits: Limits, *, given: bytes = b"", stop: threading.Event | None = None
) -> Ended:
    """Give a process its input, take its output, and wait for its end.

    Args:
        running: from ``started``.
        limits: as it was started with.
        given: its standard input.
        stop: set by another thread when nobody wants the result any more.

    Raises:
        Abandoned: `stop` was set.

    A process that exceeds the time is ended here; the others are the system's limits.
    """
    process = running.process
    deadline = time.monotonic() + limits.wall_s
    talk = _Talk(process, limits, given)
    exceeded = talk.until(deadline, stop)
    if exceeded is None:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            exceeded = _time(limits)
    if exceeded is not None:
        _end(process)
    status, said = process.returncode, talk.diagnostics()
    running.output.seek(0)
    return Ended(status, running.output.read(), said, exceeded or _systems(status, said, limits))


class _Talk:
    """What goes over a process's pipes."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits, given: bytes) -> None:
        assert process.stderr is not None
        self._begun = bytearray()
        self._last = bytearray()
        self._said_bytes = 0
        self._given = memoryview(given)
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stderr, selectors.EVENT_READ)
        if process.stdin is not None:
            # At a BPF stage that died early a blocking write would wait, and never look at the clock.
            os.set_blocking(process.stdin.fileno(), False)
            self._selector.register(process.stdin, selectors.EVENT_WRITE)

    def until(self, deadline: float, stop: threading.Event | None) -> str | None:
        """Go on until the process closes its pipes; return the limit that it exceeded, or None."""
        with self._selector:
            while self._selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    return _time(self._limits)
                if stop is not None:
                    left = min(left, _LOOK_S)
                    if stop.is_set():
                        raise Abandoned
                for key, events in self._selector.select(left):
                    stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
                    if events & selectors.EVENT_WRITE:
                        self._write(stream)
                    else:
                        self._read(stream)
        return None

    def diagnostics(self) -> bytes:
        """Return what the process said, and how much of it is not here."""
        begun, last = bytes(self._begun), bytes(self._last)
        if self._said_bytes <= len(begun) + len(last):
            return begun + last
        # Whole lines, so that no escape sequence is cut in two.
        begun = begun[: begun.rfind(b"\n") + 1]
        last = last[last.find(b"\n") + 1 :]
        lost = self._said_bytes - len(begun) - len(last)
        return begun + b"(%d bytes of clang's messages are left out)\n" % lost + last

    def _write(self, stream: IO[bytes]) -> None:
        try:
            self._given = self._given[os.write(stream.fileno(), self._given[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it has died, and its exit code will say so
            self._given = self._given[:0]
        if not self._given:
            self._close(stream)

    def _read(self, stream: IO[bytes]) -> None:
        data = os.read(stream.fileno(), _CHUNK_BYTES)
        if not data:
            self._close(stream)
        else:
            # Half for the beginning, with the first error, half for the end, where clang says why it ended.
            half = self._limits.diagnostics_bytes // 2
            self._said_bytes += len(data)
            room = max(0, half - len(self._begun))
            self._begun += data[:room]
            self._last += data[room:]
            del self._last[:-half]

    def _close(self, stream: IO[bytes]) -> None:
        self._selector.unregister(stream)
        stream.close()


def _nameless_file() -> BinaryIO:
    """Return a file that is gone when it is closed: clang writes in small pieces, and each would wake us."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("kheaders-adb"), "w+b")
    import tempfile  # slow to import, for systems without the other

    return tempfile.TemporaryFile()


def _limit(pid: int, limits: Limits) -> None:
    if not hasattr(resource, "prlimit"):
        return  # macOS: what is measured here holds, and docs/security.md says so
    wanted = (
        (resource.RLIMIT_CPU, math.ceil(limits.cpu_s), _CPU_GRACE_S),
        (resource.RLIMIT_AS, limits.memory_bytes, 0),
        (resource.RLIMIT_FSIZE, limits.file_bytes, 0),
        (resource.RLIMIT_CORE, 0, 0),
    )
    for kind, soft, grace in wanted:
        try:
            _, most = resource.prlimit(pid, kind)
            hard = soft + grace if most == resource.RLIM_INFINITY else min(soft + grace, most)
            resource.prlimit(pid, kind, (min(soft, hard), hard))
        except ProcessLookupError:
            return  # it has ended already
        except PermissionError as error:
            raise CompileError(
                "this system does not let clang's memory and time be limited (prlimit)",
                step="starting clang",
            ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _systems(status: int, said: bytes, limits: Limits) -> str | None:
    """Return which of the system's limits ended a process, as far as it shows."""
    if status == 0:
        return None
    if _by(status, signal.SIGXCPU):
        return f"the limit of {limits.cpu_s} s of processor time"
    if _by(status, signal.SIGXFSZ):
        return f"the limit of {_size(limits.file_bytes)} for a file"
    if any(words in said for words in (b"out of memory", b"bad_alloc", b"Cannot allocate memory")):
        return f"the limit of {_size(limits.memory_bytes)} of memory"
    return None


def _by(status: int, number: signal.Signals) -> bool:
    # As shells say it, where clang is a script around the compiler.
    return status in (-number, 128 + number)


def _time(limits: Limits) -> str:
    return f"the limit of {limits.wall_s:g} s"


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"
