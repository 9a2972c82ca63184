"""Running the real program against a lab device, and a tap on the wire between them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fixtures.lab import Device

PROGRAM = Path(sys.executable).with_name("kheaders-adb")
TIMEOUT_S = 120

_LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as peak:
    peak.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run of the program ended.

    Attributes:
        code: exit code.
        out, err: what it wrote.
        peak_kib: the most memory it held, in KiB.
    """

    code: int
    out: str
    err: str
    peak_kib: int

    @property
    def document(self) -> dict[str, Any]:
        """The object of ``--json``."""
        content = json.loads(self.out)
        assert content["schema"] == 1
        assert isinstance(content, dict)
        return content


@dataclass(frozen=True, slots=True)
class User:
    """A user with one device and one store.

    Attributes:
        device: the device, named by serial on every call.
        store: the store's folder.
        port: the adb server's port, which may be a tap's.
    """

    device: Device
    store: Path
    port: int = 0
    environ: Mapping[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the program and leave it running."""
        return subprocess.Popen(
            [PROGRAM, *arguments],
            env=environment(self.port or self.device.adb_server_port, self.store)
            | {"ANDROID_SERIAL": self.device.serial}
            | dict(self.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Finished:
        """Run the program to its end."""
        return run(
            *arguments,
            environ=environment(self.port or self.device.adb_server_port, self.store)
            | {"ANDROID_SERIAL": self.device.serial}
            | dict(self.environ),
        )

    def traces(self) -> str:
        """What a pull may leave behind on the device: kheaders in the kernel, files in the work folder."""
        return self.device.root_shell("grep ^kheaders /proc/modules; ls -A /data/local/tmp").stdout


def with_module(device: Device) -> list[str]:
    """The options that give the device's own kheaders.ko, where its kernel has one."""
    return ["--module", str(device.kernel.kheaders_ko)] if device.kernel.kheaders_ko else []


def environment(port: int, store: Path) -> dict[str, str]:
    """The program's environment: one adb server, one store, nothing of the surrounding shell's adb."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("ANDROID", "ADB"))
    }
    return kept | {"ANDROID_ADB_SERVER_PORT": str(port), "KHEADERS_ADB_STORE": str(store)}


def run(*arguments: str, environ: Mapping[str, str]) -> Finished:
    """Run the program to its end and measure its memory."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.NamedTemporaryFile() as peak,
    ):
        # A child starts with its parent's peak, and this process is larger than the program.
        command = [sys.executable, "-c", _LAUNCHER, peak.name, str(PROGRAM), *arguments]
        done = subprocess.run(
            command, env=environ, stdout=out, stderr=err, timeout=TIMEOUT_S, check=False
        )
        out.seek(0)
        err.seek(0)
        return Finished(
            done.returncode,
            out.read().decode(),
            err.read().decode(),
            int(Path(peak.name).read_text()),
        )


def is_empty(store: Path) -> bool:
    """Whether nothing was ever staged in the store: no tree, no archive, no kernel, no litter."""
    folders = ("trees", "archives", "kernels", "tmp")
    return not any(any((store / name).iterdir()) for name in folders if (store / name).exists())


class Tap:
    """A relay in front of an adb server, which counts what the device sends and can act on it.

    Attributes:
        port: where it listens on 127.0.0.1.
        received_bytes: what came from the server so far.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received_bytes = 0
        self._trigger: tuple[int, Callable[[], object]] | None = None
        self._threads: list[threading.Thread] = []

    def at(self, received_bytes: int, action: Callable[[], object]) -> None:
        """Call `action` once this many bytes have come, before the client gets them."""
        self._trigger = (received_bytes, action)

    def __enter__(self) -> Tap:
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(10)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._relay, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _relay(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port))
        except OSError:  # it was killed: so is this connection
            client.close()
            return
        with client, server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while selector.get_map():
                for key, _ in selector.select():
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    with contextlib.suppress(OSError):
                        if data := source.recv(65536):
                            if source is server:
                                self._count(len(data))
                            target.sendall(data)
                            continue
                    selector.unregister(source)
                    with contextlib.suppress(OSError):
                        target.shutdown(socket.SHUT_WR)

    def _count(self, size_bytes: int) -> None:
        self.received_bytes += size_bytes
        if self._trigger is not None and self.received_bytes >= self._trigger[0]:
            action, self._trigger = self._trigger[1], None
            action()


@contextlib.contextmanager
def tapped(user: User) -> Iterator[tuple[User, Tap]]:
    """The same user, whose traffic goes through a tap."""
    with Tap(user.device.adb_server_port) as tap:
        yield User(user.device, user.store, tap.port, user.environ), tap
