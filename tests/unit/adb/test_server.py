"""Asking the adb server, and having it open services."""

from __future__ import annotations

import socket
import threading

import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.listing import DeviceEntry
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.errors import AdbServerError, TransferError
from tests.wire.devices import State
from tests.wire.server import Server


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
