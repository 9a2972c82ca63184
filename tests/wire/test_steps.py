"""What a command shows while it works: on a terminal, in a pipe, with -v and -vv, and in a file."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.watched import Watched, lines_drawn, watching

from .cases import LISTING, READ
from .client import store_problems
from .devices import ARCHIVE_PATH, Device, Headers, Su
from .faults import Action
from .server import Server
from .test_cli import Cli

SLOW_S = 0.6
WIPE = "\r\x1b[K"
SCRIPTS = "^shell,"


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


@pytest.fixture
def slow(server: Server) -> Device:
    """A device that takes its time for everything, and needs root and a module."""
    device = server.add_device("PHONE", uid=2000, su=Su.MAGISK, headers=Headers.MODULE)
    slow_down(server)
    return device


def slow_down(server: Server) -> None:
    for service, offset in ((LISTING, 4), (SCRIPTS, 4), (SCRIPTS, 100_000)):
        server.inject(Action.CALL, service, offset, repeat=True, call=lambda: time.sleep(SLOW_S))


@contextmanager
def on_terminal(
    cli: Cli,
    *arguments: str,
    columns: int = 80,
    environ: Mapping[str, str] | None = None,
    is_paused: bool = False,
) -> Iterator[Watched]:
    """The command line, watched."""
    env = {**cli.env, "TERM": "xterm", **(environ or {})}
    argv = cli.argv(*arguments)
    with watching(argv, env, columns=columns, is_paused=is_paused) as watched:
        yield watched


def test_a_cold_pull_of_a_slow_device_shows_its_steps(cli: Cli, slow: Device) -> None:
    with on_terminal(cli, "pull") as watched:
        shown = watched.shown()
        assert watched.process.wait(30) == 0, shown
    assert lines_drawn(shown) == [
        "looking for the device",
        "PHONE: looking at the kernel",
        "PHONE: becoming root",
        "PHONE: looking for the headers",
        "PHONE: loading /vendor/lib/modules/kheaders.ko",
        f"PHONE: reading {ARCHIVE_PATH}",
        "PHONE: checking the headers",
        "PHONE: staging the headers",
    ]
    # What is said has lines of its own, and nothing is left of the other one.
    said = [line.rpartition("\x1b[K")[2] for line in shown.split("\r\n")]
    assert any(line.startswith("kheaders-adb: PHONE: loading") for line in said)
    assert said[-1] == ""
    assert not any("\r" in line for line in said)


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [(("-q",), {}), ((), {"TERM": "dumb"}), ((), {"CI": "1"})],
    ids=["-q", "TERM=dumb", "CI"],
)
def test_nothing_is_drawn_where_it_is_not_wanted(
    cli: Cli, slow: Device, arguments: tuple[str, ...], environ: dict[str, str]
) -> None:
    with on_terminal(cli, "pull", *arguments, environ=environ) as watched:
        shown = watched.shown()
        assert watched.process.wait(30) == 0, shown
    assert "\x1b[K" not in shown
    assert "becoming root" not in shown


def test_nothing_of_it_in_a_pipe(cli: Cli, slow: Device) -> None:
    done = cli("pull")
    assert done.code == 0, done.err
    assert not re.search(r"[\r\x1b]|becoming root|looking", done.err)


@pytest.mark.parametrize("columns", [30, 80])
def test_ctrl_c_leaves_a_clean_line(cli: Cli, server: Server, columns: int) -> None:
    server.add_device("PHONE")
    server.inject(Action.STALL, READ, 100_000)
    with on_terminal(cli, "pull", columns=columns) as watched:
        watched.shown_until("PHONE: reading")
        watched.process.send_signal(signal.SIGINT)
        shown = watched.shown()
        assert watched.process.wait(30) in (130, -signal.SIGINT)
    assert shown.endswith(f"{WIPE}kheaders-adb: interrupted\r\n")
    for text in re.findall(r"\r([^\r\n\x1b]*)\x1b\[K", shown):
        assert len(text) < columns


def test_an_error_has_a_clean_line_too(cli: Cli, server: Server) -> None:
    server.add_device("PHONE")
    server.inject(Action.CALL, READ, 100_000, call=lambda: time.sleep(SLOW_S))
    server.inject(Action.CLOSE, READ, 110_000)
    with on_terminal(cli, "pull", environ={"NO_COLOR": "1"}) as watched:
        shown = watched.shown()
        assert watched.process.wait(30) == 7
    assert f"{WIPE}kheaders-adb: error: PHONE: " in shown


def test_a_paused_terminal_stops_no_conversation(cli: Cli, server: Server) -> None:
    server.add_device("PHONE")
    slow_down(server)
    with on_terminal(cli, "pull", is_paused=True) as watched:
        until_s = time.monotonic() + 30
        while not list(cli.store.glob("kernels/*")):
            assert time.monotonic() < until_s, "still waiting for the terminal"
            time.sleep(0.1)
        # The first one ends the message that waits, the second one the word about that.
        for _ in range(2):
            watched.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        assert watched.process.wait(5) in (128 + signal.SIGTERM, -signal.SIGTERM)


def test_v_says_each_step_with_its_time(cli: Cli, device: Device) -> None:
    done = cli("-v", "pull")
    assert done.code == 0, done.err
    steps = re.findall(r"^kheaders-adb: (.*): done in \d+\.\d\d s$", done.err, re.MULTILINE)
    assert steps == [
        "looking for the device",
        *(
            f"{device.serial}: {text}"
            for text in (
                "looking at the kernel",
                "looking for the headers",
                f"reading {ARCHIVE_PATH}",
                "checking the headers",
                "staging the headers",
            )
        ),
    ]
    assert "host:devices-l" not in done.err
    assert cli("pull", "-v", "-q").err == ""
    assert "looking at the kernel" not in cli("pull").err


def test_vv_says_every_exchange_in_short(cli: Cli, server: Server, device: Device) -> None:
    done = cli("pull", "-vv")
    exchanges = re.findall(
        r"^kheaders-adb: (.*): OKAY, \d+ bytes sent, \d+ received, \d+\.\d ms$",
        done.err,
        re.MULTILINE,
    )
    asked = [service for _, service in server.log]
    assert len(exchanges) >= len(asked) > 4
    assert "host:devices-l" in exchanges
    assert f"{device.serial}: sync:" in exchanges
    assert any("shell,v2,raw:# kheaders-adb probe " in text for text in exchanges)
    assert max(map(len, done.err.splitlines())) < 260


def test_a_log_of_json_has_a_record_a_line(cli: Cli, device: Device, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("what an earlier run wrote, which was longer\n" * 10_000)
    for _ in range(2):
        done = cli("pull", "--refresh", "--json", "-q", "--log-json", str(path))
        assert (done.code, done.err) == (0, "")
        assert json.loads(done.out)["serial"] == device.serial
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert (records[0]["event"], records[-1]["event"]) == ("begun", "ended")
    common = {"schema", "time", "level", "logger", "message"}
    assert all(common <= record.keys() for record in records)
    assert all(re.fullmatch(r"[-\d]+T[\d:]+\.\d{3}Z", record["time"]) for record in records)
    (read,) = (each for each in records if each["event"] == "step-ended" and each["step"] == "read")
    assert (read["serial"], read["what"], read["level"]) == (device.serial, ARCHIVE_PATH, "info")
    assert read["duration_s"] > 0
    (sync,) = (each for each in records if each.get("service") == "sync:")
    assert sync["received_bytes"] > len(device.kernel.archive)
    assert (sync["status"], sync["logger"]) == ("OKAY", "kheaders_adb.adb")


def test_the_log_has_the_error(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert cli("pull", "--log-json", str(path)).code == 3
    last = json.loads(path.read_text().splitlines()[-1])
    assert (last["event"], last["level"], last["error"]["exit_code"]) == ("ended", "error", 3)
    assert last["exit_code"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "level", "message"),
    [
        (("path", "--exists"), 2, "error", "exit code 2"),
        (("doctor",), 3, "error", "exit code 3"),
        (("list",), 0, "info", "done"),
    ],
)
def test_the_log_ends_with_the_exit_code(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], code: int, level: str, message: str
) -> None:
    path = tmp_path / "log"
    assert cli(*arguments, "--log-json", str(path)).code == code
    last = json.loads(path.read_text().splitlines()[-1])
    assert (last["exit_code"], last["level"], last["message"]) == (code, level, message)
    assert last["duration_s"] > 0


def test_the_log_of_what_a_signal_ended_has_its_exit_code(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    server.add_device("PHONE")
    server.inject(Action.STALL, READ, 100_000)
    with cli.running("pull", "--log-json", str(path)) as process:
        until_s = time.monotonic() + 30
        while not (path.exists() and '"step": "read"' in path.read_text()):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    last = json.loads(path.read_text().splitlines()[-1])
    assert (last["exit_code"], last["message"]) == (128 + signal.SIGTERM, "interrupted")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_is_no_pipe_and_no_socket(
    cli: Cli, server: Server, device: Device, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "socket":
            listening.bind(os.fspath(path))
        done = cli("pull", "--log-json", str(path))
    assert (done.code, server.log) == (2, []), done.err
    assert f"--log-json: {path} is a {kind}, at which the program might wait for ever" in done.err


def test_a_log_may_be_a_device(cli: Cli, device: Device) -> None:
    done = cli("pull", "--log-json", "/dev/null")
    assert done.code == 0, done.err


@pytest.mark.parametrize(("name", "code"), [("-", 2), ("absent/log", 8), (".", 8)])
def test_a_log_that_cannot_be_opened_is_an_error_before_anything_is_done(
    cli: Cli, server: Server, device: Device, tmp_path: Path, name: str, code: int
) -> None:
    done = cli("pull", "--log-json", name, cwd=tmp_path)
    assert done.code == code
    assert "--log-json: " in done.err
    assert "hint:" in done.err
    assert server.log == []
    assert not (tmp_path / "-").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_of_once_and_ends_nothing(cli: Cli, device: Device) -> None:
    done = cli("pull", "--log-json", "/dev/full")
    assert done.code == 0, done.err
    assert done.err.count("/dev/full is not written any more: No space left") == 1


def test_a_reader_of_stderr_that_goes_away_breaks_no_conversation(cli: Cli, device: Device) -> None:
    with cli.running("-vv", "pull") as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(30) == 128 + signal.SIGPIPE
    assert store_problems(cli.store, {device.kernel.archive_sha256: device.kernel.archive}) == []
    assert cli("path").code == 0
