"""Kills, full and failing disks, and crowds.  `KHEADERS_LONG=1` runs ten times as many."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.errors import StoreError
from kheaders_adb.store import Store
from tests.conftest import SCALE
from tests.unit.store.helpers import (
    digest_of_folder,
    files_of,
    headers,
    litter,
    packed,
    pull,
    stage,
)

_REPOSITORY = Path(__file__).resolve().parents[3]


def run(*arguments: object, preload: Path | None = None) -> dict[str, Any]:
    """What `tests.unit.store.crash` saw."""
    environment = dict(os.environ)
    if preload is not None:
        environment["LD_PRELOAD"] = str(preload)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.unit.store.crash", *map(str, arguments)],
        cwd=_REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250 * SCALE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stderr)  # what children died of
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets system calls fail."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("failing system calls need Linux and a C compiler (apt install gcc libc6-dev)")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"],
        check=True,
    )
    return library


@pytest.mark.timeout(300 * SCALE)
def test_sigkill_at_any_time_leaves_whole_trees_and_no_litter(tmp_path: Path) -> None:
    seen = run("kill", tmp_path / "store", 100 * SCALE)
    print(seen)
    assert seen["killed"] == 100 * SCALE
    assert seen["litter"] > 0, "the kills came too late to prove anything"


@pytest.mark.timeout(300 * SCALE)
def test_a_disk_that_fails_at_any_point_leaves_the_store_as_it_was(
    tmp_path: Path, shim: Path
) -> None:
    seen = run("fail", tmp_path / "store", shim, 36 * SCALE, preload=shim)
    print(seen)
    assert seen["points"] >= 30
    assert seen["ENOSPC exit 8"] == seen["EIO exit 8"] == seen["points"]


def test_without_hard_links_trees_are_copies_and_say_so(tmp_path: Path, shim: Path) -> None:
    seen = run("links", tmp_path / "store", shim, preload=shim)
    assert seen == {
        "EPERM": "Operation not permitted",
        "EXDEV": "Invalid cross-device link",
        "ENOTSUP": "Operation not supported",
        "EMLINK": None,
    }


@pytest.mark.timeout(300 * SCALE)
def test_sixteen_processes_extract_each_archive_once_while_gc_runs(tmp_path: Path) -> None:
    seen = run("crowd", tmp_path / "store", 16, 20 * SCALE, 4, "kind")
    print(seen)
    assert seen["exit_codes"] == {"0": 16}
    assert seen["gc_exit_code"] == 0
    assert seen["gc_rounds"] > 0
    assert seen["extractions"] == seen["trees"] == 4


@pytest.mark.timeout(300 * SCALE)
def test_a_gc_that_removes_all_it_can_takes_no_tree_from_a_running_pull(tmp_path: Path) -> None:
    seen = run("crowd", tmp_path / "store", 16, 20 * SCALE, 4, "aggressive")
    print(seen)
    assert seen["exit_codes"] == {"0": 16}
    assert seen["gc_exit_code"] == 0
    assert seen["extractions"] >= 4


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        store = Store.open(place / "store")
        pull(store, 0)
        before = digest_of_folder(store.root)
        with pytest.raises(
            StoreError, match=r"No space left on device \(\d+\.\d MB free"
        ) as caught:
            pull(store, 1, data=packed(1, 800))
        assert caught.value.exit_code == 8
        assert caught.value.hint is not None
        assert "--store" in caught.value.hint
        assert digest_of_folder(store.root) == before
        assert litter(store) == []
        pull(store, 2, variant=2)
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_store_that_may_only_be_read(tmp_path: Path) -> None:
    place = tmp_path / "frozen"
    place.mkdir()
    made = pull(Store.open(place / "store"), 0)
    mounted = subprocess.run(
        ["mount", "--bind", "-o", "ro", place, place], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a folder cannot be mounted read-only: {mounted.stderr.strip()}")
    try:
        store = Store.open(place / "store")
        found = store.find(made.identity, "device-2")
        assert found is not None
        assert files_of(store.tree_path(found.tree)) == headers()
        assert store.resolve("latest").key == made.key
        with pytest.raises(StoreError, match="Read-only file system") as caught:
            stage(store, packed(1))
        assert "--store" in (caught.value.hint or "")
        with pytest.raises(StoreError, match="Read-only file system"):
            store.record(made)
        with pytest.raises(StoreError, match="Read-only file system"):
            store.pin(made.key)
        with pytest.raises(StoreError, match="Read-only file system"):
            Store.open(place / "another")
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_store_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    made = pull(Store.open(tmp_path / "store"), 0)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tests.unit.store.helpers import identity, packed, stage\n"
        "from kheaders_adb.errors import StoreError; from kheaders_adb.store import Store\n"
        "import kheaders_adb.store.staging, kheaders_adb.archive.reader\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "assert store.find(identity(0), 'device-9').key == sys.argv[2]\n"
        "try: stage(store, packed(1))\n"
        "except StoreError as error: assert error.hint and 'writable' in error.hint, error.hint\n"
        "else: raise SystemExit('it could write')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "store", made.key],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


_STAGE = """
import sys
from pathlib import Path
from kheaders_adb.store import Store
from tests.unit.store.helpers import pull
pull(Store.open(Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory, shim: Path) -> list[tuple[str, str, str]]:
    """What a process did on the way to the disk that stages one kernel: (call, path, new path), in order."""
    folder = tmp_path_factory.mktemp("order")
    Store.open(folder / "store")
    trace = folder / "trace"
    subprocess.run(
        [sys.executable, "-c", _STAGE, folder / "store"],
        cwd=_REPOSITORY,
        env={**os.environ, "LD_PRELOAD": str(shim), "FAULT_TRACE": str(trace)},
        check=True,
        timeout=60,
    )
    found = []
    for line in trace.read_text().splitlines():
        call, _, rest = line.partition(" ")
        path, _, new = rest.replace(f"{folder}/store/", "").partition("\t")
        found.append((call, path, new))
    return found


def where(calls: list[tuple[str, str, str]], call: str, path: str = "", new: str = "") -> list[int]:
    """The places of the calls whose paths begin so."""
    return [
        at
        for at, found in enumerate(calls)
        if found[0] == call and found[1].startswith(path) and found[2].startswith(new)
    ]


FOLDERS = ("archives", "manifests", "trees")


def test_all_of_a_tree_is_on_the_disk_before_any_of_it_is_in_its_place(
    calls: list[tuple[str, str, str]],
) -> None:
    (synced,) = where(calls, "syncfs", "tmp/")
    draft = calls[synced][1]
    written = where(calls, "write", f"{draft}/")
    assert {calls[at][1].removeprefix(f"{draft}/").split("/")[0] for at in written} == {
        *("archive", "manifest", "tree")
    }
    renamed = [where(calls, "rename", draft, f"{folder}/") for folder in FOLDERS]
    assert max(written) < synced < min(map(min, renamed))
    assert all(len(places) == 1 for places in renamed)
    assert renamed == sorted(renamed), (
        "the tree comes last: that it is there says that all of it is"
    )


def test_a_publication_is_on_the_disk_before_a_record_names_it(
    calls: list[tuple[str, str, str]],
) -> None:
    (recorded,) = where(calls, "rename", "tmp/", "kernels/")
    for folder in FOLDERS:
        (renamed,) = where(calls, "rename", "tmp/", f"{folder}/")
        after = [at for at in where(calls, "fsync", folder) if calls[at][1] == folder]
        assert any(renamed < at < recorded for at in after), folder


@pytest.mark.parametrize("folder", ["kernels", "devices"])
def test_a_record_is_on_the_disk_before_it_replaces_another(
    calls: list[tuple[str, str, str]], folder: str
) -> None:
    (renamed,) = where(calls, "rename", "tmp/", f"{folder}/")
    draft = calls[renamed][1]
    synced = where(calls, "fsync", draft)
    assert synced
    assert max(where(calls, "write", draft)) < synced[-1] < renamed


def test_a_publication_has_the_store_to_itself(calls: list[tuple[str, str, str]]) -> None:
    (renamed,) = where(calls, "rename", "tmp/", "trees/")
    taken = [at for at in where(calls, "exclusive", "locks/store") if at < renamed]
    shared = [at for at in where(calls, "shared", "locks/store") if at < renamed]
    assert taken
    assert max(taken) > max(shared, default=-1)
