"""What gc removes, and above all what it leaves."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kheaders_adb.errors import StoreError
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.locks import guarded, is_locked, try_lock
from kheaders_adb.store.upkeep import gc
from kheaders_adb.store.upkeep.gc import Collected, Policy, collect
from kheaders_adb.store.upkeep.verify import verify
from tests.unit.store.helpers import digest_of_folder, identity, litter, packed, pull, record, stage


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store.open(tmp_path / "store", clock=clock)


def fill(store: Store, clock: Clock, count: int = 4, *, devices: int = 1) -> list[KernelRecord]:
    """Kernels with trees of their own, a day apart, on so many devices in turn."""
    made = []
    for number in range(count):
        clock.now_s += 86400
        made.append(
            pull(
                store,
                number,
                variant=number,
                serial=f"device-{number % devices}",
                staged_at=clock.now_s,
            )
        )
    return made


def keys(records: tuple[KernelRecord, ...] | list[KernelRecord]) -> list[str]:
    return [each.key for each in records]


def left(store: Store) -> set[str]:
    return {each.key for each in store.records()}


def names(store: Store, folder: str) -> set[str]:
    return {path.name.split(".")[0] for path in (store.root / folder).iterdir()}


def test_without_limits_no_kernel_goes(store: Store, clock: Clock) -> None:
    fill(store, clock)
    before = digest_of_folder(store.root)
    done = collect(store)
    assert done == Collected((), 4, (), (), (), 0, 0)
    assert digest_of_folder(store.root) == before


def test_by_age_since_the_last_use(store: Store, clock: Clock) -> None:
    made = fill(store, clock)
    store.find(identity(0), "device-0")  # the oldest, but just used
    done = collect(store, Policy(max_age_s=1.5 * 86400))
    assert keys(done.removed) == keys(made[1:2])
    assert left(store) == set(keys([made[0], *made[2:]]))
    assert names(store, "trees") == names(store, "manifests") == names(store, "archives")
    assert made[1].tree not in names(store, "trees")


def test_by_number_the_least_recently_used_go(store: Store, clock: Clock) -> None:
    made = fill(store, clock)
    clock.now_s += 1
    store.find(identity(0), "device-0")
    done = collect(store, Policy(max_kernels=2))
    assert keys(done.removed) == keys(made[1:3])
    assert done.kept == 2
    assert verify(store).is_sound


def test_by_size(store: Store, clock: Clock) -> None:
    made = fill(store, clock)
    everything = collect(store, Policy(max_kernels=0), dry_run=True).freed_bytes
    one = collect(store, Policy(max_kernels=3), dry_run=True).freed_bytes
    done = collect(store, Policy(max_size_bytes=everything - one - 1))
    assert keys(done.removed) == keys(made[:2])
    assert one < done.freed_bytes < everything
    assert collect(store, Policy(max_size_bytes=everything)).removed == ()


def test_pinned_kernels_stay(store: Store, clock: Clock) -> None:
    made = fill(store, clock)
    store.pin(made[0].key)
    done = collect(store, Policy(max_age_s=0, max_kernels=1, max_size_bytes=0))
    assert keys(done.removed) == keys(made[1:])
    assert left(store) == {made[0].key}
    store.unpin(made[0].key)
    collect(store, Policy(max_size_bytes=0))
    assert left(store) == set()


def test_the_latest_of_each_device_stay(store: Store, clock: Clock) -> None:
    made = fill(store, clock, 6, devices=2)
    done = collect(store, Policy(max_size_bytes=0, keep_latest_per_device=2))
    assert keys(done.removed) == keys(made[:2])
    done = collect(store, Policy(max_size_bytes=0, keep_latest_per_device=1))
    assert keys(done.removed) == keys(made[2:4])


def test_a_dry_run_says_the_same_and_changes_nothing(store: Store, clock: Clock) -> None:
    fill(store, clock)
    policy = Policy(max_kernels=1)
    before = digest_of_folder(store.root, without=())
    foretold = collect(store, policy, dry_run=True)
    assert digest_of_folder(store.root, without=()) == before
    assert collect(store, policy) == foretold
    assert len(foretold.removed) == 3
    assert foretold.freed_bytes > 0


def test_a_kernel_in_use_stays(store: Store, clock: Clock) -> None:
    made = fill(store, clock)
    with store.in_use(made[0]):
        done = collect(store, Policy(max_size_bytes=0))
        assert keys(done.removed) == keys(made[1:])
        with pytest.raises(StoreError, match="being used"):
            gc.remove(store, made[0].key)
    collect(store, Policy(max_size_bytes=0))
    assert left(store) == set()
    with pytest.raises(StoreError, match="is not there"), store.in_use(made[0]):
        pass


def test_a_tree_that_is_published_but_not_yet_recorded_stays(store: Store, clock: Clock) -> None:
    archive, tree = stage(store, packed())
    clock.now_s = store.tree_path(tree).stat().st_mtime
    collect(store, Policy(max_size_bytes=0, max_age_s=0))
    store.record(record(identity(), archive, tree))
    clock.now_s += 3599
    collect(store)
    assert store.find(identity(), "device-1") is not None


def test_a_tree_that_a_pull_has_just_found_stays(store: Store, clock: Clock) -> None:
    made = fill(store, clock, 1)[0]
    clock.now_s += 1
    assert store.find_archive(made.archive.size_bytes) == (made.archive.sha256,)
    done = collect(store, Policy(max_size_bytes=0))
    assert (keys(done.removed), done.trees) == ([made.key], ())
    store.record(record(identity(7), made.archive, made.tree))
    assert store.find(identity(7), "device-1") is not None


def test_a_tree_that_nobody_recorded_goes_after_the_grace_period(
    store: Store, clock: Clock
) -> None:
    archive, tree = stage(store, packed())
    clock.now_s = store.tree_path(tree).stat().st_mtime + 3601
    done = collect(store)
    assert (done.trees, done.archives) == ((tree,), (archive.sha256,))
    for folder in ("trees", "archives", "manifests"):
        assert names(store, folder) == set()


def test_kernels_may_share_a_tree(store: Store, clock: Clock) -> None:
    first = pull(store, 0, staged_at=1.0)
    clock.now_s += 10
    second = pull(store, 1, staged_at=2.0)
    assert first.tree == second.tree
    done = gc.remove(store, second.key)
    assert (keys(done.removed), done.trees) == ([second.key], ())
    assert store.find(identity(0), "device-1") is not None
    done = gc.remove(store, first.key)
    assert done.trees == (first.tree,)
    assert names(store, "archives") == set()


def test_a_shared_tree_goes_with_its_last_kernel(store: Store, clock: Clock) -> None:
    first = pull(store, 0, staged_at=1.0)
    clock.now_s += 10
    second = pull(store, 1, staged_at=2.0)
    assert gc.remove(store, second.key).trees == ()
    assert gc.remove(store, first.key).trees == (first.tree,)


@contextmanager
def gc_waiting(store: Store, policy: Policy) -> Iterator[list[Collected]]:
    """A gc that has begun and has to wait until the block ends; then its result is in the list."""
    done: list[Collected] = []
    worker = threading.Thread(target=lambda: done.append(collect(store, policy)))
    with guarded(store.root, exclusive=False):  # as find() holds it between reading and marking
        worker.start()
        worker.join(0.2)
        assert worker.is_alive()
        yield done
    worker.join()


def test_a_kernel_that_is_used_while_gc_makes_up_its_mind_stays(store: Store, clock: Clock) -> None:
    made = fill(store, clock, 2)
    with gc_waiting(store, Policy(max_kernels=1)) as done:
        clock.now_s += 5
        assert store.find(identity(0), "device-0") is not None
    assert keys(done[0].removed) == keys(made[1:])
    assert left(store) == {made[0].key}


def test_a_kernel_that_is_pinned_while_gc_makes_up_its_mind_stays(
    store: Store, clock: Clock
) -> None:
    made = fill(store, clock, 2)
    with gc_waiting(store, Policy(max_kernels=0)) as done:
        store.pin(made[0].key)
    assert keys(done[0].removed) == keys(made[1:])
    assert store.pinned() == {made[0].key}
    assert left(store) == {made[0].key}


def test_a_kernel_that_is_taken_into_use_while_gc_makes_up_its_mind_stays(
    store: Store, clock: Clock
) -> None:
    made = fill(store, clock, 2)
    with ExitStack() as used:
        with gc_waiting(store, Policy(max_kernels=0)) as done:
            used.enter_context(store.in_use(made[0]))
        assert keys(done[0].removed) == keys(made[1:])


def test_looking_for_users_is_in_nobodys_way(store: Store, clock: Clock) -> None:
    """Whoever looks holds the lock alone for a moment; taking a kernel into use waits that long."""
    made = fill(store, clock, 1)[0]
    path = store.use_lock_path(made.key)
    path.touch()
    with path.open() as held:
        assert try_lock(held.fileno(), exclusive=True)
        threading.Timer(0.2, fcntl.flock, (held.fileno(), fcntl.LOCK_UN)).start()
        with store.in_use(made):
            assert is_locked(path)


def test_two_that_look_for_users_do_not_take_each_other_for_one(store: Store, clock: Clock) -> None:
    """What a dry run looks at is looked at alone, as what a gc or a remove does."""
    fill(store, clock, 1)
    worker = threading.Thread(target=lambda: collect(store, dry_run=True))
    with guarded(store.root, exclusive=True):
        worker.start()
        worker.join(0.2)
        assert worker.is_alive()
    worker.join()


def test_what_is_in_use_is_not_said_to_be_removed(store: Store, clock: Clock) -> None:
    made = fill(store, clock, 1)[0]
    store.pin(made.key)
    with store.in_use(made), pytest.raises(StoreError, match="being used"):
        gc.remove(store, made.key)
    assert left(store) == {made.key}
    assert store.pinned() == {made.key}


def test_gc_waits_for_a_command_that_is_just_looking(store: Store, clock: Clock) -> None:
    made = fill(store, clock, 1)[0]
    worker = threading.Thread(target=lambda: collect(store, Policy(max_kernels=0)))
    with guarded(store.root, exclusive=False):  # as find() holds it between reading and marking
        worker.start()
        worker.join(0.2)
        assert worker.is_alive()
        assert store.tree_path(made.tree).is_dir()
        assert left(store) == {made.key}
    worker.join()
    assert left(store) == set()


def test_a_repaired_tree_keeps_the_archive(store: Store, clock: Clock) -> None:
    plain = pull(store, 0)
    archive, tree = stage(store, packed(), replace={"include/empty.h": b"x"})
    store.record(record(identity(1), archive, tree))
    done = gc.remove(store, plain.key)
    assert (done.trees, done.archives) == ((plain.tree,), ())
    assert store.archive_path(archive.sha256).exists()
    assert gc.remove(store, identity(1).key).archives == (archive.sha256,)


def test_removing_takes_pin_and_devices_along(store: Store, clock: Clock) -> None:
    made = pull(store, 0)
    store.pin(made.key)
    gc.remove(store, made.key)
    for folder in ("kernels", "devices", "pins", "trees", "archives", "manifests"):
        assert names(store, folder) == set(), folder
    assert litter(store) == []
    with pytest.raises(StoreError, match="no kernel"):
        gc.remove(store, made.key)


def test_litter_goes_and_broken_records_stay(store: Store, clock: Clock) -> None:
    made = pull(store, 0)
    (store.root / "tmp" / "1-dead").mkdir()
    broken = store.root / "kernels" / f"{'0' * 64}.json"
    broken.write_text("{")
    os.utime(broken, (1.0, 1.0))
    done = collect(store)
    assert done.litter == 1
    assert [each.path for each in done.broken] == [broken]
    assert broken.exists()
    assert left(store) == {made.key}


def test_files_of_others_are_not_touched(store: Store, clock: Clock) -> None:
    fill(store, clock, 1)
    for folder in ("trees", "archives", "manifests", "pins"):
        (store.root / folder / "README").write_text("mine")
    clock.now_s += 1e6
    collect(store, Policy(max_size_bytes=0))
    for folder in ("trees", "archives", "manifests"):
        assert (store.root / folder / "README").read_text() == "mine"


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "none", create=False)
    assert collect(store).kept == 0
