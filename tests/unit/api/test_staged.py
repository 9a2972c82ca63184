"""What can be done with a `kheaders_adb.Staged`: what it takes, and that its tree may be gone by then."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kheaders_adb
from kheaders_adb.errors import CompileError, StoreError, UsageError
from kheaders_adb.store import Store
from kheaders_adb.store.upkeep import gc
from tests.unit.cli.test_compile import add
from tests.unit.ebpf.conftest import clang as clang_fixture
from tests.unit.ebpf.conftest import libbpf as libbpf_fixture
from tests.unit.ebpf.trees import PROGRAM

clang = clang_fixture
libbpf = libbpf_fixture


@pytest.fixture
def staged(store_path: Path) -> kheaders_adb.Staged:
    add(store_path, 1, "x86_64")
    return kheaders_adb.staged(store=store_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "prog.bpf.c"
    path.write_text(f'#include "own.h"\nint own = OWN + MORE;\n{PROGRAM}')
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "own.h").write_text("#define OWN 1\n")
    return path


def test_paths_may_be_text(
    staged: kheaders_adb.Staged, source: Path, clang: Path, libbpf: Path
) -> None:
    output = source.with_name("out.o")
    made = staged.compile(
        str(source),
        str(output),
        clang=str(clang),
        libbpf=str(libbpf),
        include_dirs=[str(source.parent / "include")],
        defines=["MORE=1"],
    )
    assert made == output
    assert output.read_bytes()[:4] == b"\x7fELF"
    assert staged.cflags(libbpf=str(libbpf)) == staged.cflags(libbpf=libbpf)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"source": 7}, "source: 7 is no path"),
        ({"source": "a\0b"}, r"source: 'a\x00b' is no path"),
        ({"source": "a\ud800"}, r"source: 'a\ud800' is no path"),
        ({"output": 7}, "output: 7 is no path"),
        ({"clang": 7}, "clang: 7 is no text"),
        ({"libbpf": 7}, "libbpf: 7 is no path"),
        ({"defines": 7}, "defines: 7 is no list"),
        ({"defines": "DEBUG"}, "defines: 'DEBUG' is no list"),
        ({"defines": ["A\0B"]}, r"defines: 'A\x00B' is no text"),
        ({"include_dirs": "include"}, "include_dirs: 'include' is no list"),
        ({"include_dirs": [7]}, "include_dirs: 7 is no path"),
        ({"extra": ["a\ud800"]}, r"extra: 'a\ud800' is no text"),
    ],
    ids=str,
)
def test_what_cannot_be_compiled_is_a_usage_error(
    staged: kheaders_adb.Staged, source: Path, clang: Path, arguments: dict[str, Any], said: str
) -> None:
    given: dict[str, Any] = {"source": source, "clang": str(clang)} | arguments
    with pytest.raises(UsageError, match=re.escape(said)):
        staged.compile(**given)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"libbpf": 7}, "libbpf: 7 is no path"),
        ({"optimize": 2}, "optimize: 2 is no text"),
        ({"stage": "bpf", "cpu": 2}, "cpu: 2 is no text"),
    ],
    ids=str,
)
def test_flags_that_make_no_sense_are_a_usage_error(
    staged: kheaders_adb.Staged, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        staged.cflags(**arguments)


def test_a_kernel_that_is_removed_meanwhile(
    staged: kheaders_adb.Staged, store_path: Path, source: Path, clang: Path
) -> None:
    gc.remove(Store.open(store_path), staged.kernel.key)
    with pytest.raises(StoreError, match=f"no kernel {staged.kernel.key} is staged in"):
        staged.compile(source, clang=str(clang))
    for use in (staged.cflags, staged.environment):
        with pytest.raises(StoreError, match=f"{staged.tree} is not there"):
            use()


def test_its_own_tree_is_kept_where_another_was_staged_since(
    staged: kheaders_adb.Staged, store_path: Path, tmp_path: Path, clang: Path
) -> None:
    add(store_path, 2, "arm64")
    store = Store.open(store_path)
    store.record(replace(store.resolve("6.2"), identity=staged.kernel))
    kept: list[bool] = []

    def collect(_: bytes) -> None:
        gc.collect(store, gc.Policy(grace_s=0))
        kept.append(staged.tree.is_dir())

    source = tmp_path / "prog.bpf.c"
    source.write_text(f"#warning said while it is compiled\n{PROGRAM}")
    staged.compile(source, clang=str(clang), on_diagnostics=collect)
    assert kept
    assert all(kept)
    collect(b"")
    assert not kept[-1]
    with pytest.raises(StoreError, match=f"{staged.tree} is not there"):
        staged.compile(source, clang=str(clang))


def test_a_tree_that_is_not_whole(staged: kheaders_adb.Staged, source: Path, clang: Path) -> None:
    (staged.tree / "include/linux/kconfig.h").unlink()
    with pytest.raises(StoreError, match=r"it lacks include/linux/kconfig\.h") as raised:
        staged.compile(source, clang=str(clang))
    assert f"verify --repair {staged.kernel.key[:12]}" in str(raised.value.hint)


def test_what_clang_says_comes_with_the_error(
    staged: kheaders_adb.Staged, source: Path, clang: Path
) -> None:
    with pytest.raises(CompileError) as raised:
        staged.compile(source, clang=str(clang))
    assert "'own.h' file not found" in raised.value.__notes__[0]
