"""`kheaders_adb.Store`: what the commands for the store do, as methods that raise nothing but our errors."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import kheaders_adb
from kheaders_adb import Level
from kheaders_adb.errors import MismatchError, StoreError, UsageError
from kheaders_adb.store import KernelRecord
from kheaders_adb.store import Store as Opened
from kheaders_adb.store.upkeep.problems import ProblemKind
from tests.unit.archive.helpers import SMALL
from tests.unit.importing.test_from_archive import CONFIG
from tests.unit.store.helpers import digest_of_folder, files_of, headers, identity, packed, pull

RELEASE = "6.1.192-android14-lab"


@pytest.fixture
def inside(store_path: Path) -> Opened:
    """The same store as the rest of the package sees it."""
    return Opened.open(store_path)


@pytest.fixture
def store(store_path: Path) -> kheaders_adb.Store:
    return kheaders_adb.Store(store_path)


def turned(inside: Opened) -> KernelRecord:
    """A kernel that older rules called exact, and that is none of its archive's."""
    old = pull(inside, 9)
    other = identity(9, release="6.6.30")
    now = replace(old, identity=other, rules=1)
    inside.record(now)
    return now


def test_where_it_is(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: Opened
) -> None:
    pull(inside)
    monkeypatch.setenv("KHEADERS_ADB_STORE", str(store_path))
    monkeypatch.chdir(store_path.parent)
    by_default = kheaders_adb.Store()
    assert by_default == kheaders_adb.Store(str(store_path)) == kheaders_adb.Store(Path("store"))
    assert by_default == kheaders_adb.Store(by_default)
    assert by_default.folder == store_path == Path(by_default)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KHEADERS_ADB_STORE")
    assert len(by_default.list()) == 1, "it stays where it was"


def test_looking_makes_no_store(store: kheaders_adb.Store) -> None:
    assert store.list() == ()
    assert store.verify().is_sound
    assert store.gc(max_kernels=0).removed == ()
    with pytest.raises(UsageError, match="no kernel is staged in"):
        store.find()
    assert not store.folder.exists()


def test_kernels_are_listed_and_found(store: kheaders_adb.Store, inside: Opened) -> None:
    first = pull(inside, 1, variant=1)
    second = pull(inside, 2, variant=2, serial=None, staged_at=2000.0)
    inside.pin(first.key)
    newest, older = store.list()
    assert (newest.key, older.key) == (second.key, first.key)
    assert (older.kernel, older.verdict) == (first.identity, first.verdict)
    assert (older.source, older.archive) == (first.source, first.archive)
    assert (older.serial, newest.serial) == ("device-1", None)
    assert (older.pinned, newest.pinned) == (True, False)
    assert (older.staged_at, older.unjudged) == (1000.0, None)
    assert older.last_used_at is not None
    assert files_of(older.tree) == headers(variant=1)
    assert store.find(first.key[:8]) == older == store.find("@device-1")
    assert store.path(first.key) == older.tree


def test_a_tree_that_is_gone(store: kheaders_adb.Store, inside: Opened) -> None:
    tree = inside.tree_path(pull(inside).tree)
    tree.rename(tree.with_name("elsewhere"))
    assert store.find().tree == tree
    with pytest.raises(StoreError, match="is not there"):
        store.path()


def test_what_todays_rules_turn_is_told_and_not_used(
    store: kheaders_adb.Store, inside: Opened, tmp_path: Path
) -> None:
    record = turned(inside)
    assert record.verdict.level is Level.EXACT
    found = store.find(record.key)
    assert (found.verdict.level, found.unjudged) == (Level.MISMATCH, None)
    with pytest.raises(MismatchError):
        store.path(record.key)
    with pytest.raises(MismatchError):
        store.export(record.key, tmp_path / "tree", what="tree")
    assert store.export(record.key, tmp_path / "archive").read_bytes() == packed()


