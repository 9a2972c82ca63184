"""What a device answers to a push, down to answers that no honest one gives."""

from __future__ import annotations

import socket
from pathlib import Path, PurePosixPath

import pytest

from kheaders_adb.device.push import FOLDER, push_tree
from kheaders_adb.errors import TransferError
from tests.unit.device.peer import device_that, packet


def push(where: str, target: PurePosixPath | None, tree: Path) -> PurePosixPath:
    """Push to a device that says where the tree is, and that it was there already."""

    def run(sock: socket.socket, _: str) -> None:
        sock.sendall(packet(1, f"{where}\npresent\n".encode()) + packet(3, b"\0"))

    with device_that(run) as device:
        return push_tree(device, tree, (), "name", target)[0]


def test_a_folder_that_was_not_asked_for_is_not_believed(tmp_path: Path) -> None:
    """What `push` prints goes into other commands, as the path to compile against."""
    for where in ("/sdcard/kheaders/name", f"/tmp/{FOLDER}/other", "$(reboot)", ""):
        with pytest.raises(TransferError) as caught:
            push(where, None, tmp_path)
        assert caught.value.seen == f"it says that they are in {where!r}"
        assert caught.value.device == "X1"
    asked = PurePosixPath("/data/local/tmp", FOLDER, "name")
    assert push(str(asked), None, tmp_path) == asked
    target = PurePosixPath("/mnt/x")
    assert push("/sdcard", target, tmp_path) == target, "what was asked for is what is printed"
