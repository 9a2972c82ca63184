"""The snippets of docs/compiling.md, run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kheaders_adb.store import Store
from tests.unit.ebpf.conftest import absent
from tests.unit.ebpf.trees import PROGRAM, tree_files
from tests.unit.store.helpers import identity, pack, record, stage

DOCUMENT = Path(__file__).parents[3] / "docs" / "compiling.md"
TOOL = Path(sys.executable).with_name("kheaders-adb")


def snippet(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    assert isinstance(found, str)
    return found


@pytest.fixture(params=["store", 'a "store\'s" $x'])
def project(request: pytest.FixtureRequest, clang: Path, tmp_path: Path) -> Path:
    """A folder with a program, a header of its own, and an environment in which the tool is found."""
    root = tmp_path / request.param
    store = Store.open(root)
    archive, tree = stage(store, pack({name: text.encode() for name, text in tree_files().items()}))
    store.record(record(identity(), archive, tree))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "own.h").write_text("#define OWN 1\n")
    (folder / "prog.bpf.c").write_text('#include "own.h"\nint own = OWN;\n' + PROGRAM)
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setenv("PATH", f"{TOOL.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KHEADERS_ADB_STORE", str(root))
    monkeypatch.setenv("CLANG", str(clang))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    return folder


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def edit(header: Path) -> None:
    """Change a header, so late that make sees it by the clock."""
    old = header.stat()
    header.write_text("#define OWN 2\n")
    os.utime(header, (old.st_atime + 100, old.st_mtime + 100))


def test_the_makefile(project: Path) -> None:
    if shutil.which("make") is None:
        absent("make is not installed")
    (project / "Makefile").write_text(snippet("makefile"))
    run("make", cwd=project)
    made = (project / "prog.bpf.o").read_bytes()
    assert made[:4] == b"\x7fELF"
    assert "Nothing to be done" in run("make", cwd=project)
    edit(project / "own.h")
    run("make", cwd=project)
    assert (project / "prog.bpf.o").read_bytes() != made


def test_cmake(project: Path) -> None:
    if shutil.which("cmake") is None:
        absent("cmake is not installed")
    (project / "CMakeLists.txt").write_text(snippet("cmake"))
    run("cmake", "-S", ".", "-B", "build dir", cwd=project)
    run("cmake", "--build", "build dir", cwd=project)
    target = project / "build dir" / "prog.bpf.o"
    made = target.read_bytes()
    assert made[:4] == b"\x7fELF"
    edit(project / "own.h")
    run("cmake", "--build", "build dir", cwd=project)
    assert target.read_bytes() != made


def test_every_shim_is_described() -> None:
    from kheaders_adb.ebpf.flags import SHIMS

    described = set(re.findall(r"^\| `(\w+\.h)` \|", DOCUMENT.read_text(), re.M))
    assert described == {path.name for path in SHIMS.iterdir()}
