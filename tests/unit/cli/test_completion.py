"""What a shell is told at Tab; tests/wire/test_completion.py presses it."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.cli import app
from kheaders_adb.cli.completion import Kind, source_of
from kheaders_adb.cli.readline import parse
from kheaders_adb.store import Store
from tests.capabilities import as_anybody
from tests.unit.cli.conftest import Done, Run
from tests.unit.store.helpers import identity, packed, record, stage
from tests.wire.server import Server

PROGRAM: Any = typer.main.get_command(app.app)
BREAKS = " \t\n\"'@><=;|&(:"
"""Bash's own ``COMP_WORDBREAKS``."""
ASKING = "_KHEADERS_ADB_COMPLETE"
FREE = {
    *("HOST", "PORT", "SOCKET", "SECONDS", "TEXT", "RELEASE", "AGE", "SIZE", "N", "NAME[=VALUE"),
    "PATH",  # in the trees
}
"""What only the user knows, by its name in the help."""

Offered = Callable[..., list[str]]
NOTHING: tuple[list[str], ...] = ([], [Kind.WORDS])


@pytest.fixture
def offered(run: Run, monkeypatch: pytest.MonkeyPatch) -> Offered:
    """What zsh is told to offer after these words, the last of which is to be completed."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv(ASKING, "zsh")
        done = run(*words)
        monkeypatch.delenv(ASKING)
        assert (done.code, done.err) == (0, "")
        return done.out.splitlines()

    return ask


def test_each_option_has_a_completion_or_only_the_user_knows() -> None:
    commands = [PROGRAM, *(PROGRAM.get_command(None, name) for name in app.COMMANDS)]
    unknown = {
        (command.name, parameter.name)
        for command in commands
        for parameter in command.params
        if parameter.param_type_name == "argument"
        or not (parameter.is_flag or parameter.count or parameter.hidden)
        if source_of(parameter) is Kind.WORDS and parameter.name != "to"
        if (parameter.metavar or "").strip("[]=…") not in FREE
    }
    assert unknown == set()


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (("pull", "--via", ""), ["auto", "sysfs", "load", "carve"]),
        (("pull", "--via="), ["--via=auto", "--via=sysfs", "--via=load", "--via=carve"]),
        (("cflags", "-O", ""), ["1", "2", "3", "s", "z"]),
        (("cflags", "-O"), ["-O", "--libbpf"]),
        (("cflags", "-Os"), ["-O1", "-O2", "-O3", "-Os", "-Oz"]),
        (("compile", "a.c", "--cpu", ""), ["v1", "v2", "v3", "v4"]),
        (("--wait", "pull", "--via", ""), ["load"]),
        (("-qPx", "pull", "--via", ""), ["load"]),
        (("-vv", "pull", "-v", "--via", ""), ["load"]),
        (
            ("--install-completion=",),
            [f"--install-completion={shell}" for shell in ("bash", "zsh")],
        ),
        (("-",), ["-s\tThe device with this serial ($ANDROID_SERIAL).", "--store", "--help"]),
        (("",), ["gc\tRemove kernels by age", "unpin\tLet gc remove a kernel again."]),
    ],
)
def test_words_of_the_program(offered: Offered, words: Sequence[str], some: list[str]) -> None:
    kind, *found = offered(*words)
    assert kind == "words"
    assert all(any(each.startswith(word) for each in found) for word in some)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("compile", ""), "sources"),
        (("compile", "a.c", "-MD", "b"), "sources"),
        (("compile", "a.c", "--", "-include", ""), "files"),
        (("compile", "-I", ""), "folders"),
        (("import", ""), "files"),
        (("pull", "--module", ""), "files"),
        (("pull", "-v", "--log-json", ""), "files"),
        (("--store", ""), "folders"),
        (("list", "--store="), "folders"),
    ],
)
def test_what_the_shell_lists_itself(offered: Offered, words: Sequence[str], kind: str) -> None:
    assert offered(*words) == [kind]


@pytest.mark.parametrize(
    "words",
    [
        ("import", "one", ""),
        ("no-such-command", ""),
        ("no-such-command", "-"),
        ("-P", ""),
        ("-P", "no-port", "-s", ""),
        ("-L", "nonsense", "-s", ""),
        ("-s", ""),
        ("push", "--to", ""),
        ("show", ""),
        ("show", "latest", ""),
    ],
)
def test_nothing_is_offered(offered: Offered, words: Sequence[str], store_path: Path) -> None:
    """Nobody could know what fits, or the server is not there, or the store."""
    assert offered(*words) in NOTHING
    assert not store_path.exists(), "Tab makes no store"


def test_no_words_at_all_and_shells_of_older_scripts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shell in ("zsh", "bash", "complete_zsh", "x"):
        monkeypatch.setenv(ASKING, shell)
        assert run() == Done(0, "", "")


def test_devices(offered: Offered, server: Server) -> None:
    server.add_device("PHONE")
    assert offered("-s", "") == ["words", "PHONE\tFake"]
    assert offered("pull", "--serial=") == ["words", "--serial=PHONE\tFake"]
    assert offered("-t", "") == ["words", "1\tPHONE Fake"]
    assert offered("-P", "1", "-s", "") in NOTHING
    for serial in ("\x1b]0;title\x07", "a\ttab", "\u202eleft", "\udcff"):
        server.add_device(serial)
    assert offered("-s", "") == ["words", "PHONE\tFake"], "what acts on a terminal is left out"
    server.stop()
    assert offered("-s", "") in NOTHING


def test_what_the_locale_cannot_write_is_left_out(server: Server) -> None:
    server.add_device("PHONE")
    server.add_device("\u0437\u0430\u0432\u043e\u0434")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", ASKING: "zsh"}
    done = subprocess.run(
        [sys.executable, "-m", "kheaders_adb", "-s", ""],
        env={**os.environ, **ascii_only},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("words\nPHONE\tFake\n", "")


def test_a_server_that_trickles_is_left_alone(
    offered: Offered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes soon; only the time for all of them ends it."""
    over = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"OKAYffff")
            while not over.wait(0.05):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=trickle, args=(listener,), daemon=True).start()
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{listener.getsockname()[1]}")
        assert offered("-s", "") in NOTHING
        over.set()


