"""A peer on the other end of a socket that says what a test tells it to."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.listing import DeviceEntry
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.adb.wire import Wire
from kheaders_adb.device.device import Device

SERIAL, STEP = "X1", "talking"


@contextmanager
def conversation(
    peer: Callable[[socket.socket], object], *, timeout_s: float = 10.0, idle_s: float = 10.0
) -> Iterator[Wire]:
    """A wire whose other end is `peer`, run in a thread of its own; what it raises, this raises."""
    ours, theirs = socket.socketpair()
    raised: list[BaseException] = []

    def run() -> None:
        with theirs:
            try:
                peer(theirs)
            except BrokenPipeError:
                pass  # we hung up in the middle, as some tests want
            except BaseException as error:
                raised.append(error)

    thread = threading.Thread(target=run, name="peer")
    thread.start()
    try:
        with Wire(ours, Deadline.after(timeout_s, idle_s=idle_s), device=SERIAL, step=STEP) as wire:
            yield wire
    finally:
        ours.close()
        thread.join(10)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


def says(*parts: bytes, until: threading.Event | None = None) -> Callable[[socket.socket], None]:
    """A peer that sends `parts` one by one, then ends the conversation, `until` that is set."""

    def run(sock: socket.socket) -> None:
        for part in parts:
            sock.sendall(part)
        if until is not None:
            assert until.wait(10)

    return run


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other end hangs up."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def exactly(sock: socket.socket, size_bytes: int) -> bytes:
    """So many bytes."""
    data = sock.recv(size_bytes, socket.MSG_WAITALL)
    assert len(data) == size_bytes
    return data


def packet(kind: int, data: bytes) -> bytes:
    """A packet of the shell protocol: 1 stdout, 2 stderr, 3 exit."""
    return struct.pack("<BI", kind, len(data)) + data


@contextmanager
def device_that(
    runs: Callable[[socket.socket, str], object], *, timeout_s: float = 10.0
) -> Iterator[Device]:
    """A device behind a server of which we believe everything but what it does with commands.

    `runs` gets the connection and the command once the service is open, and the output has begun; several may
    run at once.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(4) as pool:
        running = []

        def converse(sock: socket.socket) -> None:
            with sock:
                for _ in ("transport", "service"):
                    service = exactly(sock, int(exactly(sock, 4), 16)).decode()
                    sock.sendall(b"OKAY")
                if begins := re.search(r"\becho (@[0-9a-f]{12})\n", service):
                    sock.sendall(packet(1, f"{begins[1]}\n".encode()))
                runs(sock, service.removeprefix("shell,v2,raw:"))
                # What the client said and nobody read would turn our end of stream into a reset.
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
                    read_all(sock)

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return  # the listener was shut down: the test is over
                running.append(pool.submit(converse, sock))

        accepting = pool.submit(accept)
        server = AdbServer(ServerAddress("127.0.0.1", listener.getsockname()[1]), start=False)
        try:
            yield Device(server, DeviceEntry(SERIAL, "device", 1), Deadline.after(timeout_s))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.result()
            for talk in running:
                # A client that has seen enough hangs up, maybe with our words still on the way.
                with suppress(BrokenPipeError, ConnectionResetError):
                    talk.result()
