"""Finding the adb server, and starting one where that is safe."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import adbutils
import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import DeviceEntry
from kheaders_adb.adb.server import AdbServer, adb_binary
from kheaders_adb.adb.wire import ServerRefusedError
from kheaders_adb.errors import AdbServerError, DeadlineError, TransferError
from tests.wire.devices import State
from tests.wire.server import Server

# An adb that listens where it is told, answers one request as a server of version 41 and ends.
LISTENS = """\
import os, socket, sys
assert sys.argv[1] == "-L" and sys.argv[3:] == ["server", "nodaemon"], sys.argv
with open(os.environ["STARTED"], "a") as log:
    log.write(f"{os.getpid()} {sys.argv[2]} {os.getsid(0) == os.getpid()}\\n")
_, host, port = sys.argv[2].split(":")
with socket.create_server((host.replace("localhost", "127.0.0.1"), int(port))) as listener:
    listener.settimeout(30)
    connection, _ = listener.accept()
    with connection:
        connection.recv(100)
        connection.sendall(b"OKAY00040029")
        connection.recv(1)
"""
ENDS = "import sys; sys.stderr.write('cannot bind\\n\\x1b[31mreally\\n'); sys.exit(1)\n"


@pytest.fixture
def port() -> int:
    """A port of this machine at which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Put this program in the place of adb; gives the file in which it notes that it was started."""
    started = tmp_path / "started"
    monkeypatch.setenv("STARTED", str(started))

    def install(program: str) -> Path:
        binary = tmp_path / "adb"
        binary.write_text(f"#!{sys.executable}\n{program}")
        binary.chmod(0o755)
        monkeypatch.setenv("ADBUTILS_ADB_PATH", str(binary))
        return started

    yield install
    if started.exists():
        for line in started.read_text().splitlines():
            pid = int(line.split()[0])
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def test_a_server_is_started_where_it_is_looked_for(adb: Callable[[str], Path], port: int) -> None:
    started = adb(LISTENS)
    server = AdbServer(ServerAddress("127.0.0.1", port))
    assert server.version(Deadline.after(30)) == 41
    ((_, address, own_session),) = [line.split() for line in started.read_text().splitlines()]
    assert address == f"tcp:127.0.0.1:{port}"
    assert own_session == "True", "Ctrl-C in the user's shell must not end it"


def test_a_server_that_ends_at_once_is_quoted(adb: Callable[[str], Path], port: int) -> None:
    adb(ENDS)
    with pytest.raises(AdbServerError, match="ended at once: cannot bind") as caught:
        AdbServer(ServerAddress("localhost", port)).version(Deadline.after(30))
    assert "\\x1b[31mreally" in caught.value.seen
    assert f"-L tcp:localhost:{port} server nodaemon" in (caught.value.hint or "")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("case", ["not wanted", "a socket", "another machine"])
def test_no_server_is_started_elsewhere(
    adb: Callable[[str], Path], port: int, tmp_path: Path, case: str
) -> None:
    """Least of all for an address that is not this machine's: the protocol knows no passwords."""
    started = adb(LISTENS)
    server = {
        "not wanted": AdbServer(ServerAddress("127.0.0.1", port), start=False),
        "a socket": AdbServer(ServerAddress("", 0, str(tmp_path / "none"))),
        # 0.0.0.0 is this machine when one connects to it, but to listen there is to listen to all.
        "another machine": AdbServer(ServerAddress("0.0.0.0", port)),
    }[case]
    with pytest.raises(ServerRefusedError):
        server.version(Deadline.after(30))
    assert not started.exists()


def test_a_server_that_does_not_listen(adb: Callable[[str], Path], port: int) -> None:
    adb(
        "import os, time\nopen(os.environ['STARTED'], 'a').write(f'{os.getpid()}\\n')\n"
        "print('still thinking', flush=True)\ntime.sleep(60)\n"
    )
    with pytest.raises(DeadlineError, match="did not listen in time") as caught:
        AdbServer(ServerAddress("127.0.0.1", port)).version(Deadline.after(0.5))
    assert caught.value.step == "starting an adb server"


def test_a_host_without_adb(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    def none() -> str:
        raise adbutils.AdbError("No adb exe could be found")

    monkeypatch.setattr(adbutils, "adb_path", none)
    with pytest.raises(AdbServerError, match="no adb binary was found: ") as caught:
        AdbServer(ServerAddress("127.0.0.1", port)).version(Deadline.after(10))
    assert "install adb" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (b"OKAY0004 no!", "the server answered b' no!'"),
        (b"FAIL000bnot allowed", "the adb server refused: not allowed"),
    ],
)
def test_answers_that_make_no_sense(answer: bytes, seen: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        server = AdbServer(ServerAddress("127.0.0.1", listener.getsockname()[1]), start=False)
        ask = server.devices if answer.startswith(b"FAIL") else server.version
        with pytest.raises(AdbServerError) as caught:
            ask(Deadline.after(10))
        thread.join()
    assert caught.value.seen == seen
    assert "`adb devices`" in (caught.value.hint or "")


def test_the_binary_is_the_one_that_the_user_names(
    adb: Callable[[str], Path], tmp_path: Path
) -> None:
    adb(LISTENS)
    assert adb_binary() == tmp_path / "adb"


def test_a_running_server(server: Server) -> None:
    device = server.add_device("X1")
    server.add_device("Y2", state=State.UNAUTHORIZED, usb=False)
    adb_server = AdbServer(ServerAddress("127.0.0.1", server.port))
    deadline = Deadline.after(30)
    assert adb_server.version(deadline) == 41
    first, second = adb_server.devices(deadline)
    assert (first.serial, first.state, first.is_usb) == ("X1", "device", True)
    assert (second.serial, second.state, second.is_usb) == ("Y2", "unauthorized", False)
    assert first.transport_id == device.transport_id
    assert "shell_v2" in adb_server.features(first, deadline)


def test_the_connection_is_pinned(server: Server) -> None:
    """A device that came back meanwhile is not the one that was probed."""
    device = server.add_device("X1")
    adb_server = AdbServer(ServerAddress("127.0.0.1", server.port))
    deadline = Deadline.after(30)
    (entry,) = adb_server.devices(deadline)
    adb_server.open(entry, "shell,v2,raw:true", deadline, step="x").close()
    device.reboot()
    with pytest.raises(TransferError, match="no device with transport id"):
        adb_server.open(entry, "shell,v2,raw:true", deadline, step="x")


def test_servers_before_transport_ids_are_asked_by_serial(server: Server) -> None:
    server.add_device("X1")
    adb_server = AdbServer(ServerAddress("127.0.0.1", server.port))
    entry = DeviceEntry("X1", "device")
    deadline = Deadline.after(30)
    assert "shell_v2" in adb_server.features(entry, deadline)
    adb_server.open(entry, "shell,v2,raw:true", deadline, step="x").close()
    assert "host:transport:X1" in server.services("^host:transport")