RELEASES = ["6.1.75", "6.6.9 two", "6.1.75-longer", "--help", "latest", "@6.1", "beef", "6.9\x1b"]


def test_each_name_of_a_kernel_that_is_offered_means_it(
    run: Run, offered: Offered, store_path: Path
) -> None:
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    for number, release in enumerate(RELEASES):
        kernel = identity(number, release=release)
        store.record(record(kernel, archive, tree, serial=f"device {number}"))
    kind, *found = offered("show", "")
    names = dict(each.split("\t") for each in found)
    assert kind == "words"
    assert {name for name in names if name in RELEASES} == {"6.6.9 two", "6.1.75-longer", "latest"}
    assert {f"@device {number}" for number in range(len(RELEASES))} <= names.keys()
    assert len(names) == 3 + 2 * len(RELEASES)
    for name in names:
        key = run("show", name, "--json").document["kernel"]["key"]
        assert key[:12] in f"{name} {names[name]}"
    assert "6.6.9 two" not in offered("remove", "6.6.9 two", "")
    assert offered("show", "--store", str(store_path.parent / "other"), "") in NOTHING


def test_a_store_that_is_broken_or_closed_offers_what_it_can(
    offered: Offered, store_path: Path
) -> None:
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    store.record(record(identity(), archive, tree))
    (store_path / "kernels" / f"{'0' * 64}.json").write_text("{")
    assert len(offered("show", "")) == 5
    (store_path / "kernels").chmod(0)
    with as_anybody():
        assert offered("show", "") in NOTHING
    (store_path / "kernels").chmod(0o755)
    (store_path / "format").write_text("99")
    assert offered("show", "") in NOTHING


ALPHABET = st.sampled_from("ab \\'\"$`(){}[]*?!;&|<>~#^%=:@,./-\u0437\u00e9")
WORDS = st.text(ALPHABET, min_size=1, max_size=12)


@given(st.lists(WORDS))
def test_what_is_typed_is_read_as_the_shell_reads_it(words: list[str]) -> None:
    assert parse(shlex.join(["x", *words, ""])[:-2], BREAKS).words == ("x", *words, "")
    for quote in ("'", '"'):
        for word in words:
            escaped = word.replace("\\", r"\\").replace('"', r"\"") if quote == '"' else word
            if quote == '"' or "'" not in word:
                assert parse(f"x {quote}{escaped}", BREAKS).words == ("x", word)
    for word in words:
        assert parse("x " + "".join(f"\\{char}" for char in word), BREAKS).words == ("x", word)


@given(st.lists(st.tuples(WORDS, st.sampled_from(["", "'", '"'])), min_size=40, max_size=80))
def test_what_is_inserted_is_that_word_to_bash(cases: list[tuple[str, str]]) -> None:
    written = []
    for word, quote in cases:
        inserted = parse(f"x {quote}", BREAKS).insertion(word)
        if inserted is None:
            assert quote == '"'
            assert "!" in word
            continue
        # Readline closes what it believes to be open.
        closing = "" if quote and inserted.endswith(quote) else quote
        written.append((word, quote + inserted + closing))
    script = "printf '%s\\0' " + " ".join(text for _, text in written)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == [word for word, _ in written]


@pytest.mark.parametrize(
    ("typed", "word", "inserted"),
    [
        ("", "a:b c", r"a:b\ c"),
        ("a", "a:b", "a:b"),
        ("a:", "a:b", "b"),
        ("a:b=", "a:b=c:d", "c:d"),
        ("a:b", "a:bc", "bc"),
        (r"a\:b", "a:bc", "a:bc"),
        ("'a:b", "a:bc", "a:bc"),
        ('"a:b=', "a:b=c", "a:b=c"),
        ("@", "@a", "@a"),
        ("@a:", "@a:b", "b"),
        ("a", "b", None),
    ],
)
def test_only_the_piece_behind_the_last_break_is_inserted(
    typed: str, word: str, inserted: str | None
) -> None:
    assert parse(f"x {typed}", BREAKS).insertion(word) == inserted
