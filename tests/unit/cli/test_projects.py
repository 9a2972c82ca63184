"""What a project's ``.kheaders.toml`` means to the commands for compiling."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.test_compile import SAYING, Tool, clang, tool
from tests.unit.ebpf.trees import PROGRAM
from tests.wire.kernel import Kernel
from tests.wire.server import Server

__all__ = ["clang", "tool"]

FILE = ".kheaders.toml"


def write(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / FILE
    path.write_text("\n".join(lines))
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("command", SAYING)
def test_a_project_names_the_kernel_and_is_named(command: str, clang: Path, tool: Tool) -> None:
    file = write(tool.folder, "kernel = '6.1.0-mini'")
    unnamed = [word for word in SAYING[command] if word != "--kernel"]
    done = tool(*unnamed, "--json", CLANG=str(clang))
    document = json.loads(done.out)
    assert document["kernel"]["release"] == "6.1.0-mini"
    assert document["project_file"] == str(file)
    assert "using 6.1.0-mini (" in done.err
    assert "none is named" not in done.err
    assert str(file) not in done.err
    line = f"kheaders-adb: project file {file}\n"
    assert line in tool(*unnamed, "-v", CLANG=str(clang)).err
    named = tool(*SAYING[command], "6.2.0-mini", CLANG=str(clang))
    assert "using 6.2.0-mini (" in named.err, "who names a kernel gets that one"
    file.unlink()
    assert json.loads(tool(*unnamed, "--json", CLANG=str(clang)).out)["project_file"] is None


def test_its_macros_and_folders_reach_the_compiler(clang: Path, tool: Tool, tmp_path: Path) -> None:
    """From the folder of the program upward, wherever the command is run; a flag wins."""
    write(
        tool.folder,
        "kernel = '6.1.0-mini'",
        "defines = ['A=1', 'B=1']",
        "include_dirs = ['inc']",
    )
    (tool.folder / "inc").mkdir()
    (tool.folder / "inc/mine.h").write_text('_Static_assert(A == 1 && B == 2, "");\n')
    source = tool.folder / "src/prog.c"
    source.parent.mkdir()
    source.write_text("#include <mine.h>\n" + PROGRAM)
    elsewhere = Tool(tool.store, tmp_path)
    done = elsewhere("compile", str(source), "-D", "B=2", CLANG=str(clang))
    assert (done.code, done.err.count("\n")) == (0, 1), done.err
    assert elsewhere("compile", str(source), CLANG=str(clang)).code == 9
    assert elsewhere("compdb", str(source), "-DB=2", CLANG=str(clang)).code == 0
    (entry,) = json.loads((tmp_path / "compile_commands.json").read_text())
    for flags in (entry["arguments"], shlex.split(Tool(tool.store, source.parent)("cflags").out)):
        assert f"-I{tool.folder}/inc" in flags
        assert "-DA=1" in flags
    assert "-DB=2" in entry["arguments"]
    assert "-DB=1" not in entry["arguments"]


def test_what_may_not_be_said_or_believed(clang: Path, tool: Tool) -> None:
    file = write(tool.folder, "clang = './evil'")
    for command in SAYING.values():
        done = tool(*command, "latest", CLANG=str(clang))
        assert done.code == 2
        assert f"{file}: it may not set 'clang'" in done.err
    file.chmod(0o666)
    done = tool("cflags", "latest")
    assert done.code == 0
    assert done.err.count(f"kheaders-adb: warning: {file} is ignored: others may write to it") == 1


def test_sources_of_two_projects(clang: Path, tool: Tool) -> None:
    for name in ("one", "two"):
        write(tool.folder / name)
        (tool.folder / name / "prog.c").write_text(PROGRAM)
    for command in ("compile", "compdb"):
        done = tool(command, "one/prog.c", "two/prog.c", CLANG=str(clang))
        assert done.code == 2
        assert "the sources are of several projects: " in done.err
        assert str(tool.folder / "two" / FILE) in done.err


@pytest.fixture
def two(
    run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Two devices, pulled from, ONE before TWO; the folder is a project of ONE's."""
    monkeypatch.chdir(tmp_path)
    keys = {}
    for serial, kernel in (
        ("ONE", Kernel(headers=2)),
        ("TWO", Kernel(headers=2, release="6.6.1-x")),
    ):
        server.add_device(serial, kernel=kernel)
        keys[serial] = run("pull", "-s", serial, "--json").document["kernel"]["key"]
    write(tmp_path, "kernel = '@ONE'")
    (tmp_path / "prog.c").write_text("")
    return keys


def test_a_device_of_a_project_is_not_woken(run: Run, server: Server, two: dict[str, Any]) -> None:
    server.log.clear()
    for words in (("cflags",), ("env",), ("compile", "prog.c"), ("compdb", "prog.c")):
        done = run(*words)
        assert "using " in done.err or done.code == 9, "there need be no clang"
        assert "of TWO" not in done.err
    document = run("cflags", "--json").document
    assert (document["serial"], document["kernel"]["key"]) == ("ONE", two["ONE"])
    assert server.log == []


def test_a_device_that_the_user_names_wins(
    run: Run, two: dict[str, Any], monkeypatch: pytest.MonkeyPatch, clang: Path
) -> None:
    monkeypatch.setenv("CLANG", str(clang))
    assert run("compdb", "prog.c", "--json").document["kernel"]["key"] == two["ONE"]
    assert run("compdb", "prog.c", "-s", "TWO", "--json").document["kernel"]["key"] == two["TWO"]
    monkeypatch.setenv("ANDROID_SERIAL", "TWO")
    assert run("compdb", "prog.c", "--json").document["kernel"]["key"] == two["TWO"]


def test_a_device_of_a_project_that_nobody_knows(run: Run, two: dict[str, Any]) -> None:
    file = write(Path.cwd(), "kernel = '@THREE'")
    done = run("cflags")
    assert done.code == 2
    assert "no kernel is staged for the device 'THREE'" in done.err
    assert f"  note: {file} names this kernel\n" in done.err
    assert run("cflags", "@ONE").code == 0
