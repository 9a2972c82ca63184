"""Files that change when, and only when, a name means another kernel: what make compares with an object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.meanings import note, settle
from kheaders_adb.store.upkeep import gc
from tests.capabilities import as_anybody
from tests.unit.store.helpers import identity, pull


def noted(store: Store, name: str, record: KernelRecord) -> Path:
    path = note(store, name, record)
    assert path.is_file()
    return path


def key_in(path: Path) -> str:
    key = json.loads(path.read_bytes())["key"]
    assert isinstance(key, str)
    return key


def test_a_file_changes_with_what_its_name_means(store: Store) -> None:
    first = pull(store, 1, serial="a", staged_at=1000.0)
    latest, device = noted(store, "latest", first), noted(store, "@a", first)
    assert (key_in(latest), key_in(device)) == (first.key, first.key)
    before = device.stat()
    second = pull(store, 2, serial="b", staged_at=2000.0)
    assert (key_in(latest), key_in(device)) == (second.key, first.key)
    assert device.stat() == before
    # Found again, and nothing staged: it is the last one now.
    assert store.find(identity(1), "a") is not None
    assert key_in(latest) == first.key


def test_what_is_noted_again_stays_as_old_as_it_is(store: Store) -> None:
    record = pull(store, 1)
    path = noted(store, "latest", record)
    before = path.stat()
    assert noted(store, "latest", record) == path
    assert store.find(identity(1), "device-1") is not None
    settle(store, "latest", record)
    assert path.stat() == before


def test_another_kernel_of_a_device_changes_its_name(store: Store) -> None:
    first = pull(store, 1)
    path = noted(store, "@device-1", first)
    second = pull(store, 2, variant=1)
    assert key_in(path) == second.key
    # It has booted into a kernel of which nothing is staged: the name means none.
    store.seen("device-1", identity(3, boot_id="boot-2"))
    assert not path.exists()


def test_another_tree_of_the_same_kernel_counts(store: Store) -> None:
    path = noted(store, "latest", pull(store, 1))
    before = path.read_bytes()
    pull(store, 1, variant=1, staged_at=2000.0)
    assert path.read_bytes() != before


def test_what_is_removed_is_meant_no_longer(store: Store) -> None:
    first, second = pull(store, 1), pull(store, 2, variant=1, serial="b", staged_at=2000.0)
    latest, key = noted(store, "latest", second), noted(store, second.key, second)
    release = noted(store, "6.1.0", second)
    gc.remove(store, second.key)
    assert key_in(latest) == first.key
    assert not key.exists()
    assert key_in(release) == first.key, "it was meant by several before"
    gc.remove(store, first.key)
    assert list(latest.parent.iterdir()) == []


def test_what_was_built_while_the_meaning_changed_is_built_again(store: Store) -> None:
    first = pull(store, 1)
    path = noted(store, "latest", first)
    second = pull(store, 2, variant=1, serial="b", staged_at=2000.0)
    built_ns = path.stat().st_mtime_ns + 1  # of the first, but later than the second came
    settle(store, "latest", first)
    assert path.stat().st_mtime_ns > built_ns
    before = path.stat()
    settle(store, "latest", second)
    assert path.stat() == before


@pytest.mark.parametrize(
    "name", ["@10.0.0.1:5555", "@a/../b \n\udcff", "6.1.0 odd", "@" + "x" * 300]
)
def test_any_name_has_a_file_of_its_own(name: str, store: Store) -> None:
    record = pull(store, 1, serial=name[1:] if name[0] == "@" else "device-1")
    path = noted(store, name, record)
    assert path.parent == store.root / "names"
    assert json.loads(path.read_bytes())["name"] == name


def test_a_damaged_file_is_removed_and_nothing_fails(store: Store) -> None:
    path = noted(store, "latest", pull(store, 1))
    path.write_text("{")
    pull(store, 2, variant=1, staged_at=2000.0)
    assert not path.exists()
    path.parent.rename(store.root / "elsewhere")
    (store.root / "names").write_text("in the way")
    assert pull(store, 3, staged_at=3000.0)


@contextmanager
def closed(store: Store, *names: str) -> Iterator[None]:
    """Within it, others own these folders, and keep them to themselves."""
    folders = [store.root / name for name in names]
    for folder in folders:
        folder.chmod(0o555)
    try:
        with as_anybody():
            yield
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_in_a_store_of_somebody_else_what_is_there_is_used(store: Store) -> None:
    record = pull(store, 1)
    path = noted(store, "latest", record)
    with closed(store, "tmp", "names", "kernels"):
        assert note(store, "latest", record) == path
        # Not there: make builds each time, until its owner keeps it.
        assert not note(store, "6.1.0", record).exists()
        settle(store, "latest", record)


def test_names_that_another_user_keeps_do_not_stop_a_build(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pull(store, 1)
    path = noted(store, "latest", first)
    with closed(store, "names"):
        monkeypatch.setattr("os.geteuid", lambda: 4711)  # so that the rights are not his to give
        for name in ("latest", "6.1.0"):
            assert not note(store, name, first).exists(), "make would not build again"
        assert store.find(identity(1), "device-1") is not None
        assert store.take_notes() == ()
        second = pull(store, 2, variant=1, staged_at=2000.0)
        (said,) = store.take_notes()
        assert said.startswith("what was built for another kernel may not be built again by make: ")
        settle(store, "latest", first)
        gc.remove(store, first.key)
        assert store.resolve("latest").key == second.key
    assert key_in(path) == first.key


def test_names_that_were_kept_to_oneself_are_opened_by_the_next_build(store: Store) -> None:
    first = pull(store, 1)
    path = noted(store, "latest", first)
    (store.root / "kernels").chmod(0o777)
    noted(store, "latest", first)
    assert path.parent.stat().st_mode & 0o777 == 0o777
    assert (store.root / "locks" / "names").stat().st_mode & 0o777 == 0o666
