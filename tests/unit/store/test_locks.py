"""How long a lock is waited for, and what is said of who holds it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kheaders_adb.errors import StoreError
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.holders import holders, named
from kheaders_adb.store.locks import locked
from tests.unit.store.helpers import identity, packed, pull, stage

_HOLD = """
import fcntl, sys
held = open(sys.argv[1], "a")
fcntl.flock(held, fcntl.LOCK_SH if sys.argv[2] == "shared" else fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another(path: Path, how: str = "alone") -> Iterator[int]:
    """Another process holds this lock; gives its pid."""
    command = [sys.executable, "-c", _HOLD, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a flock")


@linux
def test_the_message_names_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        held_by_another(path) as pid,
        pytest.raises(StoreError, match=f"process {pid} has been dreaming for 0.05 s"),
        locked(path, exclusive=False, timeout_s=0.05, purpose="dreaming"),
    ):
        pass


@linux
def test_several_holders_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held_by_another(path, "shared") as one, held_by_another(path, "shared") as two:
        fd = os.open(path, os.O_RDONLY)
        assert holders(fd) == tuple(sorted((one, two)))
        os.close(fd)


def test_holders_in_words() -> None:
    assert named((1, 2, 3)) == "processes 1, 2 and 3 have"
    assert named(()) == "another process has"


def find(store: Store, made: KernelRecord) -> None:
    assert store.find(made.identity, "device-1") is not None


def find_archive(store: Store, made: KernelRecord) -> None:
    store.find_archive(made.archive.size_bytes)


def use(store: Store, made: KernelRecord) -> None:
    assert store.use(made)


def take_into_use(store: Store, made: KernelRecord) -> None:
    with store.in_use(made):
        pass


def record_again(store: Store, made: KernelRecord) -> None:
    store.record(made)


def stage_again(store: Store, made: KernelRecord) -> None:
    stage(store, packed())


def pin(store: Store, made: KernelRecord) -> None:
    store.pin(made.key)


def mend(store: Store, made: KernelRecord) -> None:
    store.archive_path(made.archive.sha256).unlink(missing_ok=True)
    store.mend_archive(made.archive.sha256, (packed(),))


def take_turns(store: Store, made: KernelRecord) -> None:
    with store.archive_lock(7):
        pass


@pytest.mark.parametrize(
    "wait",
    [find, find_archive, use, take_into_use, record_again, stage_again, pin, mend, take_turns],
)
def test_every_wait_ends_with_the_run(
    store: Store, wait: Callable[[Store, KernelRecord], None]
) -> None:
    made = pull(store)
    bounded = store.within(lambda: 0.05)
    name = "archive-7" if wait is take_turns else "store"
    with (
        held_by_another(store.root / "locks" / name),
        pytest.raises(StoreError, match=r"for 0\.05 s"),
    ):
        wait(bounded, made)
    wait(bounded, made)
    assert bounded.find(identity(), "device-1") is not None
