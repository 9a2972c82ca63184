"""Sizes: what `du` says, before and after, whatever trees share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kheaders_adb.archive.reader import read_archive
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.upkeep import gc, remembered
from kheaders_adb.store.upkeep.usage import Usage
from kheaders_adb.store.upkeep.verify import verify
from tests.unit.store.helpers import digest_of_folder, pull


@pytest.fixture(params=["memory", "disk"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """A store on each of two file systems: in one folders take blocks, in the other none."""
    folder = tmp_path if request.param == "memory" else tmp_path_factory.mktemp("disk")
    return Store.open(folder / "store")


def du(*places: Path) -> int:
    """What GNU du says of some places together."""
    done = subprocess.run(
        ["du", "-c", "-s", "--block-size=1", *places], capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1].split()[0])


def fill(store: Store) -> list[KernelRecord]:
    """Three kernels: two of one tree, and one whose tree shares nearly all files with that."""
    return [
        pull(store, 0, staged_at=1.0),
        pull(store, 1, staged_at=2.0),
        pull(store, 2, variant=1, staged_at=3.0),
    ]


def places_of(store: Store, record: KernelRecord) -> list[Path]:
    return [
        store.tree_path(record.tree),
        store.manifest_path(record.tree),
        store.archive_path(record.archive.sha256),
        store.kernel_path(record.key),
        remembered.size_path(store, record.tree),
    ]


def test_a_store_takes_what_du_says(store: Store) -> None:
    made = fill(store)
    (store.root / "tmp" / "litter").write_bytes(bytes(10_000))
    (store.root / "trees" / "stranger").mkdir()
    (store.root / "trees" / "stranger" / "file").write_bytes(bytes(5000))
    usage = Usage.of(store)
    assert usage.total_bytes == du(store.root)
    for record in made:
        assert usage.of_kernel(record) == du(*places_of(store, record))
    shared = sum(map(usage.of_kernel, made))
    assert du(*(place for record in made for place in places_of(store, record))) < shared


def test_a_store_that_is_not_there_takes_nothing(tmp_path: Path) -> None:
    missing = Store.open(tmp_path / "none", create=False)
    assert Usage.of(missing).total_bytes == 0
    assert not missing.root.exists()


def test_a_tree_is_looked_at_once(store: Store) -> None:
    """What somebody puts into it later is seen by `verify`, not by who only asks for the size."""
    made = fill(store)
    before = Usage.of(store).total_bytes
    stray = store.tree_path(made[0].tree) / "include/stray"
    stray.write_bytes(bytes(50_000))
    assert Usage.of(store).total_bytes == before < du(store.root)
    verify(store, made[:1])
    assert Usage.of(store).total_bytes == du(store.root)


@pytest.mark.parametrize("damage", [b"", b"1 little", b"\xff" * 4000, None])
def test_what_is_remembered_and_damaged_is_counted_anew(store: Store, damage: bytes | None) -> None:
    made = fill(store)
    Usage.of(store)
    path = remembered.size_path(store, made[0].tree)
    text = path.read_bytes()
    path.write_bytes(text[:-1] + bytes([text[-1] ^ 1]) if damage is None else damage)
    assert Usage.of(store).total_bytes == du(store.root)
    assert path.read_bytes() == text


def test_a_folder_in_its_place_is_in_nobodys_way(store: Store) -> None:
    made = fill(store)
    remembered.size_path(store, made[0].tree).mkdir(parents=True)
    assert Usage.of(store).total_bytes == du(store.root)


def test_a_copy_of_a_store_is_counted_anew(store: Store, tmp_path: Path) -> None:
    """It has other inodes, and without `--preserve=links` shares nothing."""
    fill(store)
    before = Usage.of(store).total_bytes
    copy = store.root.parent / "copy"
    subprocess.run(["cp", "-r", "--preserve=mode,timestamps", store.root, copy], check=True)
    assert Usage.of(Store.open(copy)).total_bytes == du(copy) > before


def test_a_store_that_may_only_be_read(store: Store) -> None:
    fill(store)
    before = digest_of_folder(store.root, without=())
    assert Usage.of(store, remember=False).total_bytes == du(store.root)
    assert digest_of_folder(store.root, without=()) == before


def test_while_gc_removes_it_is_not_waited_for(store: Store) -> None:
    fill(store)
    with store.guarded(exclusive=True):
        assert Usage.of(store).total_bytes == du(store.root)
    assert not (store.root / "sizes").exists()


def test_what_is_repaired_is_counted_anew(store: Store) -> None:
    made = fill(store)
    Usage.of(store)
    file = store.tree_path(made[0].tree) / "include/part0/header0.h"
    file.unlink()
    file.write_bytes(bytes(50_000))
    assert not verify(store, made[:1]).is_sound
    assert Usage.of(store).total_bytes == du(store.root)
    assert verify(store, made[:1], repair_with=read_archive).is_sound
    assert Usage.of(store).total_bytes == du(store.root)


@pytest.mark.parametrize("is_counted", [True, False])
def test_what_it_says_is_freed_is_freed(store: Store, is_counted: bool) -> None:
    """Whatever others still need is not: the tree of another kernel, the files of another tree."""
    made = fill(store)
    if is_counted:
        Usage.of(store)
    before = du(store.root)
    freed = []
    for record in made:
        done = gc.remove(store, record.key)
        freed.append(done.freed_bytes)
        assert done.freed_bytes == before - du(store.root)
        before = du(store.root)
    record_alone, its_tree, all_that_was_shared = freed
    assert record_alone <= 4096
    assert record_alone < its_tree < all_that_was_shared
    assert list((store.root / "sizes").glob("*")) == []


def test_a_hard_link_of_somebody_elses_keeps_its_blocks(store: Store) -> None:
    made = pull(store)
    file = store.tree_path(made.tree) / "include/part0/header0.h"
    os.link(file, store.root.parent / "mine")
    before = du(store.root, store.root.parent / "mine")
    done = gc.remove(store, made.key)
    assert done.freed_bytes == before - du(store.root, store.root.parent / "mine")


def test_gc_frees_what_it_says_with_litter_and_strays(store: Store) -> None:
    made = fill(store)
    Usage.of(store)
    (store.root / "tmp" / "litter").mkdir()
    (store.root / "tmp" / "litter" / "file").write_bytes(bytes(9000))
    (store.root / "archives" / f"{'0' * 64}.tar.xz").write_bytes(bytes(9000))
    (store.root / "sizes" / ("0" * 64)).write_bytes(bytes(9000))
    (store.root / "sizes" / "README").write_bytes(b"mine")
    before = du(store.root)
    done = gc.collect(store, gc.Policy(max_kernels=1))
    assert [record.key for record in done.removed] == [record.key for record in made[:2]]
    assert done.freed_bytes == before - du(store.root) > 3 * 9000
    assert sorted(path.name for path in (store.root / "sizes").iterdir()) == sorted(
        ["README", made[2].tree]
    )


def test_a_dry_run_foretells_it(store: Store) -> None:
    fill(store)
    Usage.of(store)
    foretold = gc.collect(store, gc.Policy(max_kernels=1), dry_run=True)
    assert gc.collect(store, gc.Policy(max_kernels=1)) == foretold


def test_a_limit_on_the_size_is_kept_and_no_kernel_goes_for_nothing(store: Store) -> None:
    made = fill(store)
    Usage.of(store)
    whole = du(store.root)
    assert gc.collect(store, gc.Policy(max_size_bytes=whole)).removed == ()
    done = gc.collect(store, gc.Policy(max_size_bytes=whole - 1))
    assert [record.key for record in done.removed] == [made[0].key]
    # What the last one shares with the other two is not had by removing those.
    foretold = gc.collect(store, gc.Policy(max_kernels=1), dry_run=True)
    assert len(foretold.removed) == 1
    limit = du(store.root) - foretold.freed_bytes
    done = gc.collect(store, gc.Policy(max_size_bytes=limit - 1), dry_run=True)
    assert len(done.removed) == 2
    done = gc.collect(store, gc.Policy(max_size_bytes=limit))
    assert [record.key for record in done.removed] == [made[1].key]
    assert du(store.root) == limit