def test_what_cannot_be_judged_is_told_with_its_reason(
    store: kheaders_adb.Store, inside: Opened
) -> None:
    record = turned(inside)
    inside.archive_path(record.archive.sha256).unlink()
    inside.manifest_path(record.tree).unlink()
    (found,) = (kernel for kernel in store.list() if kernel.key == record.key)
    assert found.verdict == record.verdict
    assert found.unjudged is not None
    assert "missing or damaged" in found.unjudged
    with pytest.raises(StoreError, match="missing or damaged"):
        store.path(record.key)


def test_verify_finds_and_repairs(store: kheaders_adb.Store, inside: Opened) -> None:
    hurt = pull(inside, 1, variant=1)
    pull(inside, 2, variant=2)
    file = inside.tree_path(hurt.tree) / "include/part0/header0.h"
    file.chmod(0o644)
    file.write_bytes(b"other")
    found = store.verify(hurt.key)
    assert (len(found.trees), found.is_sound) == (1, False)
    assert [problem.kind for problem in found.problems] == [ProblemKind.CONTENT]
    assert store.verify(repair=True).is_sound
    assert len(store.verify().trees) == 2
    assert files_of(inside.tree_path(hurt.tree)) == headers(variant=1)


def test_gc_tells_what_goes(store: kheaders_adb.Store, inside: Opened) -> None:
    kernels = [pull(inside, n, variant=n, staged_at=1000.0 + n) for n in range(3)]
    stranger = store.folder / "kernels" / "notes.txt"
    stranger.touch()
    before = digest_of_folder(store.folder)
    told = store.gc(max_kernels=1, keep_latest=1, dry_run=True)
    assert digest_of_folder(store.folder) == before
    done = store.gc(max_kernels=1, keep_latest=1)
    assert {kernel.key for kernel in done.removed} == {kernel.key for kernel in kernels[:2]}
    assert replace(told, freed_bytes=done.freed_bytes) == done
    assert (done.kept, done.litter, done.broken) == (1, 0, (stranger,))
    assert done.freed_bytes > 0
    assert [kernel.key for kernel in store.list()] == [kernels[2].key]
    assert len(store.gc(max_age_s=0).removed) == 1


def test_archive_and_tree_go_out_and_in(store: kheaders_adb.Store, tmp_path: Path) -> None:
    notes: list[str] = []
    made = store.import_(str(SMALL), on_note=notes.append)
    assert (made.verdict.level, made.serial, notes) == (Level.UNMATCHED, None, [])
    assert made == store.find()
    target = tmp_path / "out.tar.xz"
    assert store.export(RELEASE, str(target)) == target
    assert target.read_bytes() == SMALL.read_bytes()
    copied = store.export(made.key, tmp_path / "tree", what="tree")
    assert files_of(copied) == files_of(made.tree)
    with pytest.raises(UsageError, match="is there already"):
        store.export(made.key, target)


