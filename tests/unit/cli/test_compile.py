"""``cflags``, ``env``, ``compile``, ``compdb``: the program itself, on a store without any device."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kheaders_adb.model import Check, CheckStatus, Level, Verdict
from kheaders_adb.store import Store
from tests.unit.ebpf.conftest import absent
from tests.unit.ebpf.conftest import clang as clang_fixture
from tests.unit.ebpf.trees import PROGRAM, tree_files
from tests.unit.store.helpers import identity, pack, record, stage
from tests.wire.faults import wait_until

clang = clang_fixture
TOOL = Path(sys.executable).with_name("kheaders-adb")
NASTY = 'a store\'s "own" $HOME'


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Tool:
    """The program on one store, in one folder."""

    store: Path
    folder: Path

    def __call__(self, *arguments: str | Path, **environ: str) -> Ran:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANDROID", "ADB")) and name != "CLANG"
        }
        done = subprocess.run(
            [TOOL, *arguments],
            cwd=self.folder,
            env=kept | {"KHEADERS_ADB_STORE": str(self.store)} | environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr)


def add(
    root: Path, number: int, arch: str, *, level: Level = Level.EXACT, staged_at: float = 1000.0
) -> Path:
    store = Store.open(root)
    files: dict[str, bytes | str] = {
        name: text.encode() for name, text in tree_files(arch, version=(6, number)).items()
    }
    archive, tree = stage(store, pack(files))
    entry = record(
        identity(number, release=f"6.{number}.0-mini"), archive, tree, staged_at=staged_at
    )
    if level is not Level.EXACT:
        check = Check("config", CheckStatus.DIFFER, "FOO=y", "FOO is not set")
        entry = replace(entry, verdict=Verdict(level, (check,)))
    store.record(entry)
    return store.tree_path(tree)


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """The program with two kernels in its store: 6.1 of x86_64, and 6.2 of arm64, staged last."""
    root = tmp_path / NASTY / "store"
    add(root, 1, "x86_64", staged_at=1000.0)
    add(root, 2, "arm64", staged_at=2000.0)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "prog.bpf.c").write_text(PROGRAM)
    return Tool(root, folder)


def test_cflags_in_every_format(tool: Tool) -> None:
    flags = json.loads(tool("cflags", "6.1.0-mini", "--format", "json").out)
    assert "-D__TARGET_ARCH_x86" in flags
    shell = tool("cflags", "6.1.0-mini")
    assert shlex.split(shell.out) == flags
    assert shell.out.count("\n") == 1
    made = tool("cflags", "6.1.0-mini", "--format", "make").out
    assert shlex.split(made.replace("$$", "$")) == flags
    assert "$$HOME" in made
    document = json.loads(tool("cflags", "--json").out)
    assert document["schema"] == 1
    assert "-D__TARGET_ARCH_arm64" in document["flags"], "latest is the default"


def test_cflags_of_the_bpf_stage(tool: Tool) -> None:
    out = tool("cflags", "--stage", "bpf", "--cpu", "v3", "-O1").out
    assert out == "-target bpf -O1 -mcpu=v3 -Wno-override-module -x ir\n"


def test_a_stamp_has_the_flags_and_nothing_is_printed(tool: Tool) -> None:
    done = tool("cflags", "6.1.0-mini", "--stamp", "front.flags")
    assert (done.code, done.out) == (0, "")
    stamp = tool.folder / "front.flags"
    flags = tool("cflags", "6.1.0-mini", "--json", "--stamp", stamp)
    document = json.loads(flags.out)
    assert (document["stamp"], document["changed"]) == (str(stamp), False)
    assert shlex.split(stamp.read_text()) == document["flags"]
    assert json.loads(tool("cflags", "--json", "--stamp", stamp).out)["changed"]


def name_file(tool: Tool, name: str) -> Path:
    files = (tool.store / "names").glob("*.json")
    (found,) = (path for path in files if json.loads(path.read_bytes())["name"] == name)
    # Anything else is something else to make: a colon, a percent sign.
    assert re.fullmatch("[0-9a-f]+.json", found.name)
    return found


def meanwhile(tool: Tool, clang: Path) -> dict[str, str]:
    """Variables for a clang that takes its time, in which another kernel comes."""
    code = (
        "import pathlib, tests.unit.cli.test_compile as t; "
        f"t.add(pathlib.Path({str(tool.store)!r}), 3, 'arm64', staged_at=3e3)"
    )
    slow = tool.folder / "slow-clang"
    slow.write_text(f'#!/bin/sh\n{sys.executable} -c {shlex.quote(code)}\nexec {clang} "$@"\n')
    slow.chmod(0o755)
    root = str(Path(__file__).parents[3])
    return {"CLANG": str(slow), "PYTHONPATH": root}


def test_an_object_of_a_run_that_failed_is_out_of_date_too(tool: Tool, clang: Path) -> None:
    (tool.folder / "bad.c").write_text("nonsense\n")
    words = ("compile", "prog.bpf.c", "bad.c", "-j1", "-MD")
    assert tool(*words, **meanwhile(tool, clang)).code == 9
    changed = name_file(tool, "latest")
    assert changed.stat().st_mtime_ns > (tool.folder / "prog.bpf.o").stat().st_mtime_ns


def test_dependencies_list_what_changes_with_the_kernel(tool: Tool, clang: Path) -> None:
    project = tool.folder / ".kheaders.toml"
    project.write_text('defines = ["A"]\n')
    for kernel in (["--kernel", "6.1"], []):
        assert tool("compile", "prog.bpf.c", *kernel, "-MD", CLANG=str(clang)).code == 0
        listed = (tool.folder / "prog.bpf.d").read_text().replace("\\ ", " ").replace("$$", "$")
        for path in (name_file(tool, kernel[-1] if kernel else "latest"), project):
            assert path.is_file()
            assert f" {path}" in listed
    project.unlink()
    assert tool("compile", "prog.bpf.c", "-MD", "-MP", CLANG=str(clang)).code == 0
    assert ".kheaders.toml" not in (tool.folder / "prog.bpf.d").read_text()


def test_what_was_compiled_while_another_kernel_came_is_out_of_date(
    tool: Tool, clang: Path
) -> None:
    assert tool("compile", "prog.bpf.c", "-MD", **meanwhile(tool, clang)).code == 0
    changed = name_file(tool, "latest")
    assert changed.stat().st_mtime_ns > (tool.folder / "prog.bpf.o").stat().st_mtime_ns


def test_unquoted_flags_suffice_for_a_plain_store(clang: Path, tmp_path: Path) -> None:
    """`clang $(kheaders-adb cflags)` without eval, as with pkg-config."""
    add(tmp_path / "store", 1, "x86_64")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "prog.bpf.c").write_text(PROGRAM)
    tool = Tool(tmp_path / "store", folder)
    assert not set(tool("cflags").out) & set("'\"\\$")
    script = (
        f"{clang} $({TOOL} cflags) -c prog.bpf.c -o prog.bc && "
        f"{clang} $({TOOL} cflags --stage bpf) -c prog.bc -o prog.o"
    )
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env={**os.environ, "KHEADERS_ADB_STORE": str(tool.store)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr.count(b"kheaders-adb: using 6.1.0-mini (") == done.stderr.count(b"\n") == 2
    assert (folder / "prog.o").read_bytes()[:4] == b"\x7fELF"


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish"])
def test_eval_of_env(shell: str, tool: Tool) -> None:
    if shutil.which(shell) is None:
        absent(f"{shell} is not installed")
    tree = tool("path", "6.1.0-mini").out.rstrip("\n")
    assert all(character in tree for character in "' \"$")
    done = subprocess.run(
        [
            shell,
            "-c",
            f'eval "$({TOOL} env 6.1.0-mini)"; printenv KHEADERS_DIR KHEADERS_ARCH',
        ],
        env={**os.environ, "KHEADERS_ADB_STORE": str(tool.store)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{tree}\nx86\n"
    assert done.returncode == 0


def test_env_says_when_the_host_is_of_another_architecture(tool: Tool) -> None:
    said = {name: tool("env", name).err for name in ("6.1.0-mini", "6.2.0-mini")}
    assert sum("cannot compile with them" in text for text in said.values()) >= 1
    fish = tool("env", "--shell", "fish").out
    assert fish.startswith("set -gx KHEADERS_DIR '")


@pytest.mark.parametrize(
    "arguments", [["cflags"], ["cflags", "--stage", "bpf"], ["path"], ["env"]], ids=" ".join
)
def test_neither_sockets_nor_adbutils(arguments: list[str], tool: Tool) -> None:
    code = (
        "import sys, json\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, _: opened.append(event) if event[:7] == 'socket.' else None)\n"
        "from kheaders_adb.cli.main import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n"
        "    print(json.dumps([ended.code, opened, sorted(sys.modules)]), file=sys.stderr)\n"
    )
    # Measuring coverage imports what is looked for here.
    environ = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ, "KHEADERS_ADB_STORE": str(tool.store), "ANDROID_SERIAL": "no-device"},
        capture_output=True,
        text=True,
        check=False,
    )
    exit_code, opened, loaded = json.loads(done.stderr.splitlines()[-1])
    assert (exit_code, opened) == (0, [])
    assert not {"adbutils", "socket", "concurrent.futures"} & set(loaded)
    assert not {
        name for name in loaded if name.startswith(("kheaders_adb.device", "kheaders_adb.cli.pull"))
    }


def test_compile_beside_the_source(clang: Path, tool: Tool) -> None:
    done = tool("compile", "prog.bpf.c", "--kernel", "latest", "-q", CLANG=str(clang))
    assert (done.code, done.out, done.err) == (0, "", "")
    assert {path.name for path in tool.folder.iterdir()} == {"prog.bpf.c", "prog.bpf.o"}


def test_compile_with_everything(clang: Path, tool: Tool) -> None:
    (tool.folder / "inc").mkdir()
    (tool.folder / "inc/mine.h").write_text('_Static_assert(A == 1 && B == 2 && C == 3, "");\n')
    for name in ("one", "two"):
        (tool.folder / f"{name}.c").write_text("#include <mine.h>\n#warning hello\n" + PROGRAM)
    (tool.folder / "out").mkdir()
    done = tool(
        *("compile", "--kernel", "6.1.0-mini", "one.c", "two.c", "-o", "out", "-j2", "-MD"),
        *("-DA=1", "-D", "B=2", "-Iinc", "-O1", "--cpu", "v3", "-g0", "--json", "-q"),
        *("--", "-DC=3", "-Wno-#warnings"),
        CLANG=str(clang),
    )
    assert done.code == 0, done.err
    assert done.err == "", "-Wno-#warnings after -- reached clang"
    assert sorted(path.name for path in (tool.folder / "out").iterdir()) == [
        "one.d",
        "one.o",
        "two.d",
        "two.o",
    ]
    assert json.loads(done.out)["objects"] == ["out/one.o", "out/two.o"]
    assert b".BTF" not in (tool.folder / "out/one.o").read_bytes()
    assert (tool.folder / "out/one.d").read_text().startswith("out/one.o: one.c")


SAYING = {
    "compile": ("compile", "prog.bpf.c", "--kernel"),
    "compdb": ("compdb", "prog.bpf.c", "--kernel"),
    "cflags": ("cflags",),
    "env": ("env",),
}
"""Each command that says whose headers it uses, up to the kernel's name."""


