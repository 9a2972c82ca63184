"""``push``: the tree on the device is complete or absent, whatever happens to the wire."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device as OurDevice
from kheaders_adb.device.push import MARK, inside, push_tree
from kheaders_adb.errors import (
    KheadersError,
    NoHeadersError,
    StoreError,
    TransferError,
    UsageError,
)
from kheaders_adb.store import Store
from kheaders_adb.store.manifest import Entry, EntryKind
from kheaders_adb.store.upkeep.gc import Policy, collect, remove

from .devices import Device, own
from .faults import Action, Direction
from .server import Server
from .test_cli import Cli

NAME = "6.1.0-mini-0123456789abcdef"
DEFAULT = f"/data/local/tmp/kheaders/{NAME}"
MARKED = {MARK: f"{NAME} 61\n".encode()}
"""59 files that are not empty, another name of one of them, and a link."""
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


def entries_of(tree: Path) -> list[Entry]:
    """What a manifest says of such a tree."""
    return [entry_of(path, str(path.relative_to(tree))) for path in sorted(tree.rglob("*"))]


def entry_of(path: Path, name: str) -> Entry:
    if path.is_symlink():
        return Entry(name, EntryKind.SYMLINK, target=str(path.readlink()))
    if path.is_dir():
        return Entry(name, EntryKind.DIRECTORY)
    content = path.read_bytes()
    return Entry(name, EntryKind.FILE, len(content), hashlib.sha256(content).hexdigest())


def send(
    device: OurDevice, tree: Path, name: str, target: PurePosixPath | None = None
) -> tuple[PurePosixPath, bool]:
    return push_tree(device, tree, entries_of(tree), name, target)


def files(root: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_the_tree_arrives_as_it_is(server: Server, device: Device, tree: Path) -> None:
    assert send(connect(server), tree, NAME) == (PurePosixPath(DEFAULT), True)
    there = device.host_path(DEFAULT)
    assert files(there) == files(tree) | MARKED
    assert (there / "include/part1/header1.h").stat().st_mode & 0o777 == 0o644
    assert (there / "include").stat().st_mode & 0o777 == 0o755


def test_what_is_there_is_not_sent_again(server: Server, device: Device, tree: Path) -> None:
    send(connect(server), tree, NAME)
    changed = device.host_path(DEFAULT) / "include/part1/header1.h"
    changed.write_text("still the same")
    assert send(connect(server), tree, NAME) == (PurePosixPath(DEFAULT), False)
    assert changed.read_text() == "still the same"


def test_a_folder_of_ours_is_replaced_and_no_other(
    server: Server, device: Device, tree: Path
) -> None:
    target = PurePosixPath("/data/local/tmp/my headers")
    send(connect(server), tree, "older", target)
    (device.host_path(str(target)) / "include/gone.h").touch()
    assert send(connect(server), tree, NAME, target) == (target, True)
    assert files(device.host_path(str(target))) == files(tree) | MARKED

    device.put("/data/local/tmp/mine/precious", b"1")
    with pytest.raises(UsageError, match="is not a tree of ours"):
        send(connect(server), tree, NAME, PurePosixPath("/data/local/tmp/mine"))
    assert files(device.host_path("/data/local/tmp/mine")) == {"precious": b"1"}
    with pytest.raises(UsageError, match="not an absolute path"):
        send(connect(server), tree, NAME, PurePosixPath("mine"))


ROOT = "/data/local/tmp/eadb/debian"


def a_root(device: Device) -> Path:
    """The folder of a chroot, which is the user's that commands run as."""
    folder = device.host_path(ROOT)
    folder.mkdir(parents=True)
    for path in (folder.parent, folder):
        own(path)
    return folder


def push_into(
    server: Server, tree: Path, root: str, target: str | None = None
) -> tuple[PurePosixPath, bool]:
    to = None if target is None else PurePosixPath(target)
    return push_tree(connect(server), tree, entries_of(tree), NAME, to, PurePosixPath(root))


@pytest.mark.parametrize("target", [None, "/opt/my headers", "/", "//usr/../x/.."])
def test_a_chroot_gets_the_tree_where_it_is_found_from_inside(
    target: str | None, server: Server, device: Device, tree: Path
) -> None:
    a_root(device)
    if target is not None and ".." in target:
        with pytest.raises(UsageError, match=r"without \.\."):
            push_into(server, tree, ROOT, target)
        return
    where, sent = push_into(server, tree, f"/{ROOT}/", target)
    seen = inside(where, PurePosixPath(ROOT))
    assert seen == PurePosixPath(target or f"/usr/src/kheaders/{NAME}")
    assert (where, sent) == (PurePosixPath(ROOT) / seen.relative_to("/"), True)
    assert files(device.host_path(str(where))) == files(tree) | MARKED
    assert push_into(server, tree, ROOT, target) == (where, False)