def test_an_import_is_matched_with_what_is_said(store: kheaders_adb.Store, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_bytes(CONFIG)
    made = store.import_(SMALL, config=str(config), release=RELEASE)
    assert made.verdict.level is Level.EXACT
    assert made.kernel.config_sha256 == sha256(CONFIG).hexdigest()
    packed_config = store.export(made.key, tmp_path / "config.gz", what=kheaders_adb.Part.CONFIG)
    assert gzip.decompress(packed_config.read_bytes()) == CONFIG
    with pytest.raises(MismatchError):
        store.import_(SMALL, release="6.1.1")
    allowed = store.import_(SMALL, release="6.1.1", allow_mismatch=True)
    assert allowed.verdict.level is Level.MISMATCH
    assert store.path("6.1.1") == allowed.tree, "somebody wanted it"


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("find", {"kernel": 7}, "kernel: 7 is no text"),
        ("find", {"kernel": None}, "no staged kernel is called ''"),
        ("find", {"kernel": "a\0\ud800"}, "no staged kernel is called"),
        ("find", {"kernel": "@\ud800"}, "no kernel is staged for the device"),
        ("path", {"kernel": Path()}, "is no text"),
        ("verify", {"kernel": b"latest"}, "is no text"),
        ("gc", {"max_age_s": -1}, "max_age_s: -1 is no number of seconds"),
        ("gc", {"max_age_s": "30d"}, "max_age_s: '30d' is no number of seconds"),
        ("gc", {"max_kernels": 1.5}, "max_kernels: 1.5 is no whole number from 0 up"),
        ("gc", {"max_size_bytes": "2G"}, "max_size_bytes: '2G' is no whole number"),
        ("gc", {"keep_latest": -1}, "keep_latest: -1 is no whole number"),
        ("export", {"kernel": "latest", "output": ""}, "output: '' is no path"),
        ("export", {"kernel": "latest", "output": None}, "output: None is no path"),
        (
            "export",
            {"kernel": "latest", "output": "x", "what": "all"},
            "what: 'all' is none of archive",
        ),
        ("import_", {"file": None}, "file: None is no path"),
        ("import_", {"file": "missing.tar.xz"}, "missing.tar.xz does not exist"),
        ("import_", {"file": SMALL, "config": 7}, "config: 7 is no path"),
        ("import_", {"file": SMALL, "release": 7}, "release: 7 is no text"),
        ("import_", {"file": SMALL, "device": 7}, "type int is no device"),
        ("import_", {"file": SMALL, "server": ("h", 1)}, "the server is for a device, and none"),
        ("import_", {"file": SMALL, "device": "X", "release": "6.1"}, "name two kernels"),
        ("import_", {"file": SMALL, "timeout_s": "soon"}, "timeout_s: 'soon' is no number"),
        (
            "import_",
            {"file": SMALL, "timeout_s": 10**400},
            "timeout_s: an int of 1329 bits is no number",
        ),
        ("import_", {"file": "\ud800"}, "file: .* is no path"),
        ("gc", {"max_age_s": 10**400}, "max_age_s: an int of .* is no number"),
        ("gc", {"keep_latest": -(1 << 9999)}, "keep_latest: an int of .* is no whole number"),
        ("gc", {"max_age_s": True}, "max_age_s: True is no number"),
        ("gc", {"max_kernels": True}, "max_kernels: True is no whole number"),
    ],
    # Python writes no int of more than some thousand digits.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_a_usage_error(
    store: kheaders_adb.Store, inside: Opened, method: str, arguments: dict[str, Any], said: str
) -> None:
    pull(inside)
    before = digest_of_folder(store.folder)
    with pytest.raises(UsageError, match=said):
        getattr(store, method)(**arguments)
    assert digest_of_folder(store.folder) == before


@pytest.mark.parametrize("folder", [7, b"bytes", "", "a\0b", "\ud800"], ids=str)
def test_a_folder_that_is_none(folder: Any) -> None:
    with pytest.raises(UsageError, match=r"folder: .* is no path"):
        kheaders_adb.Store(folder)


def test_the_working_folder_has_been_removed(
    store: kheaders_adb.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    calls: list[Callable[[], object]] = [
        lambda: kheaders_adb.Store("store"),
        lambda: kheaders_adb.staged(store="store"),
        lambda: kheaders_adb.ensure("A", store="store"),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="has been removed"):
            call()
    with pytest.raises(UsageError, match="does not exist"):
        store.import_("small.tar.xz")
    assert store.import_(SMALL)


@pytest.mark.parametrize("name", ["absent", "pipe", "/dev/null", "empty"])
def test_what_cannot_be_imported_makes_no_store(
    store: kheaders_adb.Store, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError):
        store.import_(tmp_path / name)
    assert not store.folder.exists()


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = kheaders_adb.Store(tmp_path / "file")
    for call in (store.list, store.find, store.path, store.verify, store.gc):
        with pytest.raises(StoreError):
            call()
    with pytest.raises(StoreError):
        store.import_(SMALL)


def test_a_folder_of_something_else_becomes_no_store(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    store = kheaders_adb.Store(tmp_path)
    assert store.list() == ()
    with pytest.raises(StoreError):
        store.import_(SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
