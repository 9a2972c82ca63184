"""What cannot be read for the moment is there all the same: nothing is removed or replaced on its account."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import StoreError
from kheaders_adb.store import KernelRecord, Store, scratch
from kheaders_adb.store.locks import guarded
from kheaders_adb.store.upkeep.gc import Policy, collect, remove
from kheaders_adb.store.upkeep.problems import ProblemKind
from kheaders_adb.store.upkeep.verify import verify
from tests.unit.store.helpers import digest_of_folder, identity, packed, pull, record, stage

EVERYTHING = Policy(max_age_s=0, max_kernels=0, max_size_bytes=0, grace_s=0)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


UNREADABLE = pytest.mark.parametrize("put", [a_folder, a_loop], ids=["EISDIR", "ELOOP"])


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """Within it, this process may open so many more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (fd + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def what_belongs_to(store: Store, made: KernelRecord) -> list[Path]:
    return [
        store.kernel_path(made.key),
        store.pin_path(made.key),
        store.tree_path(made.tree),
        store.manifest_path(made.tree),
        store.archive_path(made.archive.sha256),
        store.device_path("device-1"),
    ]


def test_gc_without_descriptors_takes_nothing_that_is_pinned(store: Store) -> None:
    made = pull(store)
    store.pin(made.key)
    collect(store, EVERYTHING, dry_run=True)  # imports what it needs
    ended = []
    for more in range(16):
        with few_descriptors(more):
            try:
                collect(store, EVERYTHING)
            except StoreError as error:
                ended.append(error.seen)
            else:
                ended.append("done")
        assert all(path.exists() for path in what_belongs_to(store, made)), more
    assert "done" in ended
    assert all("Too many open files" in seen for seen in set(ended) - {"done"})
    assert len(set(ended)) > 1
    assert verify(store).is_sound


@UNREADABLE
def test_gc_with_a_record_that_cannot_be_read_takes_nothing(
    store: Store, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    made = pull(store)
    pull(store, 1, variant=1)
    store.pin(made.key)
    path = store.kernel_path(made.key)
    path.rename(tmp_path / "record")
    put(path)
    before = digest_of_folder(store.root)
    with pytest.raises(StoreError, match=path.name) as caught:
        collect(store, EVERYTHING)
    hint = caught.value.hint or ""
    assert "remove it" in hint or "move it away" in hint
    with pytest.raises(StoreError, match=path.name):
        remove(store, identity(1).key)
    assert digest_of_folder(store.root) == before
    with pytest.raises(StoreError, match=path.name):
        store.find(identity(), "device-1")  # it is not "not staged" either
    with pytest.raises(StoreError, match=path.name):
        store.resolve("6.1.0")
    path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "record").rename(path)
    assert store.find(identity(), "device-1") is not None
    assert verify(store).is_sound


@pytest.mark.parametrize("text", ["", "{", "{}", '{"level": "of the future"}'])
def test_gc_leaves_what_may_belong_to_a_broken_record(store: Store, text: str) -> None:
    made = pull(store, serial="device-1")
    other = pull(store, 1, variant=1, serial="device-2")
    store.pin(made.key)
    path = store.kernel_path(made.key)
    whole = path.read_bytes()
    path.write_text(text)
    for old in (path, store.pin_path(made.key), store.tree_path(made.tree)):
        os.utime(old, (1.0, 1.0))
    done = collect(store, EVERYTHING)
    assert [each.key for each in done.removed] == [other.key]
    assert [each.path for each in done.broken] == [path]
    assert (done.trees, done.archives) == ((), ())
    assert all(path.exists() for path in what_belongs_to(store, made))
    path.write_bytes(whole)
    assert store.find(identity(), "device-1") is not None
    assert store.pinned() == {made.key}
    assert collect(store, EVERYTHING).trees == (other.tree,)
    assert verify(store).is_sound


def test_a_stranger_among_the_records_is_named_and_keeps_nothing(store: Store) -> None:
    made = pull(store)
    (store.root / "kernels" / "notes").mkdir()
    done = collect(store, EVERYTHING)
    assert (done.trees, len(done.broken)) == ((made.tree,), 1)
    verify(store, repair_with=read_archive)
    assert (store.root / "kernels" / "notes").is_dir()


def test_a_pin_outlives_its_record(store: Store) -> None:
    made = pull(store)
    store.pin(made.key)
    os.utime(store.pin_path(made.key), (1.0, 1.0))
    store.kernel_path(made.key).unlink()
    collect(store, EVERYTHING)
    pull(store)
    assert collect(store, EVERYTHING).removed == ()


def test_a_tree_in_use_stays_although_its_record_names_another(store: Store) -> None:
    made = pull(store)
    with store.in_use(made):
        archive, tree = stage(store, packed(1))
        store.record(record(identity(), archive, tree))
        assert collect(store, Policy(grace_s=0)).trees == ()
        assert store.tree_path(made.tree).is_dir()
    assert collect(store, Policy(grace_s=0)).trees == (made.tree,)


def test_the_room_of_a_living_process_is_no_litter_for_want_of_descriptors(store: Store) -> None:
    with store.stage() as staging:
        (room,) = (store.root / "tmp").iterdir()
        with few_descriptors(0):
            # In the middle of a sweep, when another program has just taken the last one.
            assert scratch._take_over(room) == (False, None)
        assert scratch.sweep(store.root) == 0
        for member, content in read_archive((packed(),)):
            staging.add(member, content)


@UNREADABLE
def test_a_tree_whose_manifest_cannot_be_looked_at_is_not_replaced(
    store: Store, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    made = pull(store)
    path = store.manifest_path(made.tree)
    path.unlink()
    put(path)
    before = digest_of_folder(store.root)
    with pytest.raises(StoreError):
        pull(store)
    assert digest_of_folder(store.root) == before


@UNREADABLE
def test_repair_removes_no_archive_that_cannot_be_read(
    store: Store, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    made = pull(store)
    path = store.archive_path(made.archive.sha256)
    path.rename(tmp_path / "archive")
    put(path)
    done = verify(store, repair_with=read_archive)
    assert [problem.kind for problem in done.problems] == [ProblemKind.ARCHIVE]
    assert "cannot be read" in done.problems[0].seen
    assert os.path.lexists(path)


def test_repair_removes_no_record_that_a_pull_has_written_anew(store: Store) -> None:
    made = pull(store)
    path = store.kernel_path(made.key)
    whole = path.read_bytes()
    path.write_text("{")
    worker = threading.Thread(target=lambda: verify(store, repair_with=read_archive))
    with guarded(store.root, exclusive=False):  # as a pull holds it while it records
        worker.start()
        worker.join(0.2)
        assert worker.is_alive()
        path.write_bytes(whole)
    worker.join()
    assert store.find(identity(), "device-1") is not None
