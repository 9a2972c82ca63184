"""A hundred debug kernels in one store: what each costs in disk and time.

Takes one real archive, makes as many of it as asked, each with another autoconf.h, utsrelease.h and
compile.h as a rebuilt kernel has them, stages and records them all, and prints one JSON object:

    python -m tests.bench.store_hundred ARCHIVE.tar.xz [--kernels 100] [--store DIR]

ARCHIVE may also be a kheaders.ko.  Times are seconds on this machine, disk is what the file system says
(``st_blocks``), each inode counted once.
"""

from __future__ import annotations

import argparse
import functools
import json
import lzma
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fixtures.archives.rewrite import rewritten
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.kernel.facts import FactCollector
from kheaders_adb.model import HeaderSource, KernelIdentity, Level, SourceKind, Verdict
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.upkeep.gc import Policy, collect
from kheaders_adb.store.upkeep.usage import Usage
from kheaders_adb.store.upkeep.verify import verify

_XZ_MAGIC = bytes.fromhex("fd377a585a00")


def archive_bytes(path: Path) -> bytes:
    """The archive in a file, or carved out of a module by its magic."""
    data = path.read_bytes()
    start = data.index(_XZ_MAGIC)
    decompressor = lzma.LZMADecompressor()
    decompressor.decompress(data[start:])
    return data[start : len(data) - len(decompressor.unused_data)]


def variants(archive: bytes, count: int) -> Iterator[bytes]:
    """The archive as so many rebuilt kernels would have it."""
    for number in range(count):
        yield rewritten(archive, functools.partial(_rebuilt, number))


def _rebuilt(number: int, path: str, content: bytes) -> bytes:
    match path:
        case "include/generated/utsrelease.h":
            return f'#define UTS_RELEASE "6.1.0-debug{number}"\n'.encode()
        case "include/generated/autoconf.h" | "include/generated/compile.h":
            return content + f"#define CONFIG_DEBUG_BUILD_{number} 1\n".encode()
        case _:
            return content


def taken(root: Path, seen: set[int], folders: tuple[str, ...]) -> int:
    """The bytes of the inodes below some folders that were not seen before."""
    size_bytes = 0
    for folder in folders:
        for parent, names, files in os.walk(root / folder):
            for name in names + files:
                found = os.lstat(f"{parent}/{name}")
                if found.st_ino not in seen:
                    seen.add(found.st_ino)
                    size_bytes += found.st_blocks * 512
    return size_bytes


def stage(store: Store, data: bytes, number: int) -> tuple[float, float]:
    """Stage and record one; returns the seconds and the CPU seconds that it took, decompression included."""
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    collector = FactCollector()
    with store.stage() as staging:

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(data), 65536):
                staging.write_archive(data[start : start + 65536])
                yield data[start : start + 65536]

        for member, content in read_archive(chunks()):
            staging.add(member, content)
            collector.add(member.path, content)
        facts = collector.facts()
        archive = staging.publish(facts)
        assert staging.tree is not None
        store.record(
            KernelRecord(
                identity=KernelIdentity(
                    facts.release or "", "#1 SMP", "x86_64", build_id=f"{number:040x}"
                ),
                verdict=Verdict(Level.EXACT),
                source=HeaderSource(SourceKind.FILE, "generated"),
                archive=archive,
                tree=staging.tree,
                tool_version="bench",
                serial=f"device-{number % 5}",
                staged_at=store.now(),
            )
        )
    return time.perf_counter() - started_s, time.process_time() - started_cpu_s


def by_hand(data: bytes, folder: Path) -> tuple[float, float]:
    """The seconds and the CPU seconds of `tar -xJf` into a fresh folder and `sync -f`."""
    folder.mkdir()
    (folder / "archive.tar.xz").write_bytes(data)
    os.sync()
    started_s, before = time.perf_counter(), os.times()
    subprocess.run(["tar", "-xJf", folder / "archive.tar.xz", "-C", folder], check=True)
    subprocess.run(["sync", "-f", folder], check=True)
    after = os.times()
    cpu_s = (
        after.children_user - before.children_user + after.children_system - before.children_system
    )
    return time.perf_counter() - started_s, cpu_s


def seconds(times: list[tuple[float, float]]) -> dict[str, float]:
    """The medians of the wall-clock and of the CPU seconds."""
    return {
        "wall_s": round(statistics.median(wall for wall, _ in times), 3),
        "cpu_s": round(statistics.median(cpu for _, cpu in times), 3),
    }


def timed(action: object) -> float:
    """The seconds of the fastest of five calls."""
    assert callable(action)
    best_s = float("inf")
    for _ in range(5):
        started_s = time.perf_counter()
        action()
        best_s = min(best_s, time.perf_counter() - started_s)
    return best_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--kernels", type=int, default=100)
    parser.add_argument("--store", type=Path, help="where to make the store (it is removed again)")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="store-hundred-", dir=options.store))
    try:
        print(json.dumps(measure(archive_bytes(options.archive), options.kernels, place), indent=1))
    finally:
        shutil.rmtree(place)


def measure(archive: bytes, kernels: int, place: Path) -> dict[str, object]:
    """All figures."""
    store = Store.open(place / "store")
    times: list[tuple[float, float]] = []
    trees: list[int] = []
    everything: list[int] = []
    seen: set[int] = set()
    taken(store.root, seen, ("trees", "manifests", "archives"))
    hands = []
    for number, data in enumerate(variants(archive, kernels)):
        if number < 3:
            hands.append(by_hand(data, place / f"hand{number}"))
        times.append(stage(store, data, number))
        trees.append(taken(store.root, seen, ("trees", "manifests")))
        everything.append(trees[-1] + taken(store.root, seen, ("archives",)))
    started_s = time.perf_counter()
    verified = verify(store)
    verify_s = time.perf_counter() - started_s
    assert verified.is_sound
    key = store.records()[0].identity
    started_s = time.perf_counter()
    usage = Usage.of(store)
    counted_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    dry = collect(store, Policy(max_kernels=kernels // 2), dry_run=True)
    return {
        "kernels": kernels,
        "first_tree_mb": round(trees[0] / 1e6, 2),
        "further_tree_mb": round(statistics.mean(trees[1:]) / 1e6, 2),
        "further_tree_percent": round(100 * statistics.mean(trees[1:]) / trees[0], 1),
        "further_with_archive_mb": round(statistics.mean(everything[1:]) / 1e6, 2),
        "tar_and_sync": seconds(hands),
        "staging_first": seconds(times[:1]),
        "staging_further": seconds(times[1:]),
        "staging_last_ten": seconds(times[-10:]),
        "store_mb": round(usage.total_bytes / 1e6, 1),
        "sizes_first_s": round(counted_s, 2),
        "sizes_ms": round(1000 * timed(lambda: Usage.of(store)), 2),
        "list_ms": round(1000 * timed(store.records), 2),
        "open_and_find_ms": round(
            1000 * timed(lambda: Store.open(store.root).find(key, "device-0")), 3
        ),
        "resolve_release_ms": round(1000 * timed(lambda: store.resolve(key.release)), 2),
        "verify_all_s": round(verify_s, 2),
        "gc_dry_run_s": round(time.perf_counter() - started_s, 2),
        "gc_would_free_mb": round(dry.freed_bytes / 1e6, 1),
    }


if __name__ == "__main__":
    main()