@pytest.mark.parametrize("command", SAYING)
def test_whose_headers_are_used_is_said(command: str, clang: Path, tool: Tool) -> None:
    words = SAYING[command]
    done = tool(*words, "6.1.0-mini", CLANG=str(clang))
    key = json.loads(tool("path", "6.1.0-mini", "--json").out)["kernel"]["key"]
    line = f"kheaders-adb: using 6.1.0-mini ({key[:12]}, x86_64, exact) of device-1\n"
    assert (done.code, done.err.count(line)) == (0, 1)
    assert "using" not in done.out
    assert "using" not in tool(*words, "6.1.0-mini", "-q", CLANG=str(clang)).err
    done = tool(*words, "6.1.0-mini", "--json", CLANG=str(clang))
    document = json.loads(done.out)
    assert line in done.err
    assert (document["serial"], document["arch"]) == ("device-1", "x86_64")
    assert (document["kernel"]["key"], document["kernel"]["release"]) == (key, "6.1.0-mini")
    assert document["verdict"]["level"] == "exact"
    assert document["tree"] + "\n" == tool("path", "6.1.0-mini").out


@pytest.mark.parametrize("command", SAYING)
def test_of_several_kernels_one_should_be_named(command: str, clang: Path, tool: Tool) -> None:
    words = SAYING[command]
    unnamed = [word for word in words if word != "--kernel"]
    warning = "kheaders-adb: warning: 2 kernels are staged and none is named: using 6.2.0-mini ("
    for quiet in ((), ("-q",)):
        assert warning in tool(*unnamed, *quiet, CLANG=str(clang)).err
    named = tool(*words, "latest", CLANG=str(clang)).err
    assert "kheaders-adb: using 6.2.0-mini (" in named
    assert "none is named" not in named
    assert tool("remove", "6.1.0-mini").code == 0
    assert "none is named" not in tool(*unnamed, CLANG=str(clang)).err


