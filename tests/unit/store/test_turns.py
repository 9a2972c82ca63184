"""Which kernel was used last: in an order that no clock turns, and that removing or missing others leaves."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.upkeep import gc
from tests.capabilities import as_anybody
from tests.unit.store.helpers import identity, pull


def use(store: Store, number: int, serial: str = "device-1") -> None:
    assert store.find(identity(number), serial, proven=True) is not None


def latest(store: Store) -> str:
    return store.resolve("latest").key


@pytest.fixture
def three(store: Store) -> list[KernelRecord]:
    """One phone: 0, 1, 0 again, 2."""
    made = [pull(store, number, staged_at=1000.0 + number) for number in (0, 1)]
    use(store, 0)
    return [*made, pull(store, 2, staged_at=1002.0)]


def test_once_the_last_is_removed_it_is_the_one_used_before(
    store: Store, three: list[KernelRecord]
) -> None:
    assert latest(store) == three[2].key
    gc.remove(store, three[2].key)
    assert latest(store) == three[0].key
    assert not list((store.root / "used").glob(f"*{three[2].key}"))
    gc.remove(store, three[0].key)
    assert latest(store) == three[1].key


def test_a_device_that_boots_what_is_not_staged_changes_nothing(store: Store) -> None:
    first = pull(store, 0, serial="one", staged_at=1000.0)
    pull(store, 1, serial="two", staged_at=1001.0)
    use(store, 0, "one")
    store.seen("one", identity(2, boot_id="boot-2"))
    assert latest(store) == first.key


def test_a_clock_that_is_put_back_changes_nothing(store: Store) -> None:
    pull(store, 0, staged_at=5000.0)
    second = pull(store, 1, serial="two", staged_at=1000.0)
    assert latest(store) == second.key
    use(Store.open(store.root, clock=lambda: 10.0), 0)
    assert latest(store) == identity(0).key


def test_uses_that_are_no_devices_do_not_count(store: Store, three: list[KernelRecord]) -> None:
    assert store.use(three[1])
    with store.in_use(three[1]):
        assert latest(store) == three[2].key


def test_using_the_last_again_writes_nothing(store: Store, three: list[KernelRecord]) -> None:
    folder = store.root / "used"
    before = (folder.stat().st_mtime_ns, sorted(folder.iterdir()))
    use(store, 2)
    assert (folder.stat().st_mtime_ns, sorted(folder.iterdir())) == before
    assert len(before[1]) == len(three)


def test_an_older_store_goes_by_its_times(store: Store, three: list[KernelRecord]) -> None:
    for path in (store.root / "used").iterdir():
        path.unlink()
    (store.root / "used").rmdir()
    assert latest(store) == three[2].key
    use(store, 1)
    assert latest(store) == three[1].key


def test_strangers_among_the_marks_are_passed_over(store: Store, three: list[KernelRecord]) -> None:
    for name in ("README", "9" * 40 + "-" + three[0].key, f"99-{'0' * 64}"):
        (store.root / "used" / name).touch()
    assert latest(store) == three[2].key
    use(store, 1)
    assert latest(store) == three[1].key


def test_what_two_use_at_once_has_one_mark_each(store: Store, three: list[KernelRecord]) -> None:
    def often(number: int) -> None:
        for _ in range(30):
            use(Store.open(store.root), number, f"device-{number}")

    threads = [threading.Thread(target=often, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [path.name.partition("-") for path in (store.root / "used").iterdir()]
    assert sorted(key for _number, _dash, key in names) == sorted(each.key for each in three)
    assert len({number for number, _dash, _key in names}) == len(three)


def test_a_store_that_may_only_be_read_is_used_as_it_is(
    store: Store, three: list[KernelRecord]
) -> None:
    folder = store.root / "used"
    folder.chmod(0o555)
    try:
        with as_anybody():
            use(store, 0)
            assert store.take_notes() == ()
            assert latest(store) == three[2].key
            pull(store, 3)
            (said,) = store.take_notes()
            assert said.startswith("`latest` goes on naming the kernel that was used before: ")
    finally:
        folder.chmod(0o755)


def test_whoever_may_write_to_the_store_may_note_uses(store: Store) -> None:
    (store.root / "kernels").chmod(0o775)
    before = os.umask(0o022)
    try:
        pull(store, 0)
    finally:
        os.umask(before)

    def mode(path: Path) -> int:
        return path.stat().st_mode & 0o777

    assert mode(store.root / "used") == 0o775
    assert mode(store.root / "locks" / "used") == 0o664
