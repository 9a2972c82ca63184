"""Processes that are killed, starved of disk, or crowded: run as `python -m tests.unit.store.crash WHAT …`.

It forks, which a test process with threads must not do, and prints one JSON object of what it saw.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import signal
import statistics
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.upkeep import gc
from kheaders_adb.store.upkeep.verify import verify
from tests.unit.store.helpers import (
    digest_of_folder,
    files_of,
    headers,
    identity,
    litter,
    packed,
    pull,
    record,
    stage,
)

_FILES = 100


def in_child(work: Callable[[], None]) -> int:
    """Start a child that does this; returns its pid.  Exit code 0: done, 8: StoreError, 1: anything else."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except StoreError:
        code = 8
    except BaseException:  # a child must not return into its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _trees(root: Path) -> list[str]:
    return [path.name for path in (root / "trees").iterdir()]


def kill_at_random_times(root: Path, count: int) -> dict[str, object]:
    """SIGKILL at random times over 1.1 × the duration of a pull."""
    store = Store.open(root)
    data, expected = packed(1, _FILES), headers(_FILES, variant=1)
    pull(store, 0, data=packed(0, _FILES))  # some trees share files with one that is there

    def work() -> None:
        pull(Store.open(root), 1, data=data, staged_at=2000.0)

    durations_s: deque[float] = deque(maxlen=7)

    def run() -> None:
        started_s = time.monotonic()
        assert wait(in_child(work)) == 0, "the next run failed"
        durations_s.append(time.monotonic() - started_s)

    for _ in range(5):
        run()
        gc.remove(store, identity(1).key)
    chance = random.Random(os.environ.get("KHEADERS_SEED", "kill"))
    seen: Counter[str] = Counter()
    # On a busy machine many a run is over before its time has come: those do not count.
    while seen["killed"] < count and seen["done"] < 10 * count:
        pid = in_child(work)
        time.sleep(chance.uniform(0, 1.1 * statistics.median(durations_s)))
        os.kill(pid, signal.SIGKILL)
        seen["killed" if wait(pid) == -signal.SIGKILL else "done"] += 1
        state = verify(store)
        assert state.is_sound, state.problems
        trees = _trees(root)
        for tree in trees:
            assert files_of(store.tree_path(tree)) in (expected, headers(_FILES)), tree
        staged = store.find(identity(1), "device-1")
        assert staged is None or files_of(store.tree_path(staged.tree)) == expected
        seen["recorded"] += staged is not None
        seen["published"] += len(trees) == 2
        seen["litter"] += bool(litter(store))
        run()
        assert litter(store) == [], "the next run left the litter"
        assert verify(store).is_sound
        assert store.find(identity(1), "device-1") is not None
        gc.remove(store, identity(1).key)
        gc.collect(store, gc.Policy(grace_s=0))
        assert len(_trees(root)) == 1
    return {"duration_s": round(statistics.median(durations_s), 4), **seen}


