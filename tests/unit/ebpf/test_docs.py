"""The snippets of docs/compiling.md, run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.upkeep import gc
from tests.unit.ebpf.conftest import absent
from tests.unit.ebpf.trees import PROGRAM, tree_files
from tests.unit.store.helpers import identity, pack, record, stage

DOCUMENT = Path(__file__).parents[3] / "docs" / "compiling.md"
TOOL = Path(sys.executable).with_name("kheaders-adb")

# The build systems, each with what it is written down in, the steps before the first build, and the build.
CMAKE = (("cmake", "-S", ".", "-B", "build dir"), ("cmake", "--build", "build dir"))
SYSTEMS = {
    "make": ("makefile", "Makefile", (), ("make",)),
    "cmake": ("cmake", "CMakeLists.txt", (CMAKE[0],), CMAKE[1]),
    "cmake with ninja": ("cmake", "CMakeLists.txt", ((*CMAKE[0], "-G", "Ninja"),), CMAKE[1]),
    "meson": (
        "meson",
        "meson.build",
        (("meson", "setup", "build dir"),),
        ("ninja", "-C", "build dir"),
    ),
    "ninja": ("ninja", "build.ninja", (), ("ninja",)),
}


def snippet(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    assert isinstance(found, str)
    return found


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a program, a header of its own, and an environment in which the tool is found."""

    folder: Path
    store: Store

    def pull(self, number: int, pid_at: int) -> KernelRecord:
        """As a pull of a kernel where task_struct's pid is at this offset, a multiple of 8."""
        files = tree_files()
        text = files["include/linux/sched.h"]
        files["include/linux/sched.h"] = text.replace(
            "u32 flags;", f"u32 flags; char x[{pid_at - 12}];"
        )
        archive, tree = stage(self.store, pack({name: files[name].encode() for name in files}))
        # The one after is pulled later.
        made = record(identity(number), archive, tree, staged_at=1000.0 + number)
        self.store.record(made)
        return made

    def run(self, *command: str) -> None:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def made(self) -> Path:
        (found,) = self.folder.rglob("prog.bpf.o")
        return found

    def pid_at(self) -> int:
        """Where the object reads task_struct's pid."""
        with self.made().open("rb") as file:
            data = ELFFile(file).get_section_by_name(".data")
            assert data is not None
            return int.from_bytes(data.data()[:4], "little")


@pytest.fixture
def project(
    store_name: str, clang: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    root = tmp_path / store_name
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "own.h").write_text("#define OWN 1\n")
    (folder / "prog.bpf.c").write_text(
        f'#include "own.h"\n{PROGRAM}\n'
        "int at = __builtin_offsetof(struct task_struct, pid);\nint own = OWN;\n"
    )
    monkeypatch.setenv("PATH", f"{TOOL.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KHEADERS_ADB_STORE", str(root))
    monkeypatch.setenv("CLANG", str(clang))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    return Project(folder, Store.open(root))


def begin(project: Project, system: str) -> Sequence[str]:
    """Write the recipe down; returns the command that builds."""
    language, file, before, build = SYSTEMS[system]
    for program in {command[0] for command in (*before, build)} | set(system.split()[2:]):
        if shutil.which(program) is None:
            absent(f"{program} is not installed")
    (project.folder / file).write_text(snippet(language))
    for command in before:
        project.run(*command)
    return build


def edit(header: Path) -> None:
    """Change a header, so late that make sees it by the clock."""
    old = header.stat()
    header.write_text("#define OWN 2\n")
    os.utime(header, (old.st_atime + 100, old.st_mtime + 100))


@pytest.mark.parametrize(
    ("system", "store_name"),
    [
        *((system, "store") for system in SYSTEMS),
        *((system, 'a "store\'s" $x') for system in ("make", "cmake")),
        # ninja knows no quotes in lists of dependencies, and builds anew each time.
        ("ninja", "a store $x"),
    ],
)
def test_a_recipe_builds_anew_for_another_kernel_and_for_nothing_else(
    system: str, project: Project
) -> None:
    first = project.pull(1, 120)
    build = begin(project, system)
    project.run(*build)
    assert project.made().read_bytes()[:4] == b"\x7fELF"
    assert project.pid_at() == 120
    second = project.pull(2, 216)
    project.run(*build)
    assert project.pid_at() == 216
    before = project.made().stat()
    project.run(*build)
    assert project.made().stat() == before, "nothing was to be done"
    # What it was built with is gone, and with it every header on the list.
    gc.remove(project.store, second.key)
    project.run(*build)
    assert project.pid_at() == 120
    third = project.pull(3, 320)
    gc.remove(project.store, first.key)
    project.run(*build)
    assert project.pid_at() == 320
    edit(project.folder / "own.h")
    before = project.made().stat()
    project.run(*build)
    assert project.made().stat() != before
    assert third.key == project.store.resolve("latest").key


def test_every_shim_is_described() -> None:
    from kheaders_adb.ebpf.flags import SHIMS

    described = set(re.findall(r"^\| `(\w+\.h)` \|", DOCUMENT.read_text(), re.M))
    assert described == {path.name for path in SHIMS.iterdir()}
