"""Whom a connection reaches: the unit that was chosen, whatever else has its serial or its number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device as Reached
from kheaders_adb.device.probe import probe
from kheaders_adb.device.push import push_tree
from kheaders_adb.device.transfer import ArchiveStream
from kheaders_adb.errors import DeviceChangedError, DeviceError, KheadersError, PrivilegeError
from kheaders_adb.model import Staged, Via
from kheaders_adb.pipeline.ensure import ensure
from kheaders_adb.pipeline.options import Options
from kheaders_adb.pipeline.source import ways
from kheaders_adb.store import Store

from .client import pull
from .devices import AdbdRestart, Device, Headers, State
from .faults import wait_until
from .kernel import Kernel
from .server import Deal, Server

OTHERS = Kernel(seed=2, extra=(("KASAN", "y"),))


def pull_unit(server: Server, unit: Device, store: Path, timeout_s: float = 30.0) -> Staged:
    """As ``pull -t``."""
    there = AdbServer(ServerAddress("127.0.0.1", server.port), start=False)
    selection = Selection(transport_id=unit.transport_id)
    device = Reached.select(there, selection, Deadline.after(timeout_s))
    return ensure(device, Store.open(store), Options())


@pytest.mark.parametrize("place", ["usb:1-2", "usb:1-1"])
@pytest.mark.parametrize("lingers_s", [0.0, 0.5])
def test_adb_root_comes_back_to_the_unit_that_was_asked(
    server: Server, tmp_path: Path, place: str, lingers_s: float
) -> None:
    """Two units of one serial, and even said to be in one place: the other one is left alone."""
    restart = AdbdRestart(lingers_s=lingers_s)
    mine = server.add_device("TWIN", uid=2000, adbd_restart=restart)
    other = server.add_device("TWIN", uid=0, devpath=place, kernel=OTHERS)
    number = other.transport_id
    staged = pull_unit(server, mine, tmp_path / "store")
    assert staged.archive.sha256 == mine.kernel.archive_sha256
    assert (mine.uid, other.uid, other.transport_id) == (2000, 0, number)


def test_a_unit_that_comes_while_the_other_restarts_is_not_taken_for_it(
    server: Server, tmp_path: Path
) -> None:
    mine = server.add_device("TWIN", uid=2000, adbd_restart=AdbdRestart(away_s=1.5))
    other = server.add_device("TWIN", uid=0, kernel=OTHERS, adbd_restart=AdbdRestart(away_s=0.3))
    other.restart_adbd(0)  # so that it comes back under a number that nobody has seen
    staged = pull_unit(server, mine, tmp_path / "store")
    assert staged.archive.sha256 == mine.kernel.archive_sha256
    assert (mine.uid, other.uid) == (2000, 0)


@pytest.fixture
def reached(server: Server) -> Callable[[str], Reached]:
    """Choose a device, after which the server may be restarted."""

    def choose(serial: str) -> Reached:
        there = AdbServer(ServerAddress("127.0.0.1", server.port), start=False)
        return Reached.select(there, Selection(serial=serial), Deadline.after(30))

    return choose


def test_a_server_that_numbers_anew_before_the_probe(
    server: Server, tmp_path: Path, reached: Callable[[str], Reached]
) -> None:
    """Transport ids live as long as their server: the number chosen is another device's afterwards."""
    server.add_device("MINE")
    server.add_device("OTHER", kernel=OTHERS)
    chosen = reached("MINE")
    server.restart(Deal.REVERSED)
    with pytest.raises(DeviceChangedError, match="the adb server lists another device"):
        ensure(chosen, Store.open(tmp_path / "store"))
    assert not list((tmp_path / "store").glob("kernels/*"))


