"""Every path that a user can give, wrong in every way: said in words, without traceback or waiting."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from kheaders_adb.cli.app import COMMANDS, app
from kheaders_adb.untrusted.text import harmless
from tests.capabilities import as_anybody
from tests.unit.archive.helpers import SMALL
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_compile import add
from tests.wire.devices import Headers
from tests.wire.server import Server

BEYOND_BYTES = 1 << 40


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prog.c").write_text("int x;\n")


def closed(name: Path) -> None:
    """In a folder that may not be entered."""
    name.mkdir()
    (name / "file").touch()
    name.chmod(0)


def unreadable(name: Path) -> None:
    name.touch()
    name.chmod(0)


def folder(name: Path) -> None:
    name.mkdir()


def file(name: Path) -> None:
    name.write_text("int x;\n")


def pipe(name: Path) -> None:
    os.mkfifo(name)


def a_socket(name: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(name))


def device(name: Path) -> None:
    name.symlink_to("/dev/zero")


def circle(name: Path) -> None:
    name.symlink_to(name.name)


def dangling(name: Path) -> None:
    name.symlink_to("nothing")


def huge(name: Path) -> None:
    with name.open("wb") as made:
        made.truncate(BEYOND_BYTES)


def nothing(name: Path) -> None:
    assert str(name) not in os.listdir()  # noqa: PTH208  (whatever its length)


def there(name: Path) -> None:
    assert name.is_dir()


#: By the name that is given, what is made of the first part of it.
BAD: dict[str, Callable[[Path], None]] = {
    "closed/file": closed,
    "unreadable": unreadable,
    "folder": folder,
    "pipe": pipe,
    "socket": a_socket,
    "device": device,
    "circle": circle,
    "dangling": dangling,
    "absent": nothing,
    "file/below": file,
    "long" * 100: nothing,
    os.fsdecode(b"not-\xff-utf8"): nothing,
    "control-\x1b[2J": nothing,
    ".": there,
    "/": there,
    "huge": huge,
    "": there,
    "n\0l": lambda name: None,
}
NO_FOLDER = frozenset(BAD) - {"folder", ".", "/"}
#: libbpf may be installed.
NO_LIBBPF = frozenset(BAD) - {"/"}
#: Of these clang makes what it can, within its bounds.
FOR_CLANG = frozenset(BAD) - {"huge"}
#: A compiler passes over folders that are not there.
MAY_BE_ABSENT = {"absent", "dangling", os.fsdecode(b"not-\xff-utf8"), "control-\x1b[2J"}
#: What is there may be replaced, but for a folder; a pipe or a device is written to.
UNWRITABLE = {"closed/file", "circle", "file/below", "long" * 100, "", "n\0l"}
#: Nothing is replaced, and so only a new name will do.
TAKEN = frozenset(BAD) - MAY_BE_ABSENT | {"dangling"}

#: Each place where a path is given, and by which names it must be refused.
PLACES: dict[str, frozenset[str] | set[str]] = {
    "compile {}": FOR_CLANG,
    "compile prog.c {}": FOR_CLANG,
    "compdb {}": FOR_CLANG - {"unreadable"},
    "import {}": frozenset(BAD),
    f"import {SMALL} --config {{}}": frozenset(BAD),
    "pull --module {}": NO_FOLDER,
    "push --module {}": NO_FOLDER,
    "compile -s X1 --module {} prog.c": NO_FOLDER,
    "compdb -s X1 --module {} prog.c": NO_FOLDER,
    "compile -I {} prog.c": NO_FOLDER - MAY_BE_ABSENT,
    "compdb -I {} prog.c": NO_FOLDER - MAY_BE_ABSENT,
    "compile --libbpf {} prog.c": NO_LIBBPF,
    "compdb --libbpf {} prog.c": NO_LIBBPF,
    "cflags --libbpf {}": NO_LIBBPF,
    "compile prog.c -o {}": UNWRITABLE,
    "compile prog.c -o {}/prog.o": NO_FOLDER - {""},
    "compdb prog.c -o {}": frozenset(BAD) - MAY_BE_ABSENT,
    "export -o {}": TAKEN,
    "export -o {}/x": NO_FOLDER - {""},
    "export --tree -o {}": TAKEN - {"folder"},
    "list --store {}": {"", "n\0l"},
}
CASES = [(command, name) for command, names in PLACES.items() for name in sorted(names)]


def given(command: str, name: str) -> list[str]:
    """The command's words, with the bad path made and in its place."""
    first = name if name in (".", "/") else name.split("/")[0]
    if "\0" not in first:
        BAD[name](Path(first))
    return [word.replace("{}", name) for word in command.split()]