def test_a_root_of_somebody_else_is_told_of(server: Server, device: Device, tree: Path) -> None:
    a_root(device).chmod(0o555)
    with pytest.raises(StoreError, match="Permission denied") as caught:
        push_into(server, tree, ROOT)
    assert caught.value.hint is not None
    assert "root's" in caught.value.hint


def test_a_root_that_is_not_there_is_not_made(server: Server, device: Device, tree: Path) -> None:
    device.put("/data/local/tmp/file", b"")
    for root in ("/data/local/tmp/absent", "/data/local/tmp/file"):
        with pytest.raises(UsageError, match="is no folder there"):
            push_into(server, tree, root)
    assert not device.host_path("/data/local/tmp/absent").exists()
    for root in ("absent", f"{ROOT}/..", "/a\nb"):
        with pytest.raises(UsageError):
            push_into(server, tree, root)


@pytest.mark.parametrize("link", ["usr", "usr/src", f"usr/src/kheaders/{NAME}"])
def test_a_link_that_leads_out_of_the_root_is_not_followed(
    link: str, server: Server, device: Device, tree: Path
) -> None:
    outside = device.host_path("/data/local/tmp/precious")
    outside.mkdir()
    place = device.host_path(ROOT) / link
    place.parent.mkdir(parents=True)
    place.symlink_to(os.path.relpath(outside, place.parent))
    with pytest.raises(UsageError, match="leads out of"):
        push_into(server, tree, ROOT)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("action", [Action.CLOSE, Action.RESET])
@pytest.mark.parametrize("offset", [0, 511, 512, 5_000, 100_000, 300_000])
def test_a_lost_connection_leaves_nothing(
    action: Action, offset: int, server: Server, device: Device, tree: Path
) -> None:
    fault = server.inject(action, SERVICE, offset, direction=Direction.IN)
    with pytest.raises(TransferError):
        send(connect(server), tree, NAME)
    assert fault.fired == 1
    parent = device.host_path(DEFAULT).parent
    wait_until_empty(parent)
    # And the next one works, leftover or not.
    send(connect(server), tree, NAME)
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
        send(connect(server), tree, NAME)
    assert list(device.host_path(DEFAULT).parent.iterdir()) == []


def test_what_a_killed_device_shell_left_is_swept(
    server: Server, device: Device, tree: Path
) -> None:
    alive = f"{NAME}{MARK}.1.tmp"
    for name in (f"{NAME}{MARK}.999999999.tmp", f"{NAME}{MARK}.old.999999999.tmp", alive):
        device.put(f"{Path(DEFAULT).parent}/{name}/include/half.h", b"")
    parent = device.host_path(DEFAULT).parent
    for path in (parent, *parent.rglob("*")):
        own(path)
    send(connect(server), tree, NAME)
    left = {path.name for path in parent.iterdir()}
    assert left == {NAME, alive}, "pid 1 is alive and may be at work"


def test_what_others_have_beside_the_tree_stays(server: Server, device: Device, tree: Path) -> None:
    """With --to the user chooses the name, and whoever has ``linux`` may have ``linux.v2.tmp`` too."""
    names = [
        f"linux{rest}.tmp"
        for rest in (".v2", ".999999999", ".old.999999999", "", f"{MARK}.v2", f"{MARK}.a.999999999")
    ]
    parent = device.host_path("/data/local/tmp/mine")
    for name in names:
        device.put(f"/data/local/tmp/mine/{name}/precious", b"1")
    for path in (parent, *parent.rglob("*")):
        own(path)
    send(connect(server), tree, NAME, PurePosixPath("/data/local/tmp/mine/linux"))
    assert {path.parent.name for path in parent.glob("*/precious")} == set(names)


def test_a_device_without_tar(server: Server, tree: Path) -> None:
    server.add_device(without=("tar",))
    with pytest.raises(NoHeadersError, match="there is no tar"):
        send(connect(server), tree, NAME)


