"""A bridge between an adb server and a guest's adbd, behind which it looks like an older one."""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

from fixtures.lab import Device

_HEADER = struct.Struct("<4s5I")
_MAX_PAYLOAD_V1 = 4096


class Age(enum.Enum):
    """What is left of the adbd behind it."""

    FORGOTTEN = (
        "features forgotten"  # as by DeviceFarmer's remote connect: all works, nothing is announced
    )
    ANDROID_5 = "exec: only"
    ANDROID_4 = "shell: on a terminal"

    @property
    def refused(self) -> str:
        """The services that it does not know, as a pattern."""
        return {"FORGOTTEN": "(?!)", "ANDROID_5": "shell,", "ANDROID_4": "shell,|exec:"}[self.name]


class Bridge:
    """A relay of adb's packets, without the features of the banner and with an old adbd's packet size.

    Attributes:
        serial: the serial under which the server knows what it leads to.
    """

    def __init__(self, device: Device, age: Age) -> None:
        self._device = device
        self._age = age
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._sockets: list[socket.socket] = []
        self._to_server = threading.Lock()

    def __enter__(self) -> Self:
        self._threads[0].start()
        self._device.server.client.query(f"host:connect:{self.serial}", 15)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self._device.server.client.query(f"host:disconnect:{self.serial}", 15)
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                server, _ = self._listener.accept()
            except OSError:
                return
            host, _, port = self._device.serial.partition(":")
            adbd = socket.create_connection((host, int(port)))
            self._sockets += [server, adbd]
            for source, target, pass_on in (
                (server, adbd, self._from_server),
                (adbd, server, self._from_adbd),
            ):
                thread = threading.Thread(
                    target=self._relay, args=(source, target, pass_on), daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _relay(
        self, source: socket.socket, target: socket.socket, pass_on: Callable[..., None]
    ) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                command, first, second, size_bytes, _, _ = _HEADER.unpack(_exactly(source, 24))
                pass_on(source, target, command, first, second, _exactly(source, size_bytes))
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _from_adbd(
        self,
        _source: socket.socket,
        server: socket.socket,
        command: bytes,
        first: int,
        second: int,
        data: bytes,
    ) -> None:
        if command == b"CNXN":
            second, data = _MAX_PAYLOAD_V1, re.sub(rb"features=[^;\0]*;?", b"", data)
        with self._to_server:
            server.sendall(_packet(command, first, second, data))

    def _from_server(
        self,
        server: socket.socket,
        adbd: socket.socket,
        command: bytes,
        first: int,
        second: int,
        data: bytes,
    ) -> None:
        if command == b"CNXN":
            second = _MAX_PAYLOAD_V1
        elif command == b"OPEN":
            assert len(data) <= _MAX_PAYLOAD_V1
            if re.match(self._age.refused.encode(), data):
                with self._to_server:
                    server.sendall(_packet(b"CLSE", 0, first, b""))
                return
            if self._age is Age.ANDROID_4:
                data = re.sub(rb"^shell:", b"shell,pty:", data)
        adbd.sendall(_packet(command, first, second, data))


def _packet(command: bytes, first: int, second: int, data: bytes) -> bytes:
    magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
    return _HEADER.pack(command, first, second, len(data), sum(data), magic) + data


def _exactly(sock: socket.socket, size_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < size_bytes:
        if not (part := sock.recv(size_bytes - len(data))):
            raise EOFError
        data += part
    return bytes(data)
