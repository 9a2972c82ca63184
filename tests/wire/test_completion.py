"""Tab, pressed in the shells themselves: what is completed, what is listed, and that nothing of it is run."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .devices import Device
from .kernel import Kernel
from .prompts import SHELLS, Prompt, add_program, prepare_home
from .server import Server
from .test_cli import Cli, cli

__all__ = ["cli"]

Open = Callable[..., Prompt]

TCP = "192.168.1.5:5555"
MDNS = "adb-X (2)._adb-tls-connect._tcp"
OWNED = "owned"
HOSTILE = {
    "a": f"a$(touch {OWNED})x",
    "b": f"b`touch {OWNED}`",
    "c": f"c'o\"te;touch {OWNED}",
    "d": f"d\\$(touch {OWNED})!!&|*?[a]{{b,c}}~#^%",
    "e": f"e'$(touch {OWNED})'\\'",
    "f": f'f;touch {OWNED}"',
    "\\~": "~root",
    "\\=": "=ls",
    "\u0437": "\u0437\u0430\u0432\u043e\u0434",
}
"""Serials, by what is typed of each."""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def installed(shell: str, cli: Cli) -> Path:
    """The start-up file of a user of the shell, with the completion installed."""
    startup = prepare_home(shell, cli.home)
    assert cli(f"--install-completion={shell}").code == 0
    return startup


@pytest.fixture
def prompt(shell: str, cli: Cli, server: Server, installed: Path) -> Iterator[Prompt]:
    """A prompt whose variables name the fake server and the store."""
    with Prompt(shell, cli.home, environment(cli, server.port)) as prompt:
        yield prompt


def environment(cli: Cli, port: int) -> dict[str, str]:
    return {
        **cli.env,
        "ANDROID_ADB_SERVER_ADDRESS": "127.0.0.1",
        "ANDROID_ADB_SERVER_PORT": str(port),
        "KHEADERS_ADB_STORE": str(cli.store),
    }


def last(words: list[str]) -> str:
    return words[-1]


def test_a_serial_is_completed_however_it_is_quoted(prompt: Prompt, server: Server) -> None:
    server.add_device(TCP)
    server.add_device(MDNS)
    for typed in ("192", f"{TCP[:12]}", "'192.168.1.5:5", '"192.168.1.5:5'):
        assert prompt.completed(f"kheaders-adb -s {typed}") == ["kheaders-adb", "-s", TCP]
    for typed in ("adb", "adb-X\\ \\(", "'adb-X (", '"adb-X ('):
        assert prompt.completed(f"kheaders-adb -s {typed}") == ["kheaders-adb", "-s", MDNS]
    assert last(prompt.completed("kheaders-adb pull --serial=192.168.1.5:")) == f"--serial={TCP}"
    assert last(prompt.completed("kheaders-adb pull -sadb")) == f"-s{MDNS}"


def test_what_a_device_calls_itself_is_one_word_and_never_run(
    prompt: Prompt, server: Server, cli: Cli
) -> None:
    for serial in (*HOSTILE.values(), "g\x1b]0;title\x07", "g\ttab", "g\nline"):
        server.add_device(serial)
    for typed, serial in HOSTILE.items():
        assert prompt.completed(f"kheaders-adb -s {typed}") == ["kheaders-adb", "-s", serial]
    for typed in "abcdef":
        assert last(prompt.completed(f"kheaders-adb -s '{typed}")) == HOSTILE[typed]
    for typed in "abcef":
        assert last(prompt.completed(f'kheaders-adb -s "{typed}')) == HOSTILE[typed]
    # Nothing of more than one line, and nothing that acts on the terminal.
    assert last(prompt.completed("kheaders-adb -s g")) == "g"
    assert not list(cli.home.rglob(OWNED))


def test_the_serials_are_listed_with_their_models(
    shell: str, prompt: Prompt, server: Server
) -> None:
    server.add_device("PHONE-1")
    server.add_device("PHONE-2")
    shown = prompt.listed("kheaders-adb -s ", r"PHONE-2.*Fake" if shell != "bash" else "PHONE-2")
    assert "PHONE-1" in shown


def test_the_server_that_the_line_names_is_asked(
    shell: str, cli: Cli, server: Server, device: Device, installed: Path
) -> None:
    address = f"tcp:127.0.0.1:{server.port}"
    with Prompt(shell, cli.home, environment(cli, free_port())) as prompt:
        assert last(prompt.completed("kheaders-adb -s F")) == "F"
        for flags in (f"-P {server.port}", f"-H 127.0.0.1 -P{server.port}", f"-L {address}"):
            assert last(prompt.completed(f"kheaders-adb {flags} -s F")) == device.serial
            assert last(prompt.completed(f"kheaders-adb pull {flags} -s F")) == device.serial


def test_a_server_that_hangs_is_left_alone_soon(shell: str, cli: Cli, installed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connected to, and never answering
        port = silent.getsockname()[1]
        with Prompt(shell, cli.home, environment(cli, port)) as prompt:
            assert last(prompt.completed("kheaders-adb -s F")) == "F"
            assert last(prompt.completed("kheaders-adb -t ")) == "-t"
        connection, _ = silent.accept()
        with contextlib.closing(connection):
            assert connection.recv(64) == b"000ehost:devices-l"


def test_no_server_is_started(shell: str, cli: Cli, installed: Path) -> None:
    add_program(cli.home, "adb", f"#!/bin/sh\ntouch '{cli.home}/{OWNED}'\n")
    port = free_port()
    with Prompt(shell, cli.home, environment(cli, port)) as prompt:
        assert last(prompt.completed("kheaders-adb -s F")) == "F"
    assert not (cli.home / OWNED).exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_kernels_are_completed_without_a_server(
    shell: str, cli: Cli, server: Server, installed: Path
) -> None:
    for serial, seed, release in ((TCP, 1, "6.1.75-one"), (MDNS, 2, "6.6.9 two")):
        server.add_device(serial, kernel=Kernel(headers=2, seed=seed, release=release))
        assert cli("pull", "-s", serial).code == 0
    with Prompt(shell, cli.home, environment(cli, free_port())) as prompt:
        assert last(prompt.completed("kheaders-adb show @192")) == f"@{TCP}"
        assert last(prompt.completed("kheaders-adb path @192.168.1.5:5")) == f"@{TCP}"
        assert last(prompt.completed("kheaders-adb cflags @a")) == f"@{MDNS}"
        assert last(prompt.completed("kheaders-adb compile --kernel 6.6")) == "6.6.9 two"
        assert last(prompt.completed("kheaders-adb compdb --kernel=l")) == "--kernel=latest"
        line = "kheaders-adb remove latest 6.1"
        assert prompt.completed(line) == ["kheaders-adb", "remove", "latest", "6.1.75-one"]
        listed = prompt.listed(
            "kheaders-adb show ", "tls-connect" if shell == "bash" else r"6\.6\.9 two \("
        )
        assert "latest" in listed


def test_words_of_the_program_are_completed(prompt: Prompt) -> None:
    for line, word in (
        ("kheaders-adb pul", "pull"),
        ("kheaders-adb pull --priv", "--privilege"),
        ("kheaders-adb pull --via l", "load"),
        ("kheaders-adb pull --privilege=ad", "--privilege=adbd"),
        ("kheaders-adb -q env --shell pw", "pwsh"),
        ("kheaders-adb cflags --format m", "make"),
        ("kheaders-adb compile --cpu v3", "v3"),
        ("~/bin/kheaders-adb pul", "pull"),
    ):
        assert last(prompt.completed(line)) == word, line


def test_files_are_completed_where_they_belong(shell: str, prompt: Prompt, cli: Cli) -> None:
    for name in ("prog.c", "prog.o", "kheaders.tar.xz", "kheaders.ko", "sub/in side.c"):
        path = cli.home / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for line, word in (
        ("kheaders-adb compile work/p", "work/prog.c"),
        ("kheaders-adb compile work/prog.c work/sub/in", "work/sub/in side.c"),
        ("kheaders-adb import work/kheaders.t", "work/kheaders.tar.xz"),
        ("kheaders-adb pull --module work/kheaders.k", "work/kheaders.ko"),
        ("kheaders-adb pull --module=work/kheaders.k", "--module=work/kheaders.ko"),
        ("kheaders-adb compile -o work/prog.o", "work/prog.o"),
        ("kheaders-adb compile x.c -- work/prog.o", "work/prog.o"),
        ("kheaders-adb --store work/", "work/sub"),
        ("kheaders-adb list --store=work/", "--store=work/sub"),
        ("kheaders-adb push --to work/s", "work/s"),
    ):
        assert last(prompt.completed(line)).removesuffix("/") == word, line


def test_what_is_shown_can_be_sourced(shell: str, cli: Cli, server: Server) -> None:
    prepare_home(shell, cli.home)
    show = f"kheaders-adb --show-completion={shell}"
    source = {
        "bash": f"source <({show})",
        "zsh": f"autoload -Uz compinit; compinit; source <({show})",
        "fish": f"{show} | source",
    }
    with Prompt(shell, cli.home, environment(cli, server.port)) as prompt:
        prompt.type(f"{source[shell]}; echo don''e\r")
        prompt.wait_for("done\r\n.*READY> ")
        assert last(prompt.completed("kheaders-adb pul")) == "pull"


def test_installing_again_changes_nothing(shell: str, cli: Cli, installed: Path) -> None:
    before = {path: path.read_bytes() for path in cli.home.rglob("*") if path.is_file()}
    assert cli(f"--install-completion={shell}").code == 0
    assert {path: path.read_bytes() for path in cli.home.rglob("*") if path.is_file()} == before


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