def test_what_clang_says_is_in_the_document_too(clang: Path, tool: Tool) -> None:
    (tool.folder / "bad.c").write_text("#warning hello\nint broken(void) { return nothing; }\n")
    failed = tool("compile", "bad.c", "--kernel", "6.1.0-mini", "--json", CLANG=str(clang))
    document = json.loads(failed.out)
    assert (failed.code, document["error"]["kind"]) == (9, "compile")
    assert document["kernel"]["release"] == "6.1.0-mini"
    assert [(each["file"], each["line"], each["severity"]) for each in document["diagnostics"]] == [
        ("bad.c", 1, "warning"),
        ("bad.c", 2, "error"),
    ]
    assert "nothing" in document["diagnostics"][1]["message"]
    assert "bad.c:2:27: error: use of undeclared identifier 'nothing'" in failed.err
    done = tool("compile", "prog.bpf.c", "--kernel", "6.1.0-mini", "--json", CLANG=str(clang))
    assert json.loads(done.out)["diagnostics"] == []


def test_a_failing_program(clang: Path, tool: Tool) -> None:
    (tool.folder / "bad.c").write_text("int broken(void) { return nothing; }\n")
    done = tool("compile", "bad.c", CLANG=str(clang))
    assert done.code == 9
    assert "bad.c:1:27: error: use of undeclared identifier 'nothing'" in done.err
    assert "kheaders-adb: error: compiling bad.c: clang failed (1)" in done.err
    assert not (tool.folder / "bad.o").exists()


