"""``push``: the tree on the device is complete or absent, whatever happens to the wire."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath

import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device as OurDevice
from kheaders_adb.device.push import MARK, push_tree
from kheaders_adb.errors import (
    KheadersError,
    NoHeadersError,
    StoreError,
    TransferError,
    UsageError,
)

from .devices import Device, own
from .faults import Action, Direction
from .server import Server

NAME = "6.1.0-mini-0123456789abcdef"
DEFAULT = f"/data/local/tmp/kheaders/{NAME}"
SERVICE = "shell,v2,raw:# kheaders-adb push\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number in range(60):
        path = root / f"include/part{number % 7}/header{number}.h"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (number * 317))
        path.chmod(0o444)
    (root / "include/link.h").symlink_to("part0/header0.h")
    (root / "include/same.h").hardlink_to(root / "include/part1/header1.h")
    (root / "include" / ("long" * 40)).mkdir()
    (root / "include" / ("long" * 40) / "näme.h").touch()
    return root


def connect(server: Server, timeout_s: float = 30.0) -> OurDevice:
    adb = AdbServer(ServerAddress("127.0.0.1", server.port), start=False)
    return OurDevice.select(adb, Selection(), Deadline.after(timeout_s))


def files(root: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_the_tree_arrives_as_it_is(server: Server, device: Device, tree: Path) -> None:
    assert push_tree(connect(server), tree, NAME) == (PurePosixPath(DEFAULT), True)
    there = device.host_path(DEFAULT)
    assert files(there) == files(tree) | {MARK: f"{NAME}\n".encode()}
    assert (there / "include/part1/header1.h").stat().st_mode & 0o777 == 0o644
    assert (there / "include").stat().st_mode & 0o777 == 0o755


def test_what_is_there_is_not_sent_again(server: Server, device: Device, tree: Path) -> None:
    push_tree(connect(server), tree, NAME)
    (device.host_path(DEFAULT) / "include/part1/header1.h").write_text("still the same")
    assert push_tree(connect(server), tree, NAME) == (PurePosixPath(DEFAULT), False)
    assert (device.host_path(DEFAULT) / "include/part1/header1.h").read_text() == "still the same"


def test_a_folder_of_ours_is_replaced_and_no_other(
    server: Server, device: Device, tree: Path
) -> None:
    target = PurePosixPath("/data/local/tmp/my headers")
    push_tree(connect(server), tree, "older", target)
    (device.host_path(str(target)) / "include/gone.h").touch()
    assert push_tree(connect(server), tree, NAME, target) == (target, True)
    assert files(device.host_path(str(target))) == files(tree) | {MARK: f"{NAME}\n".encode()}

    device.put("/data/local/tmp/mine/precious", b"1")
    with pytest.raises(UsageError, match="is not a tree of ours"):
        push_tree(connect(server), tree, NAME, PurePosixPath("/data/local/tmp/mine"))
    assert files(device.host_path("/data/local/tmp/mine")) == {"precious": b"1"}
    with pytest.raises(UsageError, match="not an absolute path"):
        push_tree(connect(server), tree, NAME, PurePosixPath("mine"))


@pytest.mark.parametrize("action", [Action.CLOSE, Action.RESET])
@pytest.mark.parametrize("offset", [0, 511, 512, 5_000, 100_000, 300_000])
def test_a_lost_connection_leaves_nothing(
    action: Action, offset: int, server: Server, device: Device, tree: Path
) -> None:
    fault = server.inject(action, SERVICE, offset, direction=Direction.IN)
    with pytest.raises(TransferError):
        push_tree(connect(server), tree, NAME)
    assert fault.fired == 1
    parent = device.host_path(DEFAULT).parent
    wait_until_empty(parent)
    # And the next one works, leftover or not.
    push_tree(connect(server), tree, NAME)
    assert [path.name for path in parent.iterdir()] == [NAME]


def wait_until_empty(parent: Path) -> None:
    """The device's shell notices the hangup in its own time."""
    deadline = time.monotonic() + 20
    while parent.exists() and any(parent.iterdir()):
        assert time.monotonic() < deadline, list(parent.iterdir())
        time.sleep(0.02)


def test_a_stream_cut_between_two_members_is_not_taken_for_whole(
    server: Server, device: Device, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tar itself is content with a stream that ends after any member."""
    import kheaders_adb.device.push as module

    whole = module._tar

    def without_end(*arguments: object) -> object:
        data = b"".join(whole(*arguments))  # type: ignore[arg-type]
        yield data[: data.index(b"include/part3")]

    monkeypatch.setattr(module, "_tar", without_end)
    with pytest.raises(TransferError, match="the stream was cut"):
        push_tree(connect(server), tree, NAME)
    assert list(device.host_path(DEFAULT).parent.iterdir()) == []


def test_what_a_killed_device_shell_left_is_swept(
    server: Server, device: Device, tree: Path
) -> None:
    device.put(f"{DEFAULT}.999999999.tmp/include/half.h", b"")
    alive = f"{DEFAULT}.1.tmp/include/half.h"
    device.put(alive, b"")
    parent = device.host_path(DEFAULT).parent
    for path in (parent, *parent.rglob("*")):
        own(path)
    push_tree(connect(server), tree, NAME)
    assert {path.name for path in parent.iterdir()} == {
        NAME,
        f"{NAME}.1.tmp",
    }, "pid 1 is alive and may be at work"


def test_a_device_without_tar(server: Server, tree: Path) -> None:
    server.add_device(without=("tar",))
    with pytest.raises(NoHeadersError, match="there is no tar"):
        push_tree(connect(server), tree, NAME)


def test_a_full_disk_is_said_by_the_device(server: Server, device: Device, tree: Path) -> None:
    device.limit_files(8)
    with pytest.raises(StoreError) as caught:
        push_tree(connect(server), tree, NAME)
    assert "--to" in (caught.value.hint or "")
    assert files(device.host_path("/data/local/tmp")) == {}


def test_silence_ends_with_the_deadline(server: Server, device: Device, tree: Path) -> None:
    server.inject(Action.STALL, SERVICE, 3_000, direction=Direction.IN)
    with pytest.raises(KheadersError) as caught:
        push_tree(connect(server, timeout_s=2.0), tree, NAME)
    assert caught.value.exit_code == 7
    server.plan.released.set()
