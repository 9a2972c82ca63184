"""Devices that do not keep to the sync protocol; honest ones are in tests/wire."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest

from kheaders_adb.adb.sync import file_size, receive_file
from kheaders_adb.errors import KheadersError, PrivilegeError, TransferError
from tests.unit.adb.test_wire import has_context
from tests.unit.device.peer import conversation, exactly

PATH = PurePosixPath("/sys/kernel/kheaders.tar.xz")


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """A device that answers the one request with these bytes."""

    def serve(sock: socket.socket) -> None:
        exactly(sock, 8 + len(str(PATH)))
        sock.sendall(answer)

    return serve


def packet(kind: bytes, size_bytes: int, data: bytes = b"") -> bytes:
    return kind + size_bytes.to_bytes(4, "little") + data


@pytest.mark.parametrize(
    ("answer", "kind", "seen"),
    [
        (packet(b"OKAY", 0), TransferError, "the device sent b'OKAY"),
        (packet(b"DATA", 1 << 20), TransferError, f"in the middle of {PATH}"),
        (packet(b"FAIL", 1 << 20), TransferError, "the device reported a failure of absurd length"),
        (
            packet(b"FAIL", 9, b"I/O error"),
            TransferError,
            f"{PATH} could not be read: I/O error",
        ),
        (
            packet(b"FAIL", 17, b"Permission denied"),
            PrivilegeError,
            f"{PATH} may be read by root only",
        ),
    ],
)
def test_answers_that_are_no_file(answer: bytes, kind: type[KheadersError], seen: str) -> None:
    with conversation(answering(answer)) as wire, pytest.raises(kind) as caught:
        list(receive_file(wire, PATH))
    assert seen in caught.value.seen
    assert has_context(caught.value)


def test_an_answer_that_is_no_size() -> None:
    raises = pytest.raises(TransferError, match="when asked for a file's size")
    with conversation(answering(b"FAIL" + bytes(12))) as wire, raises:
        file_size(wire, PATH)
