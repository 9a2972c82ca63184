"""`kheaders_adb.staged`: what is in the store, for programs, without any device."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kheaders_adb
from kheaders_adb.ebpf.flags import bpf_flags
from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.model import Level
from kheaders_adb.store import Store
from kheaders_adb.store.upkeep import gc
from tests.unit.cli.test_compile import add
from tests.unit.ebpf.conftest import clang as clang_fixture
from tests.unit.ebpf.trees import PROGRAM

clang = clang_fixture


@pytest.fixture
def store(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The environment's store, with 6.1 of x86_64 and 6.2 of arm64, staged last."""
    monkeypatch.setenv("KHEADERS_ADB_STORE", str(store_path))
    add(store_path, 1, "x86_64", staged_at=1000.0)
    add(store_path, 2, "arm64", staged_at=2000.0)
    return Store.open(store_path)


def test_what_is_staged_is_found_by_every_name(store: Store, store_path: Path) -> None:
    record = store.resolve("6.2.0-mini")
    for name in ("latest", "6.2", record.key[:8], "@device-1"):
        found = kheaders_adb.staged(name)
        assert found == kheaders_adb.staged(name, store=str(store_path))
        assert found == kheaders_adb.staged(name, store=kheaders_adb.Store(store_path))
        assert found.tree == store.tree_path(record.tree)
        assert (found.kernel, found.verdict) == (record.identity, record.verdict)
        assert (found.serial, found.cached, found.store) == ("device-1", True, store_path)
        assert pickle.loads(pickle.dumps(found)) == found
    assert kheaders_adb.staged("6.1").serial == "device-1"


def test_it_is_good_for_what_ensures_is(
    store: Store, clang: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.exists
    found = kheaders_adb.staged("6.1")
    front = found.cflags(optimize="1")
    assert "-D__TARGET_ARCH_x86" in front
    assert "-O1" in front
    assert found.cflags(stage="bpf", cpu="v3") == bpf_flags(cpu="v3")
    assert found.environment()["BCC_KERNEL_SOURCE"] == str(found.tree)
    source = tmp_path / "prog.bpf.c"
    source.write_text(PROGRAM)
    monkeypatch.setenv("CLANG", str(clang))
    assert found.compile(source).read_bytes()[:4] == b"\x7fELF"
    with pytest.raises(UsageError, match="stage: 'back' is none of front, bpf"):
        found.cflags(stage="back")


def test_using_it_keeps_it_from_gc(store: Store) -> None:
    old = store.resolve("6.1")
    kheaders_adb.staged("6.1")
    gc.collect(store, gc.Policy(max_kernels=1))
    assert [record.key for record in store.records()] == [old.key], "used last"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"kernel": "5.4"}, UsageError),
        ({"kernel": "6"}, UsageError),
        ({"kernel": "@nobody"}, UsageError),
        ({"kernel": ""}, UsageError),
        ({"kernel": 7}, UsageError),
        ({"kernel": None}, UsageError),
        ({"store": 7}, UsageError),
        ({"store": __file__}, StoreError),
    ],
    ids=str,
)
def test_what_is_not_there_is_an_error_of_ours(
    arguments: dict[str, Any], error: type[Exception], store: Store
) -> None:
    assert store.exists
    with pytest.raises(error):
        kheaders_adb.staged(**arguments)


def test_no_store_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no kernel is staged"):
        kheaders_adb.staged(store=tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_is_gone_is_told(store: Store) -> None:
    tree = store.tree_path(store.resolve("latest").tree)
    tree.rename(tree.with_name("elsewhere"))
    with pytest.raises(StoreError, match="is not there"):
        kheaders_adb.staged()


@pytest.mark.parametrize(
    ("level", "says"), [(Level.MISMATCH, "NOT belong"), (Level.REPAIRED, "repaired")]
)
def test_headers_that_are_not_the_kernels_are_warned_of(
    level: Level, says: str, store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(store_path, 1, "x86_64", level=level)
    with caplog.at_level(logging.WARNING, "kheaders_adb"):
        found = kheaders_adb.staged(store=store_path)
    assert found.verdict.level is level
    (said,) = caplog.messages
    assert says in said
    assert "6.1.0-mini" in said


def test_headers_that_older_rules_took_are_judged_again(store: Store) -> None:
    record = store.resolve("latest")
    assert store.amend(record, replace(record, rules=1))
    # Their archive says another release than the kernel, which those rules did not look at.
    with pytest.raises(kheaders_adb.errors.MismatchError):
        kheaders_adb.staged()
