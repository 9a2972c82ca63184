"""Options that name one thing, given twice; and devices that are named where none is asked."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer.main

from kheaders_adb.cli.app import COMMANDS, app
from kheaders_adb.cli.once import NOUNS, names_one
from tests.unit.archive.helpers import SMALL
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_compile import add
from tests.unit.golden import check_golden
from tests.wire.server import Server

#: What says how and where something is done: what an alias gives may be given anew; the last one counts.
ANEW = {
    *("wait_s", "timeout_s", "via", "privilege", "optimize", "cpu", "jobs", "stage", "form"),
    *("host", "port", "socket", "store", "libbpf", "su_command", "log_json"),
    *("shell", "max_age", "max_size", "max_kernels", "keep_latest", "header"),
}
TWICE = """\
pull -t 1 -t 2
-s A pull -s B
pull -s A -s B -s A
compile a.c --kernel latest --kernel 6.1
compile a.c -o a.o --output b.o
export -o a -o b
pull --module a --module b
import a --config b --config c
-s A path
-d cflags
-t 1 export -o a
pull --wait=nan
pull --wait=-1
"""


@pytest.mark.usefixtures("server")
def test_what_names_two_things_is_refused(run: Run) -> None:
    told = []
    for line in TWICE.splitlines():
        done = run(*shlex.split(line))
        assert (done.code, done.out) == (2, ""), line
        told.append(f"$ kheaders-adb {line}\n{done.err}")
    check_golden("once.txt", "\n".join(told))


def test_each_option_with_a_value_is_known_to_name_one_thing_or_to_be_given_anew() -> None:
    """A new one has to be decided on."""
    program = typer.main.get_command(app)
    commands = [program.get_command(None, name) for name in COMMANDS]  # type: ignore[attr-defined]
    commands += [inner for group in commands for inner in getattr(group, "commands", {}).values()]
    found = {param.name for command in commands for param in command.params if names_one(param)}
    assert found == NOUNS.keys() | ANEW


def test_the_same_twice_and_what_may_be_given_anew(
    run: Run, server: Server, tmp_path: Path
) -> None:
    server.add_device("ONE")
    done = run("-s", "ONE", "devices", "--timeout", "0", "--timeout", "5", "-s", "ONE")
    assert (done.code, done.err) == (0, "")
    for words in (("store", "dir", "--store", "x"), ("--store", "x", "store", "dir")):
        assert run(*words, "--store", tmp_path).out == f"{tmp_path}\n"


def test_a_device_is_no_matter_to_what_lists_all(run: Run) -> None:
    assert run("-s", "ONE", "list").code == 0


def test_a_serial_that_is_empty_is_none_of_those_staged(run: Run, store_path: Path) -> None:
    """A variable that is not set must not turn `compile -s "$PHONE"` into one for any kernel."""
    add(store_path, 1, "x86_64")
    done = run("compile", __file__, "-s", "")
    assert (done.code, "the serial is empty" in done.err) == (2, True), done.err


@pytest.mark.usefixtures("server")
def test_a_transport_id_of_zero_is_one(run: Run) -> None:
    """adb's begin at 1: it is refused by the server, and is not passed over in silence."""
    done = run("import", "-t", "0", SMALL)
    assert (done.code, "transport id 0 was asked for" in done.err) == (3, True), done.err
