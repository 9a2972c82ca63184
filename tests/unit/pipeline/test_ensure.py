"""The one path from a device to a staged tree, against the fake device: what is read, kept and refused.

Faults on the wire, refused modules and the ways to root are in tests/wire.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import kheaders_adb
from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device
from kheaders_adb.errors import (
    CorruptArchiveError,
    MismatchError,
    NoDeviceError,
    StoreError,
    UnsafeArchiveError,
    UsageError,
)
from kheaders_adb.model import Evidence, Level, SourceKind, Staged, Via
from kheaders_adb.pipeline.ensure import ensure
from kheaders_adb.pipeline.options import Options, Tolerance
from kheaders_adb.pipeline.stager import Stager
from kheaders_adb.steps import Step, StepKind
from kheaders_adb.store import Store
from kheaders_adb.untrusted.limits import Limits
from tests.wire.devices import ARCHIVE_PATH, Headers
from tests.wire.devices import Device as FakeDevice
from tests.wire.kernel import Kernel
from tests.wire.server import Server

KERNEL = Kernel(headers=2)
REBUILT = dataclasses.replace(KERNEL, version="#2 SMP PREEMPT Fri Feb  2 12:00:00 UTC 2024")
RECONFIGURED = dataclasses.replace(KERNEL, extra=(("KASAN", "y"), ("HZ", "1000")))
OTHER = Kernel(headers=2, release="6.6.30-android15-8", seed=2)
READING = "# kheaders-adb read\n"

Pull = Callable[..., Staged]


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store.open(store_path)


@pytest.fixture
def pull(server: Server, store: Store) -> Pull:
    """ensure() on the only device or the one named, with these options."""

    def run(serial: str | None = None, **options: object) -> Staged:
        adb = AdbServer(ServerAddress("127.0.0.1", server.port), start=False)
        device = Device.select(adb, Selection(serial=serial), Deadline.after(60))
        return ensure(device, store, Options(**options))  # type: ignore[arg-type]

    return run


@pytest.fixture
def phone(server: Server) -> FakeDevice:
    """A device whose kernel shows its own archive."""
    server.plan.sent = []
    return server.add_device("PHONE", kernel=KERNEL)


def archive_bytes_sent(server: Server) -> int:
    """What the fake server sent in answer to whatever reads an archive: scripts, and sync beside them."""
    assert server.plan.sent is not None
    return sum(
        len(sent) for service, sent in server.plan.sent if READING in service or service == "sync:"
    )


def text_of(staged: Staged, path: str) -> str:
    return (staged.tree / path).read_text()


# --- cold, warm, known


def test_cold(pull: Pull, phone: FakeDevice, store: Store) -> None:
    staged = pull()
    assert staged.serial == "PHONE"
    assert staged.source.kind is SourceKind.SYSFS
    assert staged.source.path == ARCHIVE_PATH
    assert staged.archive.sha256 == KERNEL.archive_sha256
    assert staged.archive.size_bytes == len(KERNEL.archive)
    assert staged.verdict.level is Level.EXACT
    assert staged.kernel.evidence is Evidence.BUILD_ID
    assert staged.kernel.build_id == KERNEL.build_id
    assert staged.kernel.boot_id == phone.boot_id
    assert (staged.cached, staged.device_round_trips, staged.notes) == (False, 3, ())
    assert text_of(staged, "include/generated/utsrelease.h") == (
        f'#define UTS_RELEASE "{KERNEL.release}"\n'
    )
    assert store.archive_path(KERNEL.archive_sha256).read_bytes() == KERNEL.archive
    assert staged.timing_s.keys() == {"probe", "source", "read", "check", "stage", "total"}


def test_each_step_is_told_as_it_begins_and_when_it_is_over(pull: Pull, phone: FakeDevice) -> None:
    told: list[Step] = []
    staged = pull(on_step=told.append)
    kinds = [StepKind.PROBE, StepKind.SOURCE, StepKind.READ, StepKind.CHECK, StepKind.STAGE]
    assert [step.kind for step in told] == [kind for kind in kinds for _ in range(2)]
    begun, over = told[::2], told[1::2]
    assert {step.serial for step in told} == {phone.serial}
    assert [dataclasses.replace(step, duration_s=None) for step in over] == begun
    assert begun[2].what == ARCHIVE_PATH
    assert {step.kind.value: step.duration_s for step in over} == {
        name: seconds for name, seconds in staged.timing_s.items() if name != "total"
    }
    told.clear()
    pull(on_step=told.append)
    assert {step.kind for step in told} == {StepKind.PROBE}


def test_a_step_that_fails_is_over_too(pull: Pull, phone: FakeDevice) -> None:
    told: list[Step] = []
    phone.put(ARCHIVE_PATH, RECONFIGURED.archive)
    with pytest.raises(MismatchError):
        pull(on_step=told.append)
    assert (told[-1].kind, told[-1].failed) == (StepKind.CHECK, True)
    assert told[-1].duration_s is not None


def test_the_configuration_is_kept_also_by_a_warm_pull(
    pull: Pull, phone: FakeDevice, store: Store
) -> None:
    staged = pull()
    path = store.config_path(staged.kernel.config_sha256 or "")
    assert store.read_config(staged.kernel.config_sha256) == KERNEL.config
    path.unlink()  # as in a store of an older version
    assert pull().cached
    assert store.read_config(staged.kernel.config_sha256) == KERNEL.config


def test_warm_is_one_round_trip_and_the_same_answer(
    pull: Pull,
    phone: FakeDevice,
    server: Server,
) -> None:
    cold = pull()
    server.log.clear()
    warm = pull()
    assert (warm.cached, warm.device_round_trips) == (True, 1)
    assert not server.services(READING)
    assert len(server.services("^shell,")) == 1
    for name in ("serial", "kernel", "source", "archive", "verdict", "tree"):
        assert getattr(warm, name) == getattr(cold, name)


def test_the_same_archive_from_another_build_does_not_cross_the_wire(
    pull: Pull,
    phone: FakeDevice,
    server: Server,
    store: Store,
) -> None:
    server.add_device("SECOND", kernel=REBUILT)
    first = pull("PHONE")
    assert archive_bytes_sent(server) > len(KERNEL.archive)
    server.plan.sent = []
    progress: list[tuple[int, int]] = []
    second = pull("SECOND", on_progress=lambda *of: progress.append(of))
    assert 0 < archive_bytes_sent(server) < 1000
    assert progress == []
    assert second.tree == first.tree
    assert second.kernel.key != first.kernel.key
    assert second.kernel.version == REBUILT.version
    assert (second.cached, second.verdict.level) == (False, Level.EXACT)
    assert len(store.records()) == 2


def test_a_device_that_cannot_reckon_digests_sends_it_but_it_is_extracted_once(
    pull: Pull,
    phone: FakeDevice,
    server: Server,
) -> None:
    server.add_device("SECOND", kernel=REBUILT, without=("sha256sum",))
    first = pull("PHONE")
    before = {path: path.stat().st_ino for path in first.tree.rglob("*")}
    server.plan.sent = []
    second = pull("SECOND")
    assert archive_bytes_sent(server) > len(KERNEL.archive)
    assert second.tree == first.tree
    assert {path: path.stat().st_ino for path in second.tree.rglob("*")} == before


def test_refresh_reads_again(pull: Pull, phone: FakeDevice, server: Server) -> None:
    first = pull()
    server.plan.sent = []
    again = pull(refresh=True)
    assert archive_bytes_sent(server) > len(KERNEL.archive)
    assert again.cached is False
    assert again.tree == first.tree


def test_refresh_sees_a_change_that_the_warm_path_cannot(pull: Pull, phone: FakeDevice) -> None:
    pull()
    phone.put(ARCHIVE_PATH, OTHER.archive)
    assert pull().cached is True
    with pytest.raises(MismatchError):
        pull(refresh=True)


def test_progress(pull: Pull, phone: FakeDevice) -> None:
    progress: list[tuple[int, int]] = []
    pull(on_progress=lambda *of: progress.append(of))
    assert progress[-1] == (len(KERNEL.archive), len(KERNEL.archive))
    assert progress == sorted(progress)


def test_two_at_once_extract_it_once(pull: Pull, phone: FakeDevice, store: Store) -> None:
    start = threading.Barrier(3)

    def one() -> Staged:
        start.wait(30)
        return pull()

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(one) for _ in range(3)]
        staged = [each.result() for each in running]
    assert len({each.tree for each in staged}) == 1
    assert [each.cached for each in staged].count(False) == 1
    assert {each.verdict.level for each in staged} == {Level.EXACT}
    assert len(list((store.root / "trees").iterdir())) == 1
    assert list((store.root / "tmp").iterdir()) == []


# --- what only uname tells


def hide(device: FakeDevice) -> None:
    """Take the build-id and the configuration out of sight."""
    (device.root / "sys/kernel/notes").unlink()
    (device.root / "proc/config.gz").unlink()


def test_by_uname_alone_a_tree_serves_for_one_boot_of_one_device(
    pull: Pull,
    phone: FakeDevice,
    server: Server,
) -> None:
    hide(phone)
    staged = pull("PHONE")
    assert staged.kernel.evidence is Evidence.UNAME
    assert staged.verdict.level is Level.CONSISTENT
    assert pull("PHONE").cached is True
    phone.reboot()
    hide(phone)
    server.plan.sent = []
    after = pull("PHONE")
    assert after.cached is False, "a rebuilt kernel looks just the same"
    assert archive_bytes_sent(server) < 1000, "but the archive is known"
    assert pull("PHONE").cached is True
    hide(server.add_device("TWIN", kernel=KERNEL))
    assert pull("TWIN").cached is False


def test_with_a_build_id_it_serves_for_every_boot_and_device(
    pull: Pull,
    phone: FakeDevice,
    server: Server,
) -> None:
    pull("PHONE")
    phone.reboot()
    assert pull("PHONE").cached is True
    server.add_device("TWIN", kernel=KERNEL)
    twin = pull("TWIN")
    assert (twin.cached, twin.serial) == (True, "TWIN")


# --- what does not belong to the kernel


def test_a_mismatch_stages_nothing(pull: Pull, phone: FakeDevice, store: Store) -> None:
    phone.put(ARCHIVE_PATH, OTHER.archive)
    with pytest.raises(MismatchError) as caught:
        pull()
    error = caught.value
    assert (error.device, error.step) == ("PHONE", "matching the headers with the running kernel")
    assert f"the kernel has {KERNEL.release}, the headers have {OTHER.release}" in error.seen
    assert error.verdict is not None
    assert store.records() == []
    for folder in ("trees", "archives", "tmp"):
        assert list((store.root / folder).iterdir()) == []


def test_a_mismatch_that_is_allowed_is_marked_and_allowed_once(
    pull: Pull, phone: FakeDevice
) -> None:
    phone.put(ARCHIVE_PATH, OTHER.archive)
    staged = pull(tolerance=Tolerance.MISMATCHED)
    assert staged.verdict.level is Level.MISMATCH
    assert pull(tolerance=Tolerance.MISMATCHED).cached is True
    assert pull(tolerance=Tolerance.STAGED).verdict.level is Level.MISMATCH
    with pytest.raises(MismatchError):
        pull()


def test_a_mismatch_is_forgotten_once_the_right_ones_are_there(
    pull: Pull, phone: FakeDevice
) -> None:
    phone.put(ARCHIVE_PATH, OTHER.archive)
    pull(tolerance=Tolerance.MISMATCHED)
    phone.put(ARCHIVE_PATH, KERNEL.archive)
    assert pull().verdict.level is Level.EXACT
    assert pull(tolerance=Tolerance.MISMATCHED).verdict.level is Level.EXACT


def test_a_stale_archive_is_repaired_on_demand(
    pull: Pull,
    phone: FakeDevice,
    server: Server,
) -> None:
    phone.put(ARCHIVE_PATH, RECONFIGURED.archive)
    with pytest.raises(MismatchError, match="CONFIG_HZ=1000") as caught:
        pull()
    # Which of the two is wrong cannot be told, and a wrong guess would read garbage.
    assert "--repair-config" not in str(caught.value) + (caught.value.hint or "")
    assert "the kernel itself shows this archive" in (caught.value.hint or "")
    staged = pull(tolerance=Tolerance.REPAIRED)
    assert staged.verdict.level is Level.REPAIRED
    autoconf = text_of(staged, "include/generated/autoconf.h").splitlines()
    assert "#define CONFIG_HZ 250" in autoconf
    assert not [line for line in autoconf if "KASAN" in line]
    assert staged.archive.sha256 == RECONFIGURED.archive_sha256, (
        "the archive is kept as it was read"
    )
    assert pull(tolerance=Tolerance.REPAIRED).cached is True
    assert pull(tolerance=Tolerance.STAGED).cached is True, "a command that goes on to use it"
    with pytest.raises(MismatchError):
        pull()  # who did not ask for it
    # Where the archive itself belongs to the kernel, the tree is another one.
    server.add_device("RIGHT", kernel=RECONFIGURED)
    right = pull("RIGHT")
    assert right.verdict.level is Level.EXACT
    assert right.tree != staged.tree
    assert "#define CONFIG_HZ 1000" in text_of(right, "include/generated/autoconf.h")


def test_a_repair_from_an_archive_that_is_in_the_store(
    pull: Pull,
    phone: FakeDevice,
    server: Server,
) -> None:
    server.add_device("RIGHT", kernel=RECONFIGURED)
    right = pull("RIGHT")
    phone.put(ARCHIVE_PATH, RECONFIGURED.archive)
    server.plan.sent = []
    repaired = pull("PHONE", tolerance=Tolerance.REPAIRED)
    assert archive_bytes_sent(server) < 1000
    assert repaired.verdict.level is Level.REPAIRED
    assert repaired.tree != right.tree
    assert "#define CONFIG_HZ 1000" in text_of(right, "include/generated/autoconf.h")


def test_only_the_configuration_can_be_repaired(pull: Pull, phone: FakeDevice) -> None:
    phone.put(ARCHIVE_PATH, OTHER.archive)
    with pytest.raises(MismatchError):
        pull(tolerance=Tolerance.REPAIRED)


# --- what cannot be used


def test_an_error_in_the_archive_names_device_and_step(
    pull: Pull, phone: FakeDevice, store: Store
) -> None:
    phone.put(ARCHIVE_PATH, KERNEL.archive[:-100])
    with pytest.raises(CorruptArchiveError) as caught:
        pull()
    assert (caught.value.device, caught.value.step) == ("PHONE", "reading the archive")
    assert list((store.root / "tmp").iterdir()) == []


def test_caps(pull: Pull, phone: FakeDevice, store: Store) -> None:
    for limits, rule in (
        (Limits(compressed_bytes=1000), "compressed-too-large"),
        (Limits(total_bytes=1000), "total-too-large"),
        (Limits(members=3), "too-many-members"),
    ):
        with pytest.raises(UnsafeArchiveError) as caught:
            pull(limits=limits)
        assert (caught.value.device, caught.value.rule) == ("PHONE", rule)
    assert store.records() == []
    assert list((store.root / "tmp").iterdir()) == []


# --- modules


def test_a_module_from_the_host_is_loaded_read_and_put_back(
    pull: Pull,
    server: Server,
    tmp_path: Path,
) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL, headers=Headers.ABSENT)
    module = tmp_path / "kheaders.ko"
    module.write_bytes(KERNEL.module)
    staged = pull(module=module)
    assert staged.source.kind is SourceKind.MODULE_LOADED
    assert staged.source.path == str(module)
    assert "vermagic" in [check.name for check in staged.verdict.checks]
    assert "kheaders" not in phone.loaded_modules
    assert phone.leftovers() == []


def test_carving_touches_nothing_on_the_device(
    pull: Pull,
    server: Server,
    tmp_path: Path,
) -> None:
    server.add_device("PHONE", kernel=KERNEL, headers=Headers.ABSENT)
    module = tmp_path / "kheaders.ko"
    module.write_bytes(KERNEL.module)
    staged = pull(module=module, via=Via.CARVE)
    assert staged.source.kind is SourceKind.MODULE_CARVED
    assert staged.device_round_trips == 1, "the probe alone"
    assert staged.verdict.level is Level.EXACT
    assert pull().cached is True


def test_another_archive_than_the_modules_is_noticed(
    pull: Pull, phone: FakeDevice, store: Store, tmp_path: Path
) -> None:
    """Some other kheaders was loaded between the look and the load; its archive even fits by itself."""
    twin = dataclasses.replace(KERNEL, headers=3)
    module = tmp_path / "kheaders.ko"
    module.write_bytes(twin.module)
    with pytest.raises(MismatchError, match="not the one in the module given"):
        pull(module=module, via=Via.LOAD)
    assert store.records() == []


def test_an_archive_that_is_removed_while_it_is_needed(store: Store) -> None:
    stager = Stager(store, lambda _: pytest.fail("there is nothing to judge"))
    with pytest.raises(StoreError, match="vanished from the store while it was needed"):
        stager.restage("0" * 64)


# --- the front door of the Python API


def test_the_python_api_finds_what_the_users_shell_finds(
    phone: FakeDevice,
    server: Server,
    store_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.add_device("SECOND", kernel=OTHER)
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{server.port}")
    monkeypatch.setenv("ANDROID_SERIAL", "SECOND")
    monkeypatch.setenv("KHEADERS_ADB_STORE", str(store_path))
    assert kheaders_adb.ensure().serial == "SECOND"
    staged = kheaders_adb.ensure("PHONE", store=store_path, timeout_s=60)
    assert (staged.serial, staged.tree.is_relative_to(store_path)) == ("PHONE", True)
    assert kheaders_adb.ensure("PHONE", store=kheaders_adb.Store(store_path)).cached is True
    with pytest.raises(NoDeviceError):
        kheaders_adb.ensure("THIRD")
    with pytest.raises(UsageError):
        kheaders_adb.ensure("PHONE", timeout_s=-1)
