"""The Python API against the fake server: how a device can be named, and many at once."""

from __future__ import annotations

import itertools
import pickle
import threading
from pathlib import Path
from typing import Any

import adbutils
import pytest

import kheaders_adb
from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device as Selected
from kheaders_adb.errors import (
    AdbServerError,
    DeadlineError,
    DeviceError,
    MismatchError,
    TransferError,
    UsageError,
)

from .cases import READ
from .client import store_problems
from .devices import ARCHIVE_PATH, State
from .faults import Action
from .kernel import Kernel
from .server import Server


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def at(server: Server, store: Path) -> dict[str, Any]:
    """What every call here has: the fake server, and a store of its own."""
    return {"server": ("127.0.0.1", server.port), "store": str(store)}


def selected(server: Server, serial: str, timeout_s: float = 30) -> Selected:
    adb = AdbServer(ServerAddress("127.0.0.1", server.port), start=False)
    return Selected.select(adb, Selection(serial=serial), Deadline.after(timeout_s))


def test_a_device_of_adbutils_brings_its_server(server: Server, store: Path) -> None:
    """By its serial, by its transport id, by both; nothing of the environment is needed."""
    server.add_device("OTHER")
    server.add_device("PHONE")
    client = adbutils.AdbClient("127.0.0.1", server.port)
    by_serial = client.device("PHONE")
    by_id = client.device(transport_id=2)
    both = adbutils.AdbDevice(client, "PHONE", 2)
    for device in (by_serial, by_id, both):
        assert kheaders_adb.ensure(device, store=store).serial == "PHONE"


def test_a_transport_id_that_is_another_device_now(server: Server, store: Path) -> None:
    server.add_device("OTHER")
    server.add_device("PHONE")
    device = adbutils.AdbDevice(adbutils.AdbClient("127.0.0.1", server.port), "PHONE", 1)
    with pytest.raises(DeviceError, match="transport id 1 is another device now: 'PHONE' was"):
        kheaders_adb.ensure(device, store=store)
    assert server.services(READ) == []


def test_a_device_of_ours_keeps_its_connection_and_its_deadline(
    server: Server, at: dict[str, Any]
) -> None:
    server.add_device("OTHER")
    server.add_device("PHONE")
    device = selected(server, "PHONE")
    own = device.deadline
    del at["server"]
    assert kheaders_adb.ensure(device, **at, timeout_s=20).serial == "PHONE"
    again = kheaders_adb.ensure(device, **at)
    assert (again.cached, again.device_round_trips) == (True, 1)
    assert device.deadline == own