def fail_at_every_point(root: Path, shim: str, points: int) -> dict[str, object]:
    """ENOSPC (from there on) and EIO (once) at the n-th call, for n over the whole run."""
    library = ctypes.CDLL(shim)
    store = Store.open(root)
    pull(store, 0, data=packed(0, _FILES))
    data = packed(1, _FILES)

    def run(n: int, number: int, forever: bool) -> tuple[int, int]:
        """The exit code and the number of calls."""
        reader, writer = os.pipe()

        def work() -> None:
            fresh = Store.open(root)
            library.fault_arm(n, number, int(forever))
            try:
                pull(fresh, 1, data=data, staged_at=2000.0)
            except StoreError as error:
                library.fault_disarm()
                if not error.hint or os.strerror(number) not in error.seen:
                    raise AssertionError("the message helps nobody") from error
                raise
            finally:
                count = library.fault_disarm()
                os.write(writer, b"%d" % count)

        code = wait(in_child(work))
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            return code, int(pipe.read() or b"0")

    code, calls = run(0, 0, False)
    assert code == 0
    gc.remove(store, identity(1).key)
    # Half of the points among the last calls, where things are published and recorded.
    tail = max(1, calls - points // 2)
    step = max(1, tail // (points // 2))
    chosen = sorted({*range(1, tail, step), *range(tail, calls + 1)})
    seen: Counter[str] = Counter()
    restore = _restorer(store)
    before = digest_of_folder(root)
    for n in chosen:
        for error, forever in ((errno.ENOSPC, True), (errno.EIO, False)):
            code, _ = run(n, error, forever)
            name = errno.errorcode[error]
            assert code in (0, 8), f"call {n} of {calls} with {name}: exit code {code}"
            seen[f"{name} exit {code}"] += 1
            assert verify(store).is_sound, f"call {n} with {name}"
            if code == 8:
                if digest_of_folder(root) == before:
                    seen["unchanged"] += 1
                else:
                    # The tree was published, whole; its record could not be written.
                    seen["published"] += 1
                    assert len(_trees(root)) == 2, f"call {n} with {name}"
            assert wait(in_child(lambda: _pull_again(root, data))) == 0, f"after {n} with {name}"
            assert litter(store) == [], f"after {n} with {name}"
            assert verify(store).is_sound
            restore()
            assert digest_of_folder(root) == before, f"after {n} with {name}"
    return {"calls": calls, "points": len(chosen), **seen}


def _pull_again(root: Path, data: bytes) -> None:
    pull(Store.open(root), 1, data=data, staged_at=2000.0)


def _restorer(store: Store) -> Callable[[], None]:
    device = store.device_path("device-1").read_bytes()

    def restore() -> None:
        gc.remove(store, identity(1).key)
        gc.collect(store, gc.Policy(grace_s=0))
        store.device_path("device-1").write_bytes(device)

    return restore


def without_links(root: Path, shim: str) -> dict[str, object]:
    """A file system without hard links, or a file with too many: plain copies."""
    library = ctypes.CDLL(shim)
    store = Store.open(root)
    pull(store, 0, variant=0)
    said: dict[str, object] = {}
    for number, error in enumerate((errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK), 1):
        library.fault_link(error)
        made = pull(store, number, variant=number)
        library.fault_link(0)
        assert files_of(store.tree_path(made.tree)) == headers(variant=number)
        info = store.tree_info(made.tree)
        assert info is not None
        said[errno.errorcode[error]] = info.unshared
    assert verify(store).is_sound
    return said


def crowd(
    root: Path, processes: int, pulls: int, archives: int, aggressive: bool
) -> dict[str, object]:
    """Many processes that pull a few kernels while gc runs."""
    Store.open(root)
    log = root.parent / "extractions"
    data = {number: packed(number, 60) for number in range(archives)}
    stop = root.parent / "stop"

    def pull_one(store: Store, number: int, serial: str) -> KernelRecord | None:
        """As `pipeline.ensure` does it; None if gc took the tree between finding and using it."""
        kernel = identity(number)
        made = store.find(kernel, serial)
        if made is None:
            size_bytes = len(data[number])
            with store.archive_lock(size_bytes, timeout_s=60):
                made = store.find(kernel, serial)
                if made is None:
                    made = _fetch(store, number, serial, data[number], log)
        try:
            with store.in_use(made):
                assert files_of(store.tree_path(made.tree)) == headers(60, variant=number)
        except StoreError as error:
            if not aggressive or "is not there" not in error.seen:
                raise
            return None
        return made

    def puller(index: int) -> None:
        store = Store.open(root)
        chance = random.Random(index)
        for _ in range(pulls):
            number = chance.randrange(archives)
            while pull_one(store, number, f"device-{index}") is None:
                pass

    def collector() -> None:
        store = Store.open(root)
        policy = gc.Policy(max_kernels=1) if aggressive else gc.Policy(max_age_s=3600)
        rounds = 0
        while not stop.exists():
            gc.collect(store, policy)
            rounds += 1
            time.sleep(0.01)
        (root.parent / "rounds").write_text(str(rounds))

    started_s = time.monotonic()
    keeper = in_child(collector)
    pids = [in_child(lambda index=index: puller(index)) for index in range(processes)]  # type: ignore[misc]
    codes = Counter(wait(pid) for pid in pids)
    stop.touch()
    keeper_code = wait(keeper)
    store = Store.open(root)
    state = verify(store)
    assert state.is_sound, state.problems
    assert litter(store) == []
    return {
        "exit_codes": dict(codes),
        "gc_exit_code": keeper_code,
        "gc_rounds": int((root.parent / "rounds").read_text()),
        "extractions": len(log.read_text().splitlines()),
        "trees": len(state.trees),
        "elapsed_s": round(time.monotonic() - started_s, 2),
    }


def _fetch(store: Store, number: int, serial: str, data: bytes, log: Path) -> KernelRecord:
    sha256 = next(iter(store.find_archive(len(data))), None)
    info = store.tree_info(sha256) if sha256 is not None else None
    if info is not None and store.archive_path(info.archive.sha256).read_bytes() == data:
        archive, tree = info.archive, info.archive.sha256
    else:
        archive, tree = stage(store, data)
        with log.open("a") as file:
            file.write(f"{number}\n")
    made = record(identity(number), archive, tree, serial=serial, staged_at=time.time())
    store.record(made)
    return made


def main() -> None:
    match sys.argv[1:]:
        case ["kill", root, count]:
            seen = kill_at_random_times(Path(root), int(count))
        case ["fail", root, shim, points]:
            seen = fail_at_every_point(Path(root), shim, int(points))
        case ["links", root, shim]:
            seen = without_links(Path(root), shim)
        case ["crowd", root, processes, pulls, archives, aggressive]:
            seen = crowd(
                Path(root), int(processes), int(pulls), int(archives), aggressive == "aggressive"
            )
        case _:
            raise SystemExit(__doc__)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
