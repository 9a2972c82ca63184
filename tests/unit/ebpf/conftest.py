"""What the tests of compiling need: clangs, libbpf's headers, trees."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kheaders_adb.ebpf.headers import HeaderTree, read_tree
from kheaders_adb.ebpf.libbpf import find_libbpf
from kheaders_adb.errors import CompileError
from tests.unit.ebpf.trees import write_tree

CLANGS = (14, 16, 19)


def absent(reason: str) -> None:
    """Skip for want of a program; where all of them should be there, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def clang() -> Path:
    """A clang that makes BPF objects."""
    from kheaders_adb.ebpf.clang import diagnose, find_clang

    try:
        found = find_clang(os.environ.get("CLANG"))
    except CompileError as error:
        absent(f"{error}: {error.hint}")
        raise
    if wrong := diagnose(found):
        absent(str(wrong))
    return found


@pytest.fixture(scope="session", params=CLANGS, ids=lambda major: f"clang-{major}")
def each_clang(request: pytest.FixtureRequest) -> Path:
    """Every clang that the project promises to work with, one after the other."""
    found = shutil.which(f"clang-{request.param}")
    if found is None:
        absent(f"clang-{request.param} is not installed")
    assert found is not None
    return Path(found)


@pytest.fixture(scope="session")
def libbpf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libbpf's headers, alone in a folder."""
    found = find_libbpf(None, lambda: tmp_path_factory.mktemp("cache"))
    if found is None:
        absent("libbpf's headers are not installed (Debian: libbpf-dev)")
    assert found is not None
    return found


@pytest.fixture
def tree(tmp_path: Path) -> HeaderTree:
    """A small tree of x86_64."""
    return read_tree(write_tree(tmp_path / "tree"))


@pytest.fixture
def program(name: str) -> str:
    """The path of a program that a test needs."""
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not installed")
    assert found is not None
    return found


MakeTree = Callable[..., HeaderTree]


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """Make a small tree of an architecture; arguments as for write_tree."""
    count = 0

    def make(arch: str = "x86_64", **more: object) -> HeaderTree:
        nonlocal count
        count += 1
        return read_tree(write_tree(tmp_path / f"tree{count}", arch, **more))  # type: ignore[arg-type]

    return make
