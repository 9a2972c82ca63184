"""Any signal at any time: the device is as before, or what was printed names how not, and it can be undone.

Of the signals some end a run in good order, some at once, as SIGKILL does.
"""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.cli.process import ENDING
from kheaders_adb.device.probe import WORK_NAME
from kheaders_adb.device.push import FOLDER, MARK
from tests.conftest import KILLS, LONG, SEED

from .client import store_problems
from .devices import AdbdRestart, Device, Headers, Su
from .faults import wait_until
from .server import SCRATCH, Server

COUNT = 300 if LONG else 60
_AT_ONCE = 4
_RESTART = AdbdRestart(lingers_s=0.05, away_s=0.15)
_WAYS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "adb root": ({"uid": 2000, "debuggable": True, "adbd_restart": _RESTART}, ("pull",)),
    "adb root and load": (
        {"uid": 2000, "debuggable": True, "adbd_restart": _RESTART, "headers": Headers.MODULE},
        ("pull", "-q"),
    ),
    "load": ({"headers": Headers.MODULE}, ("pull",)),
    "load through su": (
        {"uid": 2000, "debuggable": False, "su": Su.MAGISK, "headers": Headers.MODULE},
        ("pull", "-q"),
    ),
    "push": ({"uid": 2000}, ("push",)),
}

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800 if LONG else 300)]
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["kheaders_adb.cli.app", "kheaders_adb.pipeline.cold", __name__])


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended, of itself or (then without a code) by a signal."""

    code: int | None
    err: str


def _run(argv: list[str], home: str, err: str, code: str) -> None:
    """In the new process: the command line, as its entry point runs it."""
    from kheaders_adb.cli.main import main

    os.environ.update(HOME=home, TERM="dumb")
    for fd, path in ((1, err), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    sys.argv = ["kheaders-adb", *argv]
    try:
        main()
    except SystemExit as ended:
        Path(code).write_text(str(ended.code or 0))
        raise


class Host:
    """The commands of one case: a server's port, a store."""

    def __init__(self, server: Server, scratch: Path) -> None:
        self.store = scratch / "store"
        self._shared = ["-P", str(server.port), "--store", str(self.store)]
        self._scratch = scratch
        self._count = 0

    def run(self, *words: str, kill: tuple[signal.Signals, float] | None = None) -> Ended:
        """Run a command to its end; with `kill` that signal is sent after so many seconds."""
        self._count += 1
        err = self._scratch / f"err-{self._count}"
        code = self._scratch / f"code-{self._count}"
        err.touch()
        argv = [*self._shared, *words]
        process = _CONTEXT.Process(
            target=_run, args=(argv, str(self._scratch), str(err), str(code))
        )
        process.start()
        if kill is not None and process.pid is not None:
            number, after_s = kill
            process.join(after_s)
            if process.is_alive():
                os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode is not None, f"{words} still runs: {err.read_text()}"
        # The forkserver now and then loses a code, so the process writes it down.
        ended = int(code.read_text()) if code.exists() else None
        return Ended(ended, err.read_text())


def _changed(device: Device, uid: int) -> list[str]:
    """How the device is not as before, in the words that a user would be told of it."""
    wait_until(lambda: device.is_settled)
    changed = ["restarting adbd as root"] if device.uid != uid else []
    ours = [name for name in device.leftovers() if name.startswith(WORK_NAME)]
    if "kheaders " in device.loaded_modules or ours:
        changed.append("loading ")
    return changed


def _half_pushed(device: Device) -> list[str]:
    folder = device.root / "data/local/tmp" / FOLDER
    trees = list(folder.iterdir()) if folder.is_dir() else []
    return [tree.name for tree in trees if not (tree / MARK).is_file()]


def _one(name: str, number: signal.Signals, share: float, whole_s: float) -> list[str]:
    """One kill, and what was wrong afterwards."""
    options, words = _WAYS[name]
    case, problems = f"{name}, {number.name} at {share:.2f}", []
    with tempfile.TemporaryDirectory(prefix="kill-", dir=SCRATCH) as scratch, Server() as server:
        device = server.add_device(**options)
        uid, host = device.uid, Host(server, Path(scratch))
        ended = host.run(*words, kill=(number, share * whole_s))
        # Its scripts clean up by themselves; what is left when none of them runs any more stays.
        assert wait_until(lambda: device.is_settled and not device.running, 30.0), case
        quiet = wait_until(lambda: not _changed(device, uid) and not _half_pushed(device), 2.0)
        changed = _changed(device, uid)
        problems += [
            f"{case}: {what!r} was not said: {ended.err!r}"
            for what in changed
            if what not in ended.err
        ]
        if changed and not list((host.store / "changes").glob("*.json")):
            problems.append(f"{case}: {changed} is not noted: {ended.err!r}")
        if changed and number in ENDING and "undoes it" not in ended.err:
            problems.append(f"{case}: {changed} was not undone: {ended.err!r}")
        if not quiet and _half_pushed(device):
            problems.append(f"{case}: half pushed: {_half_pushed(device)}")
        if not quiet:
            # What is not undone is told by the next one that looks, and undone by whoever asks for that.
            looked = host.run("doctor", "-q")
            undone = host.run("doctor", "--undo")
            if undone.code != 0:
                problems.append(f"{case}: undo says {undone.code} {undone.err} ({looked.err})")
            if not wait_until(lambda: not _changed(device, uid)):
                problems.append(f"{case}: {_changed(device, uid)} after undo: {undone.err}")
        again = host.run(*words)
        if again.code != 0:
            problems.append(f"{case}: afterwards {again.code} {again.err}")
        if not wait_until(lambda: not _changed(device, uid)) or _half_pushed(device):
            problems.append(f"{case}: {_changed(device, uid)} after the next run: {again.err}")
        if list((host.store / "changes").glob("*")):
            host.run(*words)  # a note of what is over is forgotten by the next one
            notes = [path.name for path in (host.store / "changes").iterdir()]
            problems += [f"{case}: still noted: {note}" for note in notes]
        archives = {device.kernel.archive_sha256: device.kernel.archive}
        host.run("gc")
        problems += store_problems(host.store, archives)
    return problems


def _whole_s(name: str) -> float:
    options, words = _WAYS[name]
    with tempfile.TemporaryDirectory(prefix="kill-", dir=SCRATCH) as scratch, Server() as server:
        server.add_device(**options)
        host = Host(server, Path(scratch))
        started_s = time.monotonic()
        ended = host.run(*words)
        assert ended.code == 0, ended.err
        return time.monotonic() - started_s


def test_killed_by_any_signal_at_any_time() -> None:
    chance = random.Random(SEED)
    names = list(_WAYS)
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        whole_s = dict(zip(names, pool.map(_whole_s, names), strict=True))
        cases = [
            (name, chance.choice(KILLS), chance.uniform(0.05, 1.1), whole_s[name])
            for name in (names[number % len(names)] for number in range(COUNT))
        ]
        problems = [found for each in pool.map(lambda case: _one(*case), cases) for found in each]
    assert not problems, "\n".join(problems)
