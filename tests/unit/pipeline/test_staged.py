"""When a staged tree is used again, and when the device is asked for its archive instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from kheaders_adb.device.probe import Probe
from kheaders_adb.model import KernelIdentity
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


def found(store: Store, identity: KernelIdentity, serial: str = "X1") -> KernelRecord | None:
    return find_staged(store, probe_of(identity), serial, Options())


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