def test_no_clang(tool: Tool) -> None:
    done = tool("compile", "prog.bpf.c", CLANG="no-such-clang")
    assert done.code == 9
    assert "no-such-clang is not an executable file" in done.err
    assert "apt install clang" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compile", "no.c"], "no.c does not exist"),
        (["compile", "prog.bpf.c", "-o", "prog.bpf.c"], "would replace its source"),
        (["compile", "prog.bpf.c", "prog.bpf.c", "-o", "x.o"], "is not a folder"),
        (["compile", "prog.bpf.c", "-O0"], "-O0 is not a level"),
        (["compile", "prog.bpf.c", "--kernel", "9.9"], "no staged kernel is called '9.9'"),
        (["compile", "prog.bpf.c", "-s", "X", "--kernel", "latest"], "exclude each other"),
        (["compile", "prog.bpf.c", "--libbpf", "."], "looking for libbpf's headers"),
        (["compile"], "Missing argument"),
        (["compile", "--", "-DX"], "Missing argument"),
        (["compdb", "no.c"], "no.c does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(arguments: list[str], message: str, clang: Path, tool: Tool) -> None:
    done = tool(*arguments, CLANG=str(clang))
    assert done.code == 2
    assert message in done.err


def test_a_mismatched_tree_warns_every_time(clang: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    add(root, 1, "x86_64", level=Level.MISMATCH)
    (tmp_path / "prog.c").write_text(PROGRAM)
    tool = Tool(root, tmp_path)
    for arguments in (["cflags"], ["env"], ["path"], ["compile", "prog.c"], ["compdb", "prog.c"]):
        for _ in range(2):
            done = tool(*arguments, CLANG=str(clang))
            assert done.code == 0, done.err
            assert "do NOT belong to this kernel (config differ)" in done.err


def test_compdb_keeps_what_others_wrote(clang: Path, tool: Tool) -> None:
    database = tool.folder / "compile_commands.json"
    foreign = {"directory": "/x", "file": "main.c", "command": "cc -c main.c"}
    database.write_text(json.dumps([foreign]))
    assert tool("compdb", "prog.bpf.c", "-DX=1", "--", "-Wextra", CLANG=str(clang)).code == 0
    assert tool("compdb", "prog.bpf.c", "-DX=2", CLANG=str(clang)).code == 0
    first, second = json.loads(database.read_text())
    assert first == foreign
    assert second["file"] == str(tool.folder / "prog.bpf.c")
    assert second["directory"] == str(tool.folder)
    assert "-DX=2" in second["arguments"]
    assert "-Wextra" not in second["arguments"]
    database.write_text("[oops")
    broken = tool("compdb", "prog.bpf.c", CLANG=str(clang))
    assert broken.code == 2
    assert "left as it is" in broken.err
    assert database.read_text() == "[oops"


def test_a_tree_is_not_removed_while_it_is_compiled_against(tool: Tool, tmp_path: Path) -> None:
    started, go_on = tmp_path / "started", tmp_path / "go-on"
    slow = tmp_path / "clang"
    slow.write_text(
        f"#!/bin/sh\ntouch '{started}'\nwhile ! [ -e '{go_on}' ]; do sleep 0.05; done\nexit 1\n"
    )
    slow.chmod(0o755)
    compiling = subprocess.Popen(
        [TOOL, "compile", "--kernel", "6.1.0-mini", "prog.bpf.c"],
        cwd=tool.folder,
        env={**os.environ, "KHEADERS_ADB_STORE": str(tool.store), "CLANG": str(slow)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        refused = tool("remove", "6.1.0-mini")
    finally:
        go_on.touch()
        compiling.wait(60)
    assert refused.code == 8, refused.err
    assert tool("remove", "6.1.0-mini").code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("count", [1, 5])
def test_a_signal_ends_each_clang_and_leaves_nothing(
    tmp_path: Path, tool: Tool, number: signal.Signals, count: int
) -> None:
    """Sent to the program alone, not to the terminal's whole group: also with one in a thread of its own."""
    slow = tmp_path / "clang"
    slow.write_text(f"#!/bin/sh\necho $$ >>{tmp_path}/started\nexec sleep 120\n")
    slow.chmod(0o755)
    names = [f"prog{index}.c" for index in range(count)]
    for name in names:
        (tool.folder / name).write_text(PROGRAM)
    before = sorted(tool.folder.iterdir())
    process = subprocess.Popen(
        [TOOL, "compile", "-j2", "--json", "-q", "--kernel", "latest", *names],
        cwd=tool.folder,
        env=os.environ | {"KHEADERS_ADB_STORE": str(tool.store), "CLANG": str(slow)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    at_once = 2 * min(count, 2)

    def started() -> list[str]:
        file = tmp_path / "started"
        return file.read_text().split() if file.exists() else []

    try:
        assert wait_until(lambda: len(started()) == at_once)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert err == "kheaders-adb: interrupted\n"
    assert json.loads(out)["error"]["kind"] == "interrupted"
    assert sorted(tool.folder.iterdir()) == before
    assert len(started()) == at_once, "no other was begun"
    assert not [pid for pid in started() if Path(f"/proc/{pid}").exists()]
