"""``--timeout`` bounds whatever can take long: names, addresses, adb itself, hundreds of modules, peers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from .cases import LISTING, PROBE, READ
from .client import store_problems
from .devices import ARCHIVE_PATH, Headers, Su
from .faults import Action
from .kernel import Kernel, build_archive, files_of
from .server import Server
from .test_cli import Cli
from .tools import shim

KERNEL = Kernel()
OTHERS = replace(KERNEL, release="6.1.99-android14-11", seed=2)
MODULES = 500
FAULT_S = 60
"""How long each of these would take, or longer."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that takes long.

    Attributes:
        words: of the command line, behind those that name the server.
        environ: variables on top.
        says: what the error must name.
    """

    words: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)
    says: str = "time"


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port of several addresses of this machine at which nobody accepts connections."""
    with ExitStack() as held:
        port = 0
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            listener = held.enter_context(socket.create_server((address, port), backlog=0))
            port = listener.getsockname()[1]
            for _ in range(4):
                waiting = held.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((address, port))
        yield port


@contextlib.contextmanager
def adb_that_sleeps(folder: Path) -> Iterator[Path]:
    """An adb that does nothing, whatever it is told."""
    folder.mkdir()
    pids = folder / "pids"
    adb = folder / "adb"
    adb.write_text(f"#!/bin/sh\necho $$ >>'{pids}'\nexec sleep {FAULT_S}\n")
    adb.chmod(0o755)
    yield adb
    for pid in pids.read_text().split() if pids.exists() else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def laborious() -> dict[str, bytes]:
    """Archives that come at once and take long to extract, or to be searched for what differs."""
    files = files_of(KERNEL)
    line = (
        b"#if defined(CONFIG_X) && IS_ENABLED(CONFIG_HZ)\nstruct task_struct { int x;\n};\n#endif\n"
    )
    large = {f"include/linux/large_{number}.h": line * 150_000 for number in range(14)}
    many = {f"include/linux/many_{number}.h": b"%d\n" % number for number in range(60_000)}
    differs = files_of(replace(KERNEL, extra=(("HZ", "1000"),)))
    return {"LARGE": build_archive(differs | large), "MANY": build_archive(files | many)}


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def all_kinds(server: Server, home: Path, held: ExitStack) -> dict[str, Kind]:
    silent = str(held.enter_context(silent_port()))
    preload = {"LD_PRELOAD": str(shim(home, "names"))}
    adb = held.enter_context(adb_that_sleeps(home / "sleeps"))
    modules = home / "modules"
    modules.mkdir()
    (modules / "0.ko").write_bytes(OTHERS.module)
    for number in range(1, MODULES):
        (modules / f"{number}.ko").hardlink_to(modules / "0.ko")
    server.add_device("NONE", kernel=KERNEL, headers=Headers.ABSENT)
    full = server.add_device("FULL", kernel=KERNEL, headers=Headers.ABSENT)
    for number in range(MODULES):
        full.put(f"/vendor/lib/modules/{number}/kheaders.ko", OTHERS.module)
    server.add_device("ASKS", uid=2000, debuggable=False, su=Su.HANG)
    for serial, service in {"PROBED": PROBE, "READ": READ}.items():
        server.add_device(serial)
        server.inject(Action.TRICKLE, service, 4, serial=serial, pause_s=1.0)
    for serial, content in laborious().items():
        server.add_device(serial, kernel=KERNEL).put(ARCHIVE_PATH, content, 0o444)
    another = held.enter_context(Server())
    another.inject(Action.TRICKLE, LISTING, 4, pause_s=1.0)
    return {
        "an address that is silent": Kind(("-H", "127.0.0.2", "-P", silent), says="did not accept"),
        "a name with silent addresses": Kind(
            ("-H", "several.test", "-P", silent), preload, "did not accept"
        ),
        "a name that nobody looks up": Kind(
            ("-H", "hangs.test", "-P", silent), preload, "which address hangs.test has"
        ),
        "an adb that does not say its version": Kind(
            ("-P", str(unused_port())),
            {"PATH": f"{adb.parent}:{os.environ['PATH']}"},
            "did not say its version",
        ),
        "a server that does not begin": Kind(
            ("-P", str(unused_port())), {"ADBUTILS_ADB_PATH": str(adb)}, "did not listen in time"
        ),
        "a folder of modules": Kind(
            ("-s", "NONE", "--module", str(modules)), says="choosing a module"
        ),
        "a device of modules": Kind(("-s", "FULL")),
        "a su that asks": Kind(("-s", "ASKS"), says="asking su for root"),
        "the list": Kind(("-P", str(another.port))),
        "the probe": Kind(("-s", "PROBED")),
        "the archive": Kind(("-s", "READ")),
        "a small archive of large headers": Kind(("-s", "LARGE"), says="extracting the headers"),
        "an archive of many headers": Kind(("-s", "MANY"), says="extracting the headers"),
    }


def test_nothing_outlasts_the_timeout(cli: Cli, server: Server, tmp_path: Path) -> None:
    with ExitStack() as held:
        kinds = all_kinds(server, tmp_path, held)
        started_s = time.monotonic()
        running = {
            name: subprocess.Popen(
                cli.argv("pull", "--timeout", "1", *kind.words, store=tmp_path / name),
                env=cli.env | kind.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, kind in kinds.items()
        }
        wrong = {}
        for name, process in running.items():
            try:
                out, err = process.communicate(timeout=FAULT_S / 2 - (time.monotonic() - started_s))
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
            if (process.returncode, out) != (7, "") or kinds[name].says not in err:
                wrong[name] = (process.returncode, out, err)
            elif problems := store_problems(tmp_path / name, {}):
                wrong[name] = (0, "", "\n".join(problems))
    assert not wrong, "\n".join(f"{name}: {done}" for name, done in wrong.items())


def test_a_module_is_a_file_or_a_folder(cli: Cli, server: Server, tmp_path: Path) -> None:
    """A pipe that nobody writes into would be waited for without end."""
    server.add_device(headers=Headers.ABSENT)
    os.mkfifo(tmp_path / "pipe")
    done = cli("pull", "--module", str(tmp_path / "pipe"))
    assert (done.code, "is a pipe, not a file" in done.err) == (2, True), done.err