@pytest.mark.parametrize("longer_s", [None, 60])
def test_the_deadline_of_a_device_of_ours_counts(
    server: Server, at: dict[str, Any], longer_s: float | None
) -> None:
    server.add_device("PHONE")
    device = selected(server, "PHONE")
    device.deadline = Deadline.after(0)
    with pytest.raises(DeadlineError):
        kheaders_adb.ensure(device, store=at["store"], timeout_s=longer_s)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"device": 7}, "type int is no device"),
        ({"device": Path("x")}, "is no device"),
        ({"device": ""}, "the serial is empty"),
        ({"su_command": 7}, "su_command: 7 is no text"),
        ({"server": 5037}, "5037 is no adb server"),
        ({"server": ("localhost", "5037")}, "is no adb server"),
        ({"server": ("localhost", 0)}, "-P: '0' is not a TCP port"),
        ({"server": "localhost"}, "-L: 'localhost' is not an adb server socket"),
        ({"store": b"bytes"}, "store: b'bytes' is no path"),
        ({"store": ""}, "store: '' is no path"),
        ({"module": "a\0b"}, r"module: 'a\\x00b' is no path"),
        ({"module": "a\ud800"}, r"module: 'a\\ud800' is no path"),
        ({"module": "missing.ko"}, "missing.ko does not exist"),
        ({"via": "magic"}, "via: 'magic' is none of auto, sysfs, load, carve"),
        ({"privilege": None}, "privilege: None is none of auto, none, su, adbd"),
        ({"wait_s": -1}, "wait_s: -1 is no number of seconds"),
        ({"wait_s": float("nan")}, "wait_s: nan is no number of seconds"),
        ({"wait_s": 10**400}, "wait_s: an int of 1329 bits is no number of seconds"),
        ({"timeout_s": 10**400}, "timeout_s: an int of 1329 bits is no number of seconds"),
        ({"timeout_s": "soon"}, "timeout_s: 'soon' is no number of seconds"),
        ({"timeout_s": 0}, "--timeout wants a number of seconds above 0"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_a_usage_error(
    server: Server, at: dict[str, Any], arguments: dict[str, Any], said: str
) -> None:
    server.add_device("PHONE")
    with pytest.raises(UsageError, match=said):
        kheaders_adb.ensure(**(at | arguments))


def test_a_device_and_a_server_are_not_given_together(server: Server, at: dict[str, Any]) -> None:
    server.add_device("PHONE")
    theirs = adbutils.AdbClient("127.0.0.1", server.port).device("PHONE")
    for device in (selected(server, "PHONE"), theirs):
        with pytest.raises(UsageError, match="has an adb server of its own"):
            kheaders_adb.ensure(device, **at)


def test_paths_and_choices_may_be_text(server: Server, at: dict[str, Any], tmp_path: Path) -> None:
    phone = server.add_device("PHONE")
    module = tmp_path / "kheaders.ko"
    module.write_bytes(phone.kernel.module)
    staged = kheaders_adb.ensure("PHONE", **at, module=str(module), via="carve", privilege="none")
    assert staged.source.path == str(module)


def test_waiting_progress_and_notes(server: Server, at: dict[str, Any]) -> None:
    device = server.add_device("PHONE")
    server.inject(Action.RESET, READ, 100_000)
    notes: list[str] = []
    progress: list[tuple[int, int]] = []
    staged = kheaders_adb.ensure(
        "PHONE",
        **at,
        wait_s=30,
        on_note=notes.append,
        on_progress=lambda done, size: progress.append((done, size)),
    )
    assert not staged.cached
    assert any("trying again" in note for note in notes)
    assert progress[-1] == (len(device.kernel.archive),) * 2


def test_a_lost_transfer_without_waiting(server: Server, at: dict[str, Any]) -> None:
    server.add_device("PHONE")
    server.inject(Action.RESET, READ, 100_000)
    with pytest.raises(TransferError):
        kheaders_adb.ensure("PHONE", **at)


def test_all_devices_have_a_result_or_an_error_each(
    server: Server, at: dict[str, Any], store: Path
) -> None:
    """Two units of one serial among them; what cannot be used is left out, and said."""
    good = server.add_device("B-GOOD")
    wrong = server.add_device("A-WRONG", kernel=Kernel(seed=2))
    wrong.put(ARCHIVE_PATH, Kernel(extra=(("DEBUG_LIST", "y"),)).archive)
    twins = [server.add_device("C-TWIN", kernel=Kernel(seed=seed)) for seed in (3, 4)]
    server.add_device("D-AWAY", state=State.UNAUTHORIZED)
    notes: list[tuple[str, str]] = []

    found = kheaders_adb.ensure_all(
        **at, at_once=2, on_note=lambda serial, text: notes.append((serial, text))
    )

    assert [one.serial for one in found] == ["A-WRONG", "B-GOOD", "C-TWIN", "C-TWIN"]
    assert isinstance(found[0].error, MismatchError)
    assert found[0].staged is None
    keys = set()
    for one in found[1:]:
        assert one.error is None
        assert one.staged is not None
        keys.add(one.staged.archive.sha256)
    assert keys == {device.kernel.archive_sha256 for device in (good, *twins)}
    assert ("D-AWAY", "left out: it is in state 'unauthorized'") in notes
    archives = {device.kernel.archive_sha256: device.kernel.archive for device in (good, *twins)}
    assert store_problems(store, archives) == []


def test_no_more_devices_at_once_than_wanted(server: Server, at: dict[str, Any]) -> None:
    """One at a time: what is asked of one device is not mixed with what is asked of others."""
    for number in range(6):
        server.add_device(f"PHONE{number}", kernel=Kernel(headers=2))
    kheaders_adb.ensure_all(**at, at_once=1)
    asked = [serial for serial, _ in server.log if serial is not None]
    assert [serial for serial, _ in itertools.groupby(asked)] == sorted(set(asked))


def test_all_of_none(server: Server, at: dict[str, Any]) -> None:
    assert kheaders_adb.ensure_all(**at) == []


@pytest.mark.parametrize("arguments", [{"at_once": 0}, {"module": "missing.ko"}], ids=str)
def test_what_makes_no_sense_for_all_is_raised_once(
    server: Server, at: dict[str, Any], arguments: dict[str, Any]
) -> None:
    for serial in ("A", "B"):
        server.add_device(serial)
    with pytest.raises(UsageError):
        kheaders_adb.ensure_all(**at, **arguments)


def test_all_without_a_server(at: dict[str, Any], server: Server) -> None:
    server.stop()
    with pytest.raises(AdbServerError):
        kheaders_adb.ensure_all(
            **at | {"server": AdbServer(ServerAddress(port=server.port), start=False)}
        )


THREADS = 32


@pytest.mark.parametrize("is_shared", [True, False], ids=["one store", "a store each"])
def test_threads_with_a_device_each(
    server: Server, at: dict[str, Any], store: Path, is_shared: bool
) -> None:
    """Different kernels and the same one, cold and at once: each thread gets its own device's."""
    kernels = [Kernel(seed=seed, headers=4) for seed in range(8)]
    devices = {
        f"PHONE{number:02}": server.add_device(
            f"PHONE{number:02}", kernel=kernels[number % len(kernels)]
        )
        for number in range(THREADS)
    }
    shared = kheaders_adb.Store(store)
    begin = threading.Barrier(THREADS)
    results: dict[str, kheaders_adb.Staged | BaseException] = {}

    def work(serial: str) -> None:
        begin.wait()
        try:
            staged = kheaders_adb.ensure(serial, **at | {"store": shared if is_shared else store})
            # While others pull: what is mine is there, and sound.
            assert shared.path(f"@{serial}") == staged.tree
            assert shared.verify(staged.kernel.key).problems == ()
            assert staged.tree in [kernel.tree for kernel in shared.list()]
            assert shared.gc().removed == ()
            results[serial] = staged
        except BaseException as error:
            results[serial] = error

    threads = [threading.Thread(target=work, args=(serial,)) for serial in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for serial, device in devices.items():
        staged = results[serial]
        assert isinstance(staged, kheaders_adb.Staged), staged
        assert (staged.serial, staged.notes) == (serial, ())
        assert staged.archive.sha256 == device.kernel.archive_sha256
        assert shared.find(f"@{serial}").key == staged.kernel.key
    archives = {kernel.archive_sha256: kernel.archive for kernel in kernels}
    assert store_problems(store, archives) == []


def test_an_import_is_matched_with_the_kernel_of_a_device(
    server: Server, store: Path, tmp_path: Path
) -> None:
    phone = server.add_device("PHONE")
    file = tmp_path / "kheaders.tar.xz"
    file.write_bytes(phone.kernel.archive)
    kept = kheaders_adb.Store(store)
    theirs = adbutils.AdbClient("127.0.0.1", server.port).device("PHONE")
    own = selected(server, "PHONE")
    deadline = own.deadline
    for device in (theirs, own):
        made = kept.import_(file, device=device, timeout_s=20)
        assert (made.serial, made.verdict.level) == ("PHONE", kheaders_adb.Level.EXACT)
    assert own.deadline == deadline
    assert kept.find("@PHONE") == kept.find(made.key)
    assert server.services(READ) == []


def test_results_can_be_pickled(server: Server, at: dict[str, Any]) -> None:
    server.add_device("GOOD")
    wrong = server.add_device("WRONG", kernel=Kernel(seed=2))
    wrong.put(ARCHIVE_PATH, Kernel(extra=(("DEBUG_LIST", "y"),)).archive)
    good, bad = kheaders_adb.ensure_all(**at)
    assert pickle.loads(pickle.dumps(good)) == good
    error = pickle.loads(pickle.dumps(bad)).error
    assert isinstance(error, MismatchError)
    assert bad.error is not None
    assert (str(error), vars(error)) == (str(bad.error), vars(bad.error))
    assert error.verdict is not None
