"""The command line's edges: what users of adb, clang, docker and git type, and what is said of mistakes."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.cli.words import flags_of_clang, with_left_out
from kheaders_adb.errors import UsageError
from kheaders_adb.store import Store
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_compile import TOOL, Tool, add
from tests.unit.cli.test_compile import tool as tool_fixture
from tests.unit.ebpf.conftest import clang as clang_fixture
from tests.unit.golden import check_golden

tool, clang = tool_fixture, clang_fixture
EDGES = """\
path 6.1.0-minu
path 6.
path 9.9
path @SERIAL
ls --json
rm 6.1.0-minu
prune
help nonsense
pull -s A -s B
pull -s A -d
pull --jsn
compile .
compile absent.c
compile -
compile prog.bpf.c -U FOO
compile -include x.h prog.bpf.c -o y.o
compile -c prog.bpf.c
compile -Q prog.bpf.c
compile -emit-llvm prog.bpf.c
compile prog.bpf.c -save-temps
compile -target bpf prog.bpf.c
compile prog.bpf.c -fpack-struct -Wall
compile prog.bpf.c -Wp,-o,x
compile -Wall absent.c
compile prog.bpf.c prog.bpf.c -o -
compile prog.bpf.c -MD -o -
compile prog.bpf.c --json -o -
compile prog.bpf.c -o absent/prog.o
export --tree -o -
export --json -o -
export --config --json -o -
compdb prog.bpf.c -o -
cflags --stamp -
pull --log-json --refresh
pull -s --json
export -o --tree
compile prog.bpf.c -MMD
compile prog.bpf.c prog.bpf.c -o out/
compile prog.bpf.c -- -E
compile prog.bpf.c -- -o x
"""


def test_what_is_said_at_each_edge(tool: Tool) -> None:
    told = []
    for line in EDGES.splitlines():
        done = tool(*line.split(), CLANG="/bin/false")
        told.append(f"$ kheaders-adb {line}\n{done.err}{done.code}\n")
        assert done.out == "" or "--json" in line, line
    check_golden("edges.txt", "\n".join(told).replace(str(tool.store), "STORE"))


@pytest.mark.parametrize("words", [("path", "6.1.0-minu"), ("path", "6.")])
def test_programs_get_the_kernels_that_may_be_meant(run: Run, store_path: Path, words: str) -> None:
    for number in (1, 2):
        add(store_path, number, "x86_64")
    error = run(*words, "--json").document["error"]
    assert error["kind"] == "usage"
    assert {found["release"] for found in error["candidates"]} == {"6.1.0-mini", "6.2.0-mini"}
    assert {len(found["key"]) for found in error["candidates"]} == {64}
    assert "candidates" not in run("path", "@X", "--json").document["error"]


def test_a_long_list_of_kernels_is_cut(run: Run, store_path: Path) -> None:
    for number in range(10):
        add(store_path, number, "x86_64")
    said = run("path", "nothing").err
    assert said.count("-mini") == 8
    assert "\n    and 2 more: see `kheaders-adb list`\n" in said


def test_a_release_with_a_line_break_makes_no_row(run: Run, store_path: Path) -> None:
    add(store_path, 1, "x86_64")
    store = Store.open(store_path)
    (record,) = store.records()
    evil = replace(record.identity, release="6.1\n    forged  row")
    store.record(replace(record, identity=evil))
    said = run("path", "nothing").err
    assert "6.1\\n    forged  row" in said


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("pull --wait 5", "pull --wait=5"),
        ("pull --wait .5 -q", "pull --wait=.5 -q"),
        ("pull --wait", "pull --wait=60"),
        ("compile --wait prog.c", "compile --wait=60 prog.c"),
        ("pull --wait -s 5", "pull --wait=60 -s 5"),
        ("pull --wait=7 5", "pull --wait=7 5"),
        ("--install-completion 5", "--install-completion= 5"),
    ],
)
def test_a_number_after_wait_is_its_value(given: str, meant: str) -> None:
    values = {"--wait": "60", "--install-completion": ""}
    assert with_left_out(given.split(), values) == meant.split()


OPTIONS = {"-s": True, "-o": True, "-D": True, "-O": True, "-g": False, "-g0": False, "-MD": False}


@pytest.mark.parametrize(
    ("given", "ours", "clangs"),
    [
        ("prog.c -Wall", "prog.c", "-Wall"),
        ("-Werror=format -Wno-c++-compat x.c", "x.c", "-Werror=format -Wno-c++-compat"),
        ("-std=gnu11 -fno-builtin x.c -w", "x.c", "-std=gnu11 -fno-builtin -w"),
        ("-o -Wall x.c", "-o -Wall x.c", ""),
        ("-s -std=x x.c", "-s -std=x x.c", ""),
        ("-sX -DA=1 -O3 -g0 -MD --json x.c", "-sX -DA=1 -O3 -g0 -MD --json x.c", ""),
        ("-", "-", ""),
    ],
)
def test_flags_that_can_only_be_clangs_are(given: str, ours: str, clangs: str) -> None:
    found = flags_of_clang(given.split(), OPTIONS, "kheaders-adb compile")
    assert found == (ours.split(), clangs.split())


@pytest.mark.parametrize("flag", ["-U X", "-include a.h", "-m32", "-Xclang -x", "-nostdinc"])
def test_the_command_that_is_advised_is_the_one_that_was_meant(flag: str) -> None:
    with pytest.raises(UsageError) as caught:
        flags_of_clang(["a b.c", *flag.split(), "-g"], OPTIONS, "kheaders-adb compile")
    advised = shlex.split(str(caught.value.hint).split("`")[1])
    assert advised == ["kheaders-adb", "compile", "a b.c", "-g", "--", *flag.split()]


def test_warnings_of_clang_before_the_dashes(clang: Path, tool: Tool) -> None:
    (tool.folder / "warned.c").write_text("static int unused;\n")
    words = ("compile", "warned.c", "--kernel", "6.1.0-mini", "-Wunused-variable")
    done = tool(*words, CLANG=str(clang))
    assert (done.code, "unused variable" in done.err) == (0, True), done.err
    assert tool(*words, "-Werror", CLANG=str(clang)).code == 9
    assert "unused" not in tool(*words, "--", "-Wno-unused-variable", CLANG=str(clang)).err


Bytes = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def piped(tool: Tool, clang: Path) -> Bytes:
    def run(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
        environ = {**os.environ, "KHEADERS_ADB_STORE": str(tool.store), "CLANG": str(clang)}
        return subprocess.run(
            [TOOL, *words],
            cwd=tool.folder,
            env=environ,
            check=False,
            timeout=120,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    return run


def test_an_object_on_stdout(piped: Bytes, tool: Tool) -> None:
    words = ("compile", "prog.bpf.c", "--kernel", "6.1.0-mini")
    assert piped(*words, "-o", "prog.o").returncode == 0
    done = piped(*words, "-o", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tool.folder / "prog.o").read_bytes()
    assert {path.name for path in tool.folder.iterdir()} == {"prog.bpf.c", "prog.o"}
    (tool.folder / "bad.c").write_text("nonsense\n")
    failed = piped("compile", "bad.c", "--kernel", "6.1.0-mini", "-o", "-")
    assert (failed.returncode, failed.stdout) == (9, b"")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_by_its_other_names(piped: Bytes, name: str) -> None:
    words = ("compile", "prog.bpf.c", "--kernel", "6.1.0-mini", "-o")
    assert piped(*words, name).stdout == piped(*words, "-").stdout != b""


def test_an_object_into_a_pipe_of_the_shells(clang: Path, tool: Tool) -> None:
    command = f"{shlex.quote(str(TOOL))} compile prog.bpf.c --kernel 6.1.0-mini -o >(cat >copy)"
    subprocess.run(
        ["bash", "-c", f"{command}; status=$?; wait; sleep 0.2; exit $status"],
        cwd=tool.folder,
        env={**os.environ, "KHEADERS_ADB_STORE": str(tool.store), "CLANG": str(clang)},
        check=True,
    )
    assert tool("compile", "prog.bpf.c", "--kernel", "6.1.0-mini", CLANG=str(clang)).code == 0
    assert (tool.folder / "copy").read_bytes() == (tool.folder / "prog.bpf.o").read_bytes()


def test_what_makes_no_code_leaves_the_object_as_it_is(clang: Path, tool: Tool) -> None:
    words = ("compile", "prog.bpf.c", "--kernel", "6.1.0-mini")
    assert tool(*words, CLANG=str(clang)).code == 0
    made = (tool.folder / "prog.bpf.o").read_bytes()
    for flags, code in ((["-fsyntax-only"], 2), (["-Wp,-fsyntax-only"], 9)):
        done = tool(*words, "--", *flags, CLANG=str(clang))
        assert done.code == code, done.err
    assert "made nothing of it" in done.err
    assert (tool.folder / "prog.bpf.o").read_bytes() == made


@pytest.mark.parametrize("line", ['defines = ["A=1 -fplugin=x.so"]', 'include_dirs = ["a -Ib"]'])
def test_a_projects_words_become_no_flags_in_a_shell(tool: Tool, line: str) -> None:
    (tool.folder / ".kheaders.toml").write_text(line)
    done = tool("cflags", "latest")
    assert (done.code, done.out) == (2, "")
    assert "holds a blank" in done.err
    assert tool("cflags", "latest", "--format", "make").code == 0
    assert tool("cflags", "latest", "--stamp", "flags").code == 0
    assert tool("cflags", "latest", "--stage", "bpf").code == 0


def test_an_archive_on_stdout(piped: Bytes, tool: Tool) -> None:
    assert piped("export", "6.1.0-mini", "-o", "a.tar.xz").returncode == 0
    done = piped("export", "6.1.0-mini", "-o", "-")
    assert (done.returncode, done.stdout) == (0, (tool.folder / "a.tar.xz").read_bytes())


def test_neither_on_a_terminal(piped: Bytes) -> None:
    ours, theirs = pty.openpty()
    try:
        for words in (("export", "latest", "-o", "-"), ("compile", "prog.bpf.c", "-o", "-")):
            done = piped(*words, stdout=theirs)
            assert done.returncode == 2
            assert b"is not for a terminal" in done.stderr
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_stdout_that_is_full(piped: Bytes) -> None:
    with Path("/dev/full").open("wb") as full:
        for words in (("export", "latest", "-o", "-"), ("path",), ("env", "--json"), ("list",)):
            done = piped(*words, stdout=full.fileno())
            assert done.returncode == 8, words
            assert b"stdout cannot be written: No space left on device" in done.stderr
            assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["list", "path", "cflags", "export -o kept", "store size"])
def test_streams_that_are_closed(tool: Tool, closed: str, words: str) -> None:
    command = f"{shlex.quote(str(TOOL))} {words} {closed}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tool.folder,
        env={**os.environ, "KHEADERS_ADB_STORE": str(tool.store)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    writes = words != "export -o kept"
    assert done.returncode == (8 if ">&-" in closed.split() and writes else 0), done.stderr


def test_other_names_of_commands(run: Run, store_path: Path) -> None:
    add(store_path, 1, "x86_64")
    assert run("ls") == run("list")
    assert run("help") == run("--help")
    assert run("help", "pull") == run("pull", "--help")
    assert run("help", "help") == run("--help")
    assert run("help", "store", "dir") == run("store", "dir", "--help")
    assert run("rm", "6.1").code == 0
    assert Store.open(store_path).records() == []
