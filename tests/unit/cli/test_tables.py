"""Tables on terminals of several widths, in pipes, with and without colour."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import termios
import unicodedata
from pathlib import Path

import pytest

from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output
from kheaders_adb.cli.tables import Cell, Tone, put_record, put_table, table
from tests.unit.cli.conftest import Run
from tests.unit.golden import check_golden
from tests.wire.devices import Headers, State
from tests.wire.kernel import Kernel
from tests.wire.server import Server

KERNEL = Kernel(headers=2)
# What rich would take for its markup, for emoji and for a link, were it asked to.
ODD = Kernel(headers=2, release="6.6.30-[red]x[/red]-:smile:-[link=http://x]", seed=2)
MDNS = "adb-28091JEGR09001-kXyZ12._adb-tls-connect._tcp"
WIDTHS = (40, 80, 200)
COMMANDS = ("devices", "list", "show", "doctor")
SGR = re.compile(r"\x1b\[([0-9;]*)m")


def columns_of(text: str) -> int:
    """How many columns a terminal needs for `text`; written apart from what is tested."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


def shown(columns: int, *arguments: str | Path, **environ: str) -> str:
    """What a command writes to a terminal so wide, which is its stdout."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    command = [sys.executable, "-m", "kheaders_adb", *map(str, arguments)]
    with subprocess.Popen(
        command,
        env={**os.environ, "TERM": "xterm-256color", **environ},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(slave)
        data = b""
        with contextlib.suppress(OSError):  # its end
            while part := os.read(master, 65536):
                data += part
        os.close(master)
    assert process.returncode in (0, 3), data
    return data.decode().replace("\r\n", "\n")


@pytest.fixture
def phones(run: Run, server: Server) -> None:
    """Devices of many kinds, and the headers of two of them."""
    server.add_device("PHONE", kernel=KERNEL)
    server.add_device(MDNS, kernel=ODD, usb=False, model="画素_8_프로")
    server.add_device("NONE", kernel=ODD, headers=Headers.ABSENT, uid=2000, debuggable=False)
    server.add_device("SHY", state=State.UNAUTHORIZED)
    for serial in (MDNS, "PHONE"):
        assert run("pull", "-s", serial).code == 0
    assert run("pin", f"@{MDNS}").code == 0


# What is another one the next time.
_CHANGING = re.compile(r"[0-9.]+ [KMG]iB|\bnow\b|\b[0-9]+ s\b")


@pytest.mark.usefixtures("phones")
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_lost_and_all_fits(run: Run, command: str) -> None:
    plain = run(command).out
    for width in WIDTHS:
        text = SGR.sub("", shown(width, command))
        for line in text.splitlines():
            assert columns_of(line) <= width or len(line.split()) == 1, "one word is never broken"
            assert not line.endswith(" ")
        if command in ("show", "doctor"):
            assert words_of(text) == words_of(plain)
        else:
            keys = {line.split()[0] for line in plain.splitlines()[1:]} | {MDNS, ODD.release}
            assert keys <= set(text.split())


def words_of(text: str) -> list[str]:
    """Its words, whatever they are folded like."""
    return _CHANGING.sub("", " ".join(text.split())).split()


@pytest.mark.usefixtures("phones")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_gets_plain_columns_whatever_the_environment_says(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def piped(**environ: str) -> str:
        with monkeypatch.context() as context:
            for name, value in environ.items():
                context.setenv(name, value)
            return _CHANGING.sub("", run(command).out)

    plain = piped()
    assert "\x1b" not in plain
    for variable in ("COLUMNS=20", "NO_COLOR=1", "TERM=dumb", "CI=1", "FORCE_COLOR="):
        name, _, value = variable.partition("=")
        assert piped(**{name: value}) == plain, variable
    coloured = piped(FORCE_COLOR="1", COLUMNS="20")
    assert "\x1b[32m" in coloured
    assert SGR.sub("", coloured) == plain
    assert piped(FORCE_COLOR="1", NO_COLOR="1") == plain


@pytest.mark.usefixtures("phones")
def test_what_the_environment_says_of_a_terminal(run: Run) -> None:
    plain = run("devices").out
    assert shown(40, "devices", TERM="dumb") == plain
    coloured = shown(40, "devices", CI="1")
    assert "\x1b[32m" in coloured
    assert SGR.sub("", coloured) == plain, "the log of a build is read elsewhere"
    folded = shown(40, "devices", NO_COLOR="1")
    assert folded == SGR.sub("", shown(40, "devices")) != plain
    assert shown(0, "devices", COLUMNS="40") == shown(40, "devices", COLUMNS="200")


@pytest.mark.usefixtures("phones")
def test_words_of_a_device_are_neither_markup_nor_commands() -> None:
    for width in WIDTHS:
        text = shown(width, "devices")
        assert ODD.release in SGR.sub("", text)
        assert {int(code or 0) for code in SGR.findall(text)} <= {0, 31, 32, 33}
        assert "\x1b]" not in text


MODELS = (
    "Pixel 8",
    "画素 8 프로",
    "Zére\u0301 ö\u0308ñ",
    "📱 Phone 🚀",
    "טלפון عربي",
    "[bold]\\[/] :smile:",
    "\x1b[31m\u202e\x07",
    "a-model-with-a-very-long-name-in-one-word",
)


def drawn(width: int | None, *, colour: bool = False) -> str:
    """A table and a record in so many columns."""
    out = io.StringIO()
    console = Console(out, io.StringIO(), Output(), out_colour=colour, width=width)
    titles = ("SERIAL", "STATE", "MODEL", "SIZE", "")
    put_table(
        console,
        titles,
        [
            [
                Cell(f"28091JEGR0900{number}"),
                Cell("device", Tone.GOOD) if number else Cell("no permissions", Tone.BAD),
                Cell(model),
                Cell(f"{number} MiB"),
                Cell("pinned" if number == 1 else "", Tone.DOUBTFUL),
            ]
            for number, model in enumerate(MODELS)
        ],
        folded=("STATE", "MODEL"),
    )
    put_record(
        console,
        [
            (Cell("key"), Cell("484fa9ace69960f2f1294c06d1f8439bc5fcb1430999cc90869d086a6c8d43e4")),
            (Cell(""), Cell("with more of it, which goes on in another line")),
            (Cell("verdict"), Cell("mismatch", Tone.BAD)),
            (Cell("  config"), Cell("differ   CONFIG_HZ=250, not CONFIG_HZ=1000", Tone.BAD, 6, 9)),
            (Cell("several"), Cell("of them:\n           one\n           another and then some")),
        ],
    )
    return out.getvalue()


def test_what_tables_look_like() -> None:
    text = "".join(
        f"# {width or 'in a pipe'}\n{drawn(width, colour=True)}"
        for width in (None, 30, 50, 64, 80, 120)
    )
    check_golden("tables.txt", SGR.sub(r"<\1>", text))


@pytest.mark.parametrize("width", [1, 7, 20, 33, 40, 50, 60, 64, 72, 80, 100, 200])
def test_each_width_holds_all_words(width: int) -> None:
    plain, fitted = drawn(None), drawn(width)
    missing = set(plain.split()) - {"SERIAL", "STATE", "MODEL", "SIZE"} - set(fitted.split())
    # In a table that fits, long cells are folded within a word.
    assert missing <= {MODELS[-1], "permissions", "\\x1b[31m\\u202e\\x07"}
    squeezed = re.sub(r"\s", "", fitted)
    assert all(f"28091JEGR0900{number}" in fitted for number in range(len(MODELS)))
    assert width > 50 or MODELS[-1] in squeezed
    for line in fitted.splitlines():
        assert columns_of(line) <= width or len(line.split()) == 1 or width < 30
    assert SGR.sub("", drawn(width, colour=True)) == fitted


def test_columns_are_aligned_and_harmless() -> None:
    cells = [("A", "LONG", "C"), ("xyz", "-", ""), ("\x1b[m", "", "é")]
    rows = [[Cell(text, Tone.BAD) for text in row] for row in cells]
    lines = ["A       LONG  C", "xyz     -", "\\x1b[m        é"]
    assert table(rows) == lines
    coloured = table(rows, colour=True)
    assert coloured[1] == "\x1b[31mxyz\x1b[0m     \x1b[31m-\x1b[0m"
    assert [SGR.sub("", line) for line in coloured] == lines


@pytest.mark.usefixtures("phones")
@pytest.mark.parametrize("command", ["list", "devices", "doctor", "path"])
def test_rich_is_not_imported_without_a_terminal(command: str) -> None:
    """It takes as long as `path` itself."""
    code = (
        "import sys; from kheaders_adb.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('rich' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command],
        env={**os.environ, "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout
    assert done.stderr.splitlines()[-1] == "False"
