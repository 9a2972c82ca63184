"""When a staged tree is used again, and when the device is asked for its archive instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.listing import DeviceEntry
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import Probe
from kheaders_adb.model import Grounds, KernelIdentity
from kheaders_adb.pipeline.options import Options
from kheaders_adb.pipeline.staged import find_staged
from kheaders_adb.store import KernelRecord, Store
from tests.unit.store.helpers import packed, record, stage

BY_ROOT = KernelIdentity(
    release="6.1.0",
    version="#1 SMP",
    machine="x86_64",
    banner="Linux version 6.1.0 (a@b) (gcc) #1 SMP",
    build_id="ab" * 20,
    config_sha256="cd" * 32,
    boot_id="c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de",
)
BY_SHELL = replace(BY_ROOT, banner=None, build_id=None, config_sha256=None)


def probe_of(identity: KernelIdentity) -> Probe:
    return Probe(
        identity=identity,
        config=None,
        uid=2000,
        archives=(),
        modules=(),
        module_loaded=False,
        modules_disabled=None,
        works=(PurePosixPath("/data/local/tmp/kheaders-adb"),),
        leftovers=(),
        has_su=False,
        debuggable=False,
    )


@pytest.fixture
def store(store_path: Path) -> Store:
    made = Store.open(store_path)
    archive, tree = stage(made, packed())
    made.record(record(BY_ROOT, archive, tree, serial="X1"))
    return made


def device(serial: str) -> Device:
    """One at which nothing may be asked: what is decided here is decided without it."""
    server = AdbServer(ServerAddress("127.0.0.1", 1), start=False)
    return Device(server, DeviceEntry(serial, "device", 1), Deadline.after(10))


def found(store: Store, identity: KernelIdentity, serial: str = "X1") -> KernelRecord | None:
    return find_staged(store, probe_of(identity), device(serial), Options()).record


def test_the_same_boot_seen_with_fewer_rights(store: Store) -> None:
    record_found = found(store, BY_SHELL)
    assert record_found is not None
    assert record_found.identity == BY_ROOT


@pytest.mark.parametrize(
    "changed",
    [
        {"release": "6.1.1"},
        {"version": "#2 SMP"},
        {"machine": "aarch64"},
        {"banner": "Linux version 6.1.0 (a@c) (gcc) #1 SMP"},
        {"config_sha256": "ef" * 32},
        {"boot_id": "c1d0ff62-0000-4ac5-9bd6-4bb2b6a9b1de"},
        {"boot_id": None},
    ],
)
def test_whatever_was_read_now_and_differs_is_another_kernel(
    store: Store, changed: dict[str, str | None]
) -> None:
    assert found(store, replace(BY_SHELL, **changed)) is None  # type: ignore[arg-type]


def test_another_device_of_the_same_boot_id_proves_nothing(store: Store) -> None:
    assert found(store, BY_SHELL, "X2") is None


BY_CONFIG = replace(BY_ROOT, build_id=None)
LATER = "c1d0ff62-0000-4ac5-9bd6-4bb2b6a9b1de"


@pytest.mark.parametrize("identity", [BY_CONFIG, replace(BY_CONFIG, config_sha256=None)])
def test_only_a_build_id_outlives_a_boot(store_path: Path, identity: KernelIdentity) -> None:
    """A rebuilt kernel has the same configuration and release; its headers are others."""
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    store.record(record(identity, archive, tree, serial="X1"))
    later = replace(identity, boot_id=LATER)
    assert found(store, later) is None
    assert found(store, replace(identity, boot_id=None)) is None
    assert found(store, identity, "X2") is None
    # Nor does looking for it in another boot make that the one in which it was staged.
    assert found(store, later) is None
    assert found(store, identity) is not None


def test_what_another_device_staged_under_this_key_since_then_is_not_this_boots(
    store_path: Path,
) -> None:
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    store.record(record(BY_CONFIG, archive, tree, serial="X1"))
    store.record(record(BY_CONFIG, archive, tree, serial="X2"))
    assert found(store, BY_CONFIG) is None


@pytest.mark.parametrize("identity", [BY_CONFIG, BY_ROOT])
def test_that_a_device_was_seen_in_this_boot_is_no_proof(
    store_path: Path, identity: KernelIdentity
) -> None:
    """As `devices` sees it: nobody has looked at its archive."""
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    store.record(record(identity, archive, tree, serial="X1"))
    later = replace(identity, boot_id=LATER)
    assert store.find(later, "X1") is not None
    told = find_staged(store, probe_of(later), device("X1"), Options()).reuse
    if identity is BY_CONFIG:
        assert told.grounds is Grounds.NONE
    else:
        assert (told.grounds, told.is_unproven) == (Grounds.BUILD_ID, True)


def test_what_more_rights_have_seen_in_this_boot_is_told_as_what_it_is(store_path: Path) -> None:
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    store.record(record(BY_ROOT, archive, tree, serial="X1"))
    by_root = replace(BY_ROOT, boot_id=LATER)
    assert find_staged(store, probe_of(by_root), device("X1"), Options()).record is not None
    by_shell = probe_of(replace(BY_SHELL, boot_id=LATER))
    told = find_staged(store, by_shell, device("X1"), Options()).reuse
    assert (told.grounds, told.is_unproven) == (Grounds.BUILD_ID, True)
    assert "a user with more rights" in told.reason


def test_what_was_judged_by_older_rules_is_judged_again(store_path: Path) -> None:
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    store.record(replace(record(BY_ROOT, archive, tree, serial="X1"), rules=1))
    told = find_staged(store, probe_of(BY_ROOT), device("X1"), Options())
    assert (told.record, told.reuse.grounds) == (None, Grounds.NONE)
    assert "rules" in told.reuse.reason


@pytest.mark.parametrize(
    ("staged", "seen", "serial", "grounds", "reason"),
    [
        (BY_ROOT, BY_ROOT, "X1", Grounds.BUILD_ID, "for this device, and the build-id agrees"),
        (BY_ROOT, BY_ROOT, "X2", Grounds.BUILD_ID, "this shell sees no archive to compare"),
        # A serial is what a device says of itself: a later boot may be another device's.
        (
            BY_ROOT,
            replace(BY_ROOT, boot_id=LATER),
            "X1",
            Grounds.BUILD_ID,
            "this shell sees no archive to compare",
        ),
        (BY_CONFIG, BY_CONFIG, "X1", Grounds.BOOT, "for this device in this boot"),
        # What root has read once has not been read now.
        (BY_ROOT, BY_SHELL, "X1", Grounds.BOOT, "for this device in this boot"),
    ],
)
def test_the_grounds_are_told(
    store_path: Path,
    staged: KernelIdentity,
    seen: KernelIdentity,
    serial: str,
    grounds: Grounds,
    reason: str,
) -> None:
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    store.record(record(staged, archive, tree, serial="X1"))
    told = find_staged(store, probe_of(seen), device(serial), Options())
    assert told.reuse.grounds is grounds
    assert reason in told.reuse.reason