@pytest.mark.parametrize(("command", "name"), CASES, ids=lambda text: text[:40])
def test_a_bad_path_is_a_mistake_of_usage_that_is_explained(
    run: Run, store_path: Path, command: str, name: str
) -> None:
    add(store_path, 1, "x86_64")
    words = given(command, name)
    with as_anybody():
        done = run(*words, "--json")
    assert done.code == 2, done.err
    assert done.err.startswith("kheaders-adb: error: ")
    assert harmless(name[:20]) in done.err
    assert "hint: " in done.err
    assert "Traceback" not in done.err
    assert done.document["error"]["kind"] == "usage"


@pytest.mark.parametrize("name", sorted(set(BAD) - {"", "n\0l", "absent", "folder"}), ids=str)
def test_a_store_that_can_be_none(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    given("", name)
    # Else it would be made there.
    (tmp_path / "stranger").touch()
    place = "/dev" if name == "/" else name
    with as_anybody():
        done = run("list", "--store", place)
        monkeypatch.setenv("KHEADERS_ADB_STORE", place)
        same = run("list")
    if name in MAY_BE_ABSENT - {"dangling"}:
        assert (done.code, same.code) == (0, 0)
        return
    assert done.code == 8
    assert "Traceback" not in done.err
    assert "hint: " in done.err
    assert same == done


@pytest.mark.parametrize(
    "command",
    ["compile -", "compdb -", "import -", f"import {SMALL} --config -", "pull --module -"],
)
def test_stdin_is_not_read(run: Run, command: str) -> None:
    done = run(*command.split())
    assert done.code == 2
    assert ": - would be stdin, which is not read here\n" in done.err


def test_a_file_that_is_called_dash_is_given_with_its_folder(run: Run, store_path: Path) -> None:
    add(store_path, 1, "x86_64")
    done = run("export", "-o", "./-")
    assert (done.code, done.out) == (0, "")
    assert Path("./-").stat().st_size > 0
    assert run("import", "./-", "--store", "elsewhere").code == 0


@pytest.mark.parametrize("command", ["compile prog.c -o absent/", "compdb prog.c -o absent/"])
def test_a_folder_that_is_not_there_becomes_no_file(run: Run, command: str) -> None:
    done = run(*command.split())
    assert (done.code, "--output: there is no folder absent/\n" in done.err) == (2, True)
    assert not Path("absent").exists()


def test_each_path_of_each_command_is_refused_if_it_is_empty(run: Run) -> None:
    """No command forgets it: what takes a path is found by its type."""
    found = 0
    for name in COMMANDS:
        made = typer.main.get_command(app).get_command(None, name)  # type: ignore[attr-defined]
        for parameter in made.params:
            if (parameter.metavar or "").strip("…") not in (
                "DIR",
                "FILE",
                "FILE|DIR",
                "OUT",
                "SRC",
            ):
                continue
            if parameter.name in ("to", "root"):
                continue  # on the device
            found += 1
            option = parameter.opts if parameter.opts[0].startswith("-") else ()
            done = run(name, *option[:1], "")
            assert done.code == 2
            assert "the path is empty" in done.err, (name, parameter.name)
    assert found > 30


def test_a_folder_of_modules_says_what_could_not_be_looked_into(run: Run, server: Server) -> None:
    server.add_device("PHONE", headers=Headers.ABSENT)
    closed(Path("closed"))
    closed(Path("modules"))
    Path("modules").chmod(0o755)
    Path("modules/deep").mkdir(mode=0)
    pipe(Path("modules/kheaders.ko"))
    circle(Path("modules/other.ko"))
    with as_anybody():
        done = run("pull", "--module", "modules")
    assert done.code == 2
    assert "modules holds no usable kheaders.ko\n    modules/deep cannot be read: " in done.err
    assert "other.ko: modules/other.ko cannot be read: Too many levels" in done.err
    assert "modules/kheaders.ko" not in done.err


def test_a_folder_of_i_that_is_not_there_is_told_of(run: Run, store_path: Path) -> None:
    add(store_path, 1, "x86_64")
    done = run("compdb", "prog.c", "-I", "absent", "-I", ".")
    assert done.code == 0
    assert "warning: -I absent: there is no such folder\n" in done.err


def test_a_module_without_a_device_is_not_passed_over_in_silence(
    run: Run, store_path: Path
) -> None:
    add(store_path, 1, "x86_64")
    for words in ((), ("--kernel", "latest")):
        done = run("compile", "prog.c", "--module", ".", *words)
        assert done.code == 2
        assert "--module" in done.err


@pytest.mark.parametrize("name", ["n" * 255, os.fsdecode(b"not-\xff-utf8")], ids=["long", "bytes"])
def test_names_that_are_uncommon_and_right(run: Run, store_path: Path, name: str) -> None:
    add(store_path, 1, "x86_64")
    exported = run("export", "-o", name)
    assert exported.code == 0, exported.err
    assert Path(name).stat().st_size > 0
    Path(name).unlink()
    assert run("compdb", "prog.c", "-o", name).code == 0
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []
