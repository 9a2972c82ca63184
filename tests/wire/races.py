"""One of many processes that do things to one store at once, again and again; see test_races.py.

Run as ``python -m tests.wire.races``, with a `Task` in JSON on stdin; the `Outcome` comes on stdout.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kheaders_adb.cli.main import main
from kheaders_adb.device.push import MARK
from kheaders_adb.errors import KheadersError
from kheaders_adb.store import Store


@dataclass(frozen=True, slots=True)
class Task:
    """What a process is to do.

    Attributes:
        kind: one of `KINDS`.
        number: which of its kind it is.
        seconds: how long.
        seed: for its pauses and choices.
        port: the fake adb server's.
        store: the store's folder.
        shared: the devices whose kernels everybody fights for.
        own: the device whose kernel only this process removes and pins.
        tmp: where a shared device's /data/local/tmp is on the host, by serial.
        trees: for each archive by sha256, the digests of what is in it.
    """

    kind: str
    number: int
    seconds: float
    seed: int
    port: int
    store: str
    shared: list[str]
    own: str
    tmp: dict[str, str]
    trees: dict[str, dict[str, str]]


@dataclass(slots=True)
class Outcome:
    """How often what ended how, and what must not have been."""

    ended: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    def was_refused(self, *reasons: str) -> bool:
        """Whether it failed for one of these reasons."""
        return self.code in (2, 8) and any(reason in self.err for reason in reasons)


_NO_KERNEL = (
    "nothing is staged for the kernel",
    "no staged kernel is called",
    "no kernel is staged",
    "no kernel ",
)
_IN_USE = "is being used by a running command"
_GONE = "is not there"


class Racer:
    """A process of the race."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.store = Store.open(Path(task.store))
        self.chance = random.Random(f"{task.seed}-{task.kind}-{task.number}")
        self.outcome = Outcome()

    def race(self) -> Outcome:
        """Do it until the time is over, or something went wrong."""
        step = KINDS[self.task.kind]
        end = time.monotonic() + self.task.seconds
        while time.monotonic() < end and len(self.outcome.problems) < 3:
            step(self)
            time.sleep(self.chance.random() * 0.02)
        return self.outcome

    def run(self, *words: str, may: tuple[str, ...] = ()) -> Done:
        """Run a command line; it must succeed, or fail for a reason that it may fail for."""
        out, err = io.StringIO(), io.StringIO()
        sys.argv = ["kheaders-adb", "--store", self.task.store, "-P", str(self.task.port), *words]
        code = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
        gc.unfreeze()
        done = Done(words, code, out.getvalue(), err.getvalue())
        if code == 0 or done.was_refused(*may):
            self.outcome.ended[f"{words[0]} {code}"] += 1
        else:
            self.wrong(f"{' '.join(words)}: {code} {done.out} {done.err}")
        return done

    def wrong(self, what: str) -> None:
        """Note that something is as it must never be."""
        self.outcome.problems.append(f"{self.task.kind} {self.task.number}: {what}")

    def shared_device(self) -> str:
        """Any of the devices that everybody uses."""
        return self.chance.choice(self.task.shared)

    def check_tree(self, folder: Path, tree: str, *, without: str = "") -> None:
        """A tree is complete and right while it may not be removed."""
        found = digests(folder)
        found.pop(without, None)
        expected = self.task.trees[tree]
        if found != expected:
            lacking = sorted(expected.keys() - found.keys())
            self.wrong(f"{folder}: {len(found)} of {len(expected)} files, lacking {lacking[:3]}")


def digests(folder: Path) -> dict[str, str]:
    """What is in a folder: each file's digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def collect(racer: Racer) -> None:
    """gc, as hard as it can."""
    limit = racer.chance.choice(
        [["--max-kernels", "0"], ["--max-size", "0"], ["--max-age", "0s"], []]
    )
    dry = ["--dry-run"] if racer.chance.random() < 0.2 else []
    racer.run("gc", *limit, *dry)
    time.sleep(racer.chance.random() * 0.1)


def remove(racer: Racer) -> None:
    """Remove a kernel that everybody uses."""
    serial = racer.shared_device()
    done = racer.run("remove", f"@{serial}", may=(*_NO_KERNEL, _IN_USE))
    if done.code == 0 and "removed" not in done.err:
        racer.wrong(f"remove says nothing: {done.err}")
    time.sleep(racer.chance.random() * 0.1)


def pin(racer: Racer) -> None:
    """Pin a kernel that nobody else removes: it stays until it is let go."""
    own = racer.task.own
    racer.run("pull", "-s", own)
    if racer.run("pin", f"@{own}", may=_NO_KERNEL).code:
        return
    record = racer.store.running(own)
    if record is None:
        racer.wrong("a pinned kernel is gone")
        return
    for _ in range(racer.chance.randrange(1, 8)):
        time.sleep(racer.chance.random() * 0.05)
        if racer.store.find_kernel(record.key) is None:
            racer.wrong("a pinned kernel is gone")
        if record.key not in racer.store.pinned():
            racer.wrong("the pin is gone")
        racer.check_tree(racer.store.tree_path(record.tree), record.tree)
    racer.run("unpin", record.key)


def unpin(racer: Racer) -> None:
    """Pin and unpin what everybody uses."""
    racer.run(racer.chance.choice(["pin", "unpin"]), f"@{racer.shared_device()}", may=_NO_KERNEL)


def push(racer: Racer) -> None:
    """Push to a folder of its own, which is then complete."""
    serial = racer.shared_device()
    name = f"{racer.task.kind}{racer.task.number}"
    there = Path(racer.task.tmp[serial], name)
    racer.run("push", "-s", serial, "--to", f"/data/local/tmp/{name}", "--json")
    if there.is_dir():
        mark = (there / MARK).read_text()
        tree = next(sha for sha in racer.task.trees if sha[:16] == mark.split(" ")[0][-16:])
        racer.check_tree(there, tree, without=MARK)
        shutil.rmtree(there)


def use(racer: Racer) -> None:
    """Compile, as far as the store is concerned: a tree in use is complete until the end."""
    if racer.chance.random() < 0.3:
        racer.run("cflags", f"@{racer.shared_device()}", may=(*_NO_KERNEL, _GONE))
        return
    record = racer.store.running(racer.shared_device())
    if record is None:
        return
    try:
        with racer.store.in_use_if_there(record) as is_there:
            racer.outcome.ended[f"in use {is_there}"] += 1
            if is_there:
                folder = racer.store.tree_path(record.tree)
                racer.check_tree(folder, record.tree)
                time.sleep(racer.chance.random() * 0.05)
                racer.check_tree(folder, record.tree)
                if racer.store.find_kernel(record.key) is None:
                    racer.wrong("a kernel in use is gone")
    except (KheadersError, OSError) as error:
        racer.wrong(f"in use: {error!r}")


def verify(racer: Racer) -> None:
    """Whatever there is at this moment is sound."""
    words = ["--all"] if racer.chance.random() < 0.5 else [f"@{racer.shared_device()}"]
    racer.run("verify", *words, may=_NO_KERNEL)


KINDS: dict[str, Callable[[Racer], None]] = {
    "gc": collect,
    "remove": remove,
    "pin": pin,
    "unpin": unpin,
    "push": push,
    "use": use,
    "verify": verify,
}


if __name__ == "__main__":
    os.environ.pop("ANDROID_SERIAL", None)
    outcome = Racer(Task(**json.load(sys.stdin))).race()
    json.dump({"ended": outcome.ended, "problems": outcome.problems}, sys.stdout)