def test_a_full_disk_is_said_by_the_device(server: Server, device: Device, tree: Path) -> None:
    device.limit_files(8)
    with pytest.raises(StoreError) as caught:
        send(connect(server), tree, NAME)
    assert "--to" in (caught.value.hint or "")
    assert files(device.host_path("/data/local/tmp")) == {}


def test_silence_ends_with_the_deadline(server: Server, device: Device, tree: Path) -> None:
    server.inject(Action.STALL, SERVICE, 3_000, direction=Direction.IN)
    with pytest.raises(KheadersError) as caught:
        send(connect(server, timeout_s=2.0), tree, NAME)
    assert caught.value.exit_code == 7
    server.plan.released.set()


def lose_a_file(there: Path) -> None:
    (there / "include/part1/header1.h").unlink()


def lose_a_content(there: Path) -> None:
    (there / "include/part1/header1.h").write_bytes(b"")


def lose_all(there: Path) -> None:
    shutil.rmtree(there / "include")


def be_of_an_older_version(there: Path) -> None:
    (there / MARK).write_text(f"{NAME}\n")


@pytest.mark.parametrize("damage", [lose_a_file, lose_a_content, lose_all, be_of_an_older_version])
def test_what_is_there_and_not_whole_is_sent_again(
    server: Server, device: Device, tree: Path, damage: Callable[[Path], None]
) -> None:
    send(connect(server), tree, NAME)
    damage(device.host_path(DEFAULT))
    assert send(connect(server), tree, NAME) == (PurePosixPath(DEFAULT), True)
    assert files(device.host_path(DEFAULT)) == files(tree) | MARKED
    assert send(connect(server), tree, NAME) == (PurePosixPath(DEFAULT), False)


@pytest.mark.parametrize("damage", [shutil.rmtree, lose_a_file, lose_a_content])
def test_a_tree_that_is_not_whole_on_the_host_is_never_called_complete(
    server: Server, device: Device, tree: Path, damage: Callable[[Path], None]
) -> None:
    entries = entries_of(tree)
    if damage is lose_a_content:
        (tree / "include/part1/header1.h").chmod(0o644)
    damage(tree)
    with pytest.raises(StoreError, match=str(tree)):
        push_tree(connect(server), tree, entries, NAME)
    wait_until_empty(device.host_path(DEFAULT).parent)


def test_a_file_system_that_loses_files_is_noticed(
    server: Server, device: Device, tree: Path
) -> None:
    """As where names that differ only in case are one: unpacking says nothing of it."""
    entries = entries_of(tree)
    twin = next(entry for entry in entries if entry.size_bytes)
    with pytest.raises(StoreError, match="61 of 62 files") as caught:
        push_tree(connect(server), tree, [*entries, twin], NAME)
    assert "differ only in case" in (caught.value.hint or "")
    assert list(device.host_path(DEFAULT).parent.iterdir()) == []


def test_many_hosts_push_at_once(server: Server, device: Device, tree: Path) -> None:
    with ThreadPoolExecutor(6) as hosts:
        pushes = [hosts.submit(send, connect(server), tree, NAME) for _ in range(6)]
        assert {push.result()[0] for push in pushes} == {PurePosixPath(DEFAULT)}
    assert files(device.host_path(DEFAULT)) == files(tree) | MARKED
    assert [path.name for path in device.host_path(DEFAULT).parent.iterdir()] == [NAME]


@pytest.mark.parametrize("moment", [SERVICE, "host:transport"], ids=["being sent", "being found"])
def test_gc_and_remove_leave_what_is_being_pushed(
    server: Server, device: Device, tmp_path: Path, moment: str
) -> None:
    cli = Cli(server, tmp_path)
    tree = Path(cli("pull").out.strip())
    store = Store.open(cli.store)
    (made,) = store.records()
    refused: list[str] = []

    def interfere() -> None:
        collect(store, Policy(max_kernels=0, grace_s=0))
        for record in store.records():
            try:
                remove(store, record.key)
            except StoreError as error:
                refused.append(error.seen)

    fault = server.inject(Action.CALL, moment, direction=Direction.IN, call=interfere)
    done = cli("push", "--json")
    assert (done.code, fault.done) == (0, 1), done.err
    folder = device.host_path(json.loads(done.out)["folder"])
    assert files(folder).keys() == files(tree).keys() | {MARK}
    if moment == SERVICE:
        assert refused == [f"kernel {made.key[:12]} is being used by a running command"]
