"""The process of a command: closed and full descriptors, signals, and one JSON object whatever happens."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Done, Run
from tests.unit.store.helpers import pull as stage

FULL = Path("/dev/full")
full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
PROGRAM = [sys.executable, "-m", "kheaders_adb"]


@pytest.fixture
def tree(store_path: Path) -> str:
    """A staged tree, which `path` prints."""
    from kheaders_adb.store import Store

    store = Store.open(store_path)
    return str(store.tree_path(stage(store, 0).tree))


def ran(*arguments: str, closed: tuple[int, ...] = (), **streams: Any) -> Done:
    """The program in a process of its own, some descriptors closed."""

    def close() -> None:
        for fd in closed:
            os.close(fd)

    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(
        [*PROGRAM, *arguments], **(options | streams), preexec_fn=close, text=True, timeout=60
    )
    return Done(done.returncode, done.stdout or "", done.stderr or "")


# --- descriptors


@pytest.mark.parametrize(
    ("closed", "code"),
    [((0,), 0), ((2,), 0), ((0, 2), 0), ((1,), 8), ((0, 1), 8), ((1, 2), 8), ((0, 1, 2), 8)],
)
def test_closed_descriptors(tree: str, closed: tuple[int, ...], code: int) -> None:
    """A result that cannot be printed is an error; messages that cannot be are not."""
    done = ran("path", closed=closed)
    assert done.code == code
    assert done.out == ("" if 1 in closed else f"{tree}\n")
    said = "kheaders-adb: error: stdout cannot be written: Bad file descriptor\n"
    assert done.err == (said if code and 2 not in closed else "")


def test_nothing_opened_later_gets_the_number_of_a_closed_descriptor(tmp_path: Path) -> None:
    """Or a message would go into it: a lock file, a record, a connection."""
    code = (
        "import os, sys\n"
        "from kheaders_adb.cli.process import occupy_descriptors\n"
        "occupy_descriptors()\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "print('said', file=sys.stderr)\n"
        "os.write(fd, b'%d' % fd)\n"
    )
    opened = tmp_path / "opened"
    subprocess.run(
        [sys.executable, "-c", code, opened],
        preexec_fn=lambda: os.closerange(0, 3),
        close_fds=False,
        check=True,
        timeout=60,
    )
    assert int(opened.read_text()) > 2


@full_disk
@pytest.mark.parametrize("arguments", [("path",), ("list", "--json"), ("--help",), ("--version",)])
@pytest.mark.usefixtures("tree")
def test_a_full_stdout_is_told(arguments: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        done = ran(*arguments, stdout=full)
    assert done == Done(
        8, "", "kheaders-adb: error: stdout cannot be written: No space left on device\n"
    )


@full_disk
def test_a_full_stderr_is_no_reason_to_fail(tree: str) -> None:
    with FULL.open("w") as full:
        assert ran("path", stderr=full) == Done(0, f"{tree}\n", "")
        assert ran("path", "no-such-kernel", stderr=full).code == 2


@pytest.mark.usefixtures("tree")
def test_a_reader_of_stdout_that_has_gone_is_told_in_one_line() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    said = "kheaders-adb: error: whoever read stdout has gone before all was written\n"
    for arguments in (("path",), ("list", "--json"), ("--help",)):
        assert ran(*arguments, stdout=writing) == Done(128 + signal.SIGPIPE, "", said)
    os.close(writing)


# --- signals


@contextmanager
def waiting(tmp_path: Path, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command that waits for an adb server which never answers; ends when the block does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent"))
        listener.listen()
        with subprocess.Popen(
            [*PROGRAM, *arguments, "-L", f"localfilesystem:{tmp_path / 'silent'}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        ) as process:
            listener.settimeout(60)
            connection, _ = listener.accept()
            with connection:
                connection.recv(4)
                yield process
                process.kill()


def ignoring(*numbers: int) -> Callable[[], None]:
    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    return ignore


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_in_json(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with waiting(tmp_path, "pull", "--json") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == "kheaders-adb: interrupted\n"
    assert json.loads(out) == {
        "schema": 1,
        "error": {
            "kind": "interrupted",
            "exit_code": code,
            "retryable": False,
            "device": None,
            "step": None,
            "seen": f"ended by {number.name}",
            "hint": None,
        },
    }


@pytest.mark.parametrize("ignored", [(signal.SIGHUP,), (signal.SIGHUP, signal.SIGINT)])
def test_what_is_ignored_at_the_start_stays_ignored(
    tmp_path: Path, ignored: tuple[signal.Signals, ...]
) -> None:
    """As by nohup, and by a shell that starts something in the background."""
    with waiting(tmp_path, "pull", "--json", preexec_fn=ignoring(*ignored)) as process:
        for number in (*ignored, signal.SIGTERM):
            process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert json.loads(out)["error"]["seen"] == "ended by SIGTERM"


@pytest.mark.usefixtures("tree")
def test_a_signal_after_the_result_adds_no_second_object(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdout(io.StringIO):
        def flush(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    stdout = Stdout()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert run("list", "--json").code == 143
    assert len(json.loads(stdout.getvalue())["kernels"]) == 1


# --- one object


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (("--json", "nonsense"), "No such command 'nonsense'"),
        (("nonsense", "--json"), "No such command 'nonsense'"),
        (("pull", "--json", "--nonsense"), "No such option: --nonsense"),
        (("pull", "--nonsense", "--json"), "No such option: --nonsense"),
        (("remove", "--json"), "Missing argument 'KERNEL…'"),
        (("--json",), "Missing command"),
        (("--json", "pull", "-t", "one"), "'one' is not a valid int"),
        (("pull", "-P", "0", "--json"), "'0' is not a TCP port"),
        (("compile", "--json", "--", "-DX"), "Missing argument 'SRC…'"),
    ],
)
def test_mistakes_of_usage_in_json(run: Run, arguments: tuple[str, ...], seen: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.document.keys() == {"schema", "error"}
    error = done.document["error"]
    assert (error["kind"], error["exit_code"]) == ("usage", 2)
    assert seen in error["seen"]
    assert done.err.startswith("kheaders-adb: error: ")


def test_json_behind_the_dashes_is_for_clang(run: Run) -> None:
    done = run("compile", "--", "--json")
    assert (done.code, done.out) == (2, "")


def test_a_mistake_names_the_help_of_its_command(run: Run) -> None:
    assert run("pull", "--nonsense").err == (
        "kheaders-adb: error: No such option: --nonsense\n  hint: see `kheaders-adb pull --help`\n"
    )


def test_a_word_of_the_command_line_cannot_act_on_the_terminal(run: Run) -> None:
    for arguments in (("\x1b[2J",), ("pull", "--\x1b[2J"), ("pull", "-t", "\x1b[2J")):
        done = run(*arguments)
        assert done.code == 2
        assert "\x1b" not in done.err
