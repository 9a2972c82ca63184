"""Every error as its reader sees it: on a terminal, in JSON, by exit code; and what is no error of ours."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb import errors
from kheaders_adb.cli.groups import Output
from kheaders_adb.cli.process import ISSUES, guarded
from kheaders_adb.errors import KheadersError, MismatchError, TransferError
from kheaders_adb.model import Check, CheckStatus, Level, SymbolDifference, Verdict
from tests.unit.cli.conftest import Done, Run
from tests.unit.golden import check_golden

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, KheadersError)
]
VERDICT = Verdict(
    Level.MISMATCH,
    (
        Check("release", CheckStatus.AGREE, "6.1.75", "6.1.75"),
        Check("config", CheckStatus.DIFFER, "CONFIG_HZ=250", "CONFIG_HZ=1000", "only this differs"),
        Check("builder", CheckStatus.UNKNOWN),
    ),
    (SymbolDifference("HZ", "250", "1000"), SymbolDifference("KASAN", None, "y")),
)


def example(kind: type[KheadersError]) -> KheadersError:
    given: dict[str, Any] = {"step": "reading the archive", "device": "28091JEGR09001"}
    if kind is MismatchError:
        given["verdict"] = VERDICT
    if kind is errors.UnsafeArchiveError:
        given |= {"rule": "path-escapes", "member": "../x"}
    if kind is errors.CorruptArchiveError:
        given["rule"] = "xz-truncated"
    return kind("what was seen", **given)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], run: Run) -> Callable[..., Done]:
    """Let a command end in this way."""

    def end(error: BaseException, **output: Any) -> Done:
        def function() -> int:
            raise error

        code = guarded(function, Output(**output))
        return Done(code, *capsys.readouterr())

    return end


Tell = Callable[..., Done]


def test_every_error_in_words(tell: Tell) -> None:
    said = [f"# {kind.__name__}\n{tell(example(kind)).err}" for kind in CLASSES]
    check_golden("errors.txt", "\n".join(said))


def test_every_error_in_json(tell: Tell) -> None:
    documents = {kind.__name__: tell(example(kind), json=True).document for kind in CLASSES}
    check_golden("errors.json", json.dumps(documents, indent=2) + "\n")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_code_and_its_streams(
    tell: Tell, kind: type[KheadersError]
) -> None:
    done = tell(example(kind))
    assert done.code == kind.exit_code
    assert done.out == "", "stdout is for results"
    assert done.err.startswith("kheaders-adb: error: 28091JEGR09001: reading the archive: ")
    quiet = tell(example(kind), quiet=True)
    assert quiet == done, "quiet is about success"
    document = tell(example(kind), json=True)
    assert document.code == kind.exit_code
    assert document.err == done.err
    assert document.document["error"]["exit_code"] == kind.exit_code


def test_notes_and_the_hint(tell: Tell) -> None:
    error = TransferError("gone", hint="plug it in again")
    error.add_note("kheaders could not be unloaded")
    assert tell(error).err == (
        "kheaders-adb: error: gone\n"
        "  note: kheaders could not be unloaded\n"
        "  hint: plug it in again\n"
    )


def test_what_a_device_says_never_acts_on_the_terminal(tell: Tell) -> None:
    error = TransferError("\x1b]0;owned\x07\r\nnext", device="\x9b31m", step="\u202ex", hint="\x1b")
    error.add_note("\x1b[2J")
    done = tell(error)
    assert done.err == (
        "kheaders-adb: error: \\x9b31m: \\u202ex: \\x1b]0;owned\\x07\\r\nnext\n"
        "  note: \\x1b[2J\n"
        "  hint: \\x1b\n"
    )
    assert tell(error, json=True).document["error"]["seen"] == "\x1b]0;owned\x07\r\nnext"


def test_ctrl_c(tell: Tell) -> None:
    interrupt = KeyboardInterrupt()
    interrupt.add_note("kheaders stays loaded")
    done = tell(interrupt)
    assert done.code == 130
    assert done.err == "kheaders-adb: interrupted\n  note: kheaders stays loaded\n"


def test_a_bug_is_one_and_says_where_to_report_it(tell: Tell) -> None:
    done = tell(ZeroDivisionError("division by zero"))
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("Traceback (most recent call last):\n")
    assert done.err.endswith(
        "ZeroDivisionError: division by zero\n"
        f"kheaders-adb: this is a bug; please report the lines above at {ISSUES}\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nonsense",),
        ("nonsense",),
        ("pull", "--nonsense"),
        ("pull", "surplus"),
        ("pull", "--via", "magic"),
        ("pull", "-t", "one"),
        ("pull", "-P", "port"),
        ("pull", "-P", "0"),
        ("pull", "-P", "99999"),
        ("pull", "-s"),
        ("pull", "-s", ""),
        ("pull", "-d", "-e"),
        ("pull", "-L", "nonsense"),
        ("pull", "-L", "tcp:1", "-H", "localhost"),
        ("pull", "--su-command", ""),
        ("pull", "--su-command", "su; id"),
        ("pull", "--su-command", "kp", "--privilege", "none"),
        ("pull", "--su-command", "kp", "--privilege", "adbd"),
        ("gc", "--max-age", "old"),
        ("gc", "--max-size", "big"),
        ("compdb", "--kernel", "latest", "-s", "X1", __file__),
        ("compile", __file__, __file__, "-o", "no/such/folder"),
        ("import", "no/such/file"),
        ("import", __file__),
        ("import", "-s", "X1", "--release", "6.1", __file__),
        ("pull", "--timeout", "0"),
        ("pull", "--timeout", "-1"),
        ("pull", "--timeout", "nan"),
        ("pull", "--timeout", "soon"),
        ("path", "no-such-kernel"),
        ("remove",),
        ("show", "a", "b"),
    ],
    ids=" ".join,
)
def test_mistakes_of_usage(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 2, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals(run: Run, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """While a command waits for a server that never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent"))
        listener.listen()

        def interrupt() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4)
                os.kill(os.getpid(), number)
                connection.recv(4096)
                connection.recv(1)

        thread = threading.Thread(target=interrupt)
        thread.start()
        done = run("devices", "-L", f"localfilesystem:{tmp_path / 'silent'}")
        thread.join()
    assert done == Done(code, "", "kheaders-adb: interrupted\n")


def test_readers_that_have_gone() -> None:
    """As in `kheaders-adb doctor | head -0`: no traceback, no complaint at exit."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "kheaders_adb"]
    running = []
    for stream, *arguments in (
        ("stdout", "list", "--json"),
        ("stdout", "doctor"),
        ("stderr", "path", "no-such-kernel"),
    ):
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        streams[stream] = writing
        running.append(subprocess.Popen([*command, *arguments], text=True, **streams))
    os.close(writing)
    for process in running:
        said = "".join(filter(None, process.communicate(timeout=60)))
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        assert process.returncode == 128 + signal.SIGPIPE, process.args