def test_a_server_that_numbers_anew_with_a_list_that_is_forged(
    server: Server, tmp_path: Path, reached: Callable[[str], Reached]
) -> None:
    """The number chosen becomes that of a device which writes the chosen one's line into its serial."""
    line = f"{'MINE':22} device usb:1-1 product:fake model:Fake device:fake transport_id:1"
    mine = server.add_device("MINE")
    chosen = reached("MINE")
    mine.present = False
    # In recovery and not on USB: the rest of it is no line that has this number, too.
    server.add_device(f"{line}\n", kernel=OTHERS, state=State.RECOVERY, usb=False)
    server.restart(Deal.REVERSED)
    with pytest.raises(DeviceError, match="its connection is that of"):
        ensure(chosen, Store.open(tmp_path / "store"))
    assert not list((tmp_path / "store").glob("kernels/*"))


@pytest.mark.parametrize("payload", [False, True])
def test_a_server_that_numbers_anew_before_the_read(
    server: Server, reached: Callable[[str], Reached], payload: bool
) -> None:
    server.add_device("MINE", headers=Headers.MODULE)
    other = server.add_device("OTHER", headers=Headers.MODULE, kernel=OTHERS)
    chosen = reached("MINE")
    about = probe(chosen)
    server.restart(Deal.REVERSED)
    brought = other.kernel.module if payload else b""
    module = None if payload else about.modules[0].path
    with (
        ArchiveStream(chosen, about, module=module, payload=brought) as stream,
        pytest.raises(DeviceChangedError, match="another one answered in its place"),
    ):
        stream.open()
    assert "kheaders " not in other.loaded_modules
    assert other.leftovers() == []


def test_a_server_that_numbers_anew_before_a_module_is_carved(
    server: Server, reached: Callable[[str], Reached]
) -> None:
    server.add_device("MINE", headers=Headers.MODULE)
    server.add_device("OTHER", headers=Headers.MODULE, kernel=OTHERS)
    chosen = reached("MINE")
    about = probe(chosen)
    server.restart(Deal.REVERSED)
    with pytest.raises(DeviceChangedError):
        next(ways(chosen, about, via=Via.CARVE))


def test_a_server_that_numbers_anew_before_a_push(
    server: Server, tmp_path: Path, reached: Callable[[str], Reached]
) -> None:
    server.add_device("MINE")
    other = server.add_device("OTHER", kernel=OTHERS)
    chosen = reached("MINE")
    staged = ensure(chosen, Store.open(tmp_path / "store"))
    server.restart(Deal.REVERSED)
    with pytest.raises(DeviceChangedError, match="another one answers in its place"):
        push_tree(chosen, staged.tree, (), "name")
    assert other.leftovers() == []


def test_an_adbd_that_takes_its_time_is_not_said_to_refuse(server: Server, tmp_path: Path) -> None:
    """The old connection stays listed for longer than anybody would wait for a refusal."""
    phone = server.add_device(
        "PHONE", uid=2000, adbd_restart=AdbdRestart(lingers_s=6.0, lingers_as=State.DEVICE)
    )
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
    assert staged.archive.sha256 == phone.kernel.archive_sha256
    assert phone.uid == 2000


def test_adb_root_is_undone_when_time_runs_out_while_adbd_restarts(
    server: Server, tmp_path: Path
) -> None:
    phone = server.add_device("PHONE", uid=2000, adbd_restart=AdbdRestart(away_s=2.0))
    said: list[str] = []
    with pytest.raises(KheadersError) as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=1.0, on_change=said.append)
    assert not isinstance(caught.value, PrivilegeError)
    assert wait_until(lambda: phone.present and phone.uid == 2000)
    assert any("as root" in line for line in said)
    assert any("as the shell's user" in line for line in said)


def test_an_adbd_that_does_not_come_back_is_told_of(server: Server, tmp_path: Path) -> None:
    server.add_device("PHONE", uid=2000, adbd_restart=AdbdRestart(returns=False))
    said: list[str] = []
    with pytest.raises(KheadersError):
        pull(server.port, tmp_path / "store", serial=None, timeout_s=1.0, on_change=said.append)
    assert "`adb unroot` undoes it" in said[-1]
