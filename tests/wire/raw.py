"""A client that takes the fake at its word: it sends what a test says and returns every byte that comes."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

ANY = "host:transport-any"
_PATIENCE_S = 30.0


class RefusedError(Exception):
    """The server or the sync service said FAIL; the text is the message."""


class HungUpError(Exception):
    """The end of the stream came where more was due."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What the shell protocol said of a command."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class Raw:
    """Conversations with the adb server on a port of this machine.

    ``to`` is the request that chooses the device, such as "host:transport:SERIAL".
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, service: str) -> bytes:
        """The answer of a host service, as bytes."""
        with self._connect() as sock:
            _request(sock, service)
            return _exactly(sock, int(_exactly(sock, 4), 16))

    def listing(self) -> dict[int, str]:
        """The devices by transport id: what stands before it in the long listing, less the blanks."""
        lines = self.ask("host:devices-l").decode(errors="surrogateescape").splitlines()
        parts = [line.rpartition(" transport_id:") for line in lines]
        return {int(number): " ".join(before.split()) for before, _, number in parts}

    def open(self, service: str, to: str = ANY) -> socket.socket:
        """A connection to a service of adbd, its OKAY taken."""
        sock = self._connect()
        try:
            _request(sock, to)
            _request(sock, service)
        except BaseException:
            sock.close()
            raise
        return sock

    def stream(self, service: str, to: str = ANY, *, stdin: bytes = b"") -> bytes:
        """All that a service of adbd says after its OKAY."""
        with self.open(service, to) as sock:
            sock.sendall(stdin)
            return read_all(sock)

    def shell(self, command: str, to: str = ANY, *, how: str = "v2,raw") -> Ran:
        """Run a command by the shell protocol, without stdin."""
        with self.open(f"shell,{how}:{command}", to) as sock:
            sock.sendall(struct.pack("<BI", 4, 0))
            streams = {1: b"", 2: b""}
            while True:
                kind, size_bytes = struct.unpack("<BI", _exactly(sock, 5))
                data = _exactly(sock, size_bytes)
                if kind == 3:
                    return Ran(streams[1], streams[2], data[0])
                streams[kind] += data

    def shell_v1(self, command: str, to: str = ANY) -> bytes:
        """All output of a command by the first shell protocol."""
        return self.stream(f"shell:{command}", to)

    def stat_size(self, path: str, to: str = ANY) -> int:
        """The size that sync's STAT tells; 0 also for what is not there."""
        with self.open("sync:", to) as sock:
            sock.sendall(b"STAT" + struct.pack("<I", len(path)) + path.encode())
            _, _, size_bytes, _ = struct.unpack("<4sIII", _exactly(sock, 16))
        return int(size_bytes)

    def receive(self, path: str, to: str = ANY) -> bytes:
        """A file by sync's RECV."""
        with self.open("sync:", to) as sock:
            sock.sendall(b"RECV" + struct.pack("<I", len(path)) + path.encode())
            content = b""
            while (message := _sync_message(sock))[0] == b"DATA":
                content += message[1]
            return content

    def send(self, path: str, content: bytes, to: str = ANY) -> None:
        """A file by sync's SEND."""
        with self.open("sync:", to) as sock:
            name = f"{path},{0o644}".encode()
            sock.sendall(b"SEND" + struct.pack("<I", len(name)) + name)
            sock.sendall(b"DATA" + struct.pack("<I", len(content)) + content)
            sock.sendall(b"DONE" + struct.pack("<I", 0))
            _sync_message(sock)

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE_S)


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other end hangs up, gently or not."""
    content = b""
    try:
        while part := sock.recv(65536):
            content += part
    except ConnectionResetError:
        pass
    return content


def _request(sock: socket.socket, service: str) -> None:
    name = service.encode(errors="surrogateescape")
    try:
        sock.sendall(b"%04x" % len(name) + name)
        status = _exactly(sock, 4)
        if status == b"FAIL":
            raise RefusedError(
                _exactly(sock, int(_exactly(sock, 4), 16)).decode(errors="surrogateescape")
            )
    except (ConnectionResetError, BrokenPipeError) as error:
        raise HungUpError from error
    assert status == b"OKAY"


def _sync_message(sock: socket.socket) -> tuple[bytes, bytes]:
    kind, size_bytes = struct.unpack("<4sI", _exactly(sock, 8))
    content = b"" if kind in (b"DONE", b"OKAY") else _exactly(sock, size_bytes)
    if kind == b"FAIL":
        raise RefusedError(content.decode())
    return kind, content


def _exactly(sock: socket.socket, size_bytes: int) -> bytes:
    content = b""
    while len(content) < size_bytes:
        part = sock.recv(size_bytes - len(content))
        if not part:
            raise HungUpError(f"after {len(content)} of {size_bytes} bytes")
        content += part
    return content
