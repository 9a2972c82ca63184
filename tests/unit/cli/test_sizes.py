"""``list``, ``store``, ``doctor``, ``gc`` and ``remove`` tell one size, that of `du`."""

from __future__ import annotations

from pathlib import Path

import pytest

from kheaders_adb.cli.render import size_text
from kheaders_adb.store import KernelRecord, Store
from tests.unit.cli.conftest import Done, Run
from tests.unit.golden import check_golden
from tests.unit.store.helpers import packed, pull
from tests.unit.store.test_usage import du


@pytest.fixture
def made(store_path: Path) -> list[KernelRecord]:
    """Two kernels whose trees share most of their files."""
    store = Store.open(store_path)
    return [
        pull(store, number, data=packed(number, 400), staged_at=1000.0 + number)
        for number in range(2)
    ]


def test_the_same_size_everywhere(run: Run, made: list[KernelRecord], store_path: Path) -> None:
    document = run("list", "--json").document
    sizes = [kernel["disk_bytes"] for kernel in document["kernels"]]
    assert document["disk_bytes"] == du(store_path) < sum(sizes)
    assert all(kernel["content_bytes"] for kernel in document["kernels"])
    assert run("show", "--json").document["disk_bytes"] == sizes[0]
    size = run("store", "size", "--json").document
    assert size == {"schema": 1, "store": str(store_path), "disk_bytes": du(store_path)}
    text = size_text(du(store_path))
    assert run("store", "size") == Done(0, f"{text}\n", "")
    assert run("list").err == f"2 kernels, {text} on the disk\n"
    assert f"ok    store       {store_path}: writable, takes {text}, " in run("doctor").out
    for kernel, line in zip(sizes, run("list").out.splitlines()[1:], strict=True):
        assert size_text(kernel) in line


def test_what_removing_gives_back(run: Run, made: list[KernelRecord], store_path: Path) -> None:
    assert run("list").code == 0  # what is remembered goes as well
    before = du(store_path)
    done = run("remove", made[0].key)
    freed = size_text(before - du(store_path))
    assert done == Done(0, "", f"removed 6.1.0 ({made[0].key[:12]}): {freed} freed\n")
    before = du(store_path)
    document = run("remove", made[1].key, "--json").document
    assert document == {
        "schema": 1,
        "removed": [made[1].key],
        "freed_bytes": before - du(store_path),
    }
    assert run("list").out == ""


def test_what_gc_gives_back(run: Run, made: list[KernelRecord], store_path: Path) -> None:
    foretold = run("gc", "--max-kernels", "1", "--dry-run")
    before = du(store_path)
    done = run("gc", "--max-kernels", "1")
    freed = size_text(before - du(store_path))
    assert done.err == f"removed 1 kernel, 1 tree: {freed} freed; left: 1 kernel\n"
    assert (
        foretold.err == f"would remove 1 kernel, 1 tree: {freed} would be freed; left: 1 kernel\n"
    )
    before = du(store_path)
    document = run("gc", "--max-size", "1", "--json").document
    assert document["freed_bytes"] == before - du(store_path)
    assert document["removed"] == [made[1].key]


def test_where_the_store_is(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("store", "dir") == Done(0, f"{store_path}\n", "")
    assert run("store", "dir", "--json").document == {"schema": 1, "store": str(store_path)}
    monkeypatch.chdir(tmp_path)
    for words in (("--store", "rel", "store", "dir"), ("store", "dir", "--store", "rel")):
        assert run(*words).out == f"{tmp_path / 'rel'}\n"
    monkeypatch.delenv("KHEADERS_ADB_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run("store", "dir").out == f"{tmp_path / 'cache' / 'kheaders-adb'}\n"
    assert run("store", "size") == Done(0, "0 bytes\n", "")
    assert list(tmp_path.iterdir()) == [], "asking makes no store"
    assert not store_path.exists()


def test_mistakes_after_store(run: Run) -> None:
    text = ""
    for words in (("store",), ("store", "siez"), ("store", "dir", "more"), ("store", "size", "-s")):
        done = run(*words)
        assert (done.code, done.out) == (2, "")
        text += f"$ kheaders-adb {' '.join(words)}\n{done.err}"
    check_golden("store-mistakes.txt", text)
