"""Two processes of each kind that does anything to a store, against each other.

Whatever a lock is for, this must notice when it is missing: an error that is nobody's fault, a tree that is
empty or half there, on the host or on a device, a pin that is lost.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kheaders_adb.store import Store
from kheaders_adb.store.upkeep.gc import Policy, collect
from tests.conftest import LONG, SEED

from .kernel import Kernel
from .races import KINDS, Task
from .server import SCRATCH, Server

SECONDS = 1200.0 if LONG else 20.0
_EACH = 2
_OVERTIME_S = 120.0
"""How long the last round of a process may take on a busy machine; then it hangs."""


pytestmark = [pytest.mark.campaign, pytest.mark.timeout(SECONDS + 2 * _OVERTIME_S)]


@pytest.fixture
def home() -> Iterator[Path]:
    """In memory where that can be: what is raced here is not the disk."""
    with tempfile.TemporaryDirectory(prefix="races-", dir=SCRATCH) as folder:
        yield Path(folder)


def test_everything_against_everything(server: Server, home: Path) -> None:
    shared = [server.add_device(f"SHARED{n}", kernel=Kernel(headers=20, seed=n)) for n in range(2)]
    own = [
        server.add_device(f"OWN{n}", kernel=Kernel(headers=20, seed=10 + n)) for n in range(_EACH)
    ]
    kernels = [device.kernel for device in [*shared, *own]]
    tasks = [
        Task(
            kind=kind,
            number=number,
            seconds=SECONDS,
            seed=SEED,
            port=server.port,
            store=str(home / "store"),
            shared=[device.serial for device in shared],
            own=own[number].serial,
            tmp={device.serial: str(device.host_path("/data/local/tmp")) for device in shared},
            trees={kernel.archive_sha256: digests_of(kernel.archive) for kernel in kernels},
        )
        for kind in KINDS
        for number in range(_EACH)
    ]
    with ThreadPoolExecutor(len(tasks)) as processes:
        outcomes = list(processes.map(race, tasks))
    ended: Counter[str] = Counter()
    for outcome in outcomes:
        ended.update(outcome["ended"])
    problems = [problem for outcome in outcomes for problem in outcome["problems"]]
    assert problems == [], f"seed {SEED}, {ended}"
    # Each has happened, and often enough to say something.
    for what in ("gc 0", "remove 0", "pin 0", "unpin 0", "push 0", "in use True", "verify 0"):
        assert ended[what] >= 3, ended
    store = Store.open(home / "store")
    assert [path.name for path in (store.root / "tmp").iterdir()] == []
    for key in store.pinned():
        store.unpin(key)
    collect(store, Policy(max_kernels=0, grace_s=-3600))
    for folder in ("archives", "trees", "manifests", "kernels", "pins"):
        assert list((store.root / folder).iterdir()) == [], folder


def race(task: Task) -> dict[str, list[str]]:
    home = str(Path(task.store).parent)
    done = subprocess.run(
        [sys.executable, "-m", "tests.wire.races"],
        input=json.dumps(dataclasses.asdict(task)),
        capture_output=True,
        text=True,
        timeout=task.seconds + _OVERTIME_S,
        env={"PATH": os.environ["PATH"], "HOME": home, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if done.returncode:
        return {"ended": [], "problems": [f"{task.kind} {task.number}: {done.stderr}"]}
    outcome = json.loads(done.stdout)
    assert isinstance(outcome, dict)
    return outcome


def digests_of(archive: bytes) -> dict[str, str]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(archive))) as tar:
        for member in tar:
            if (file := tar.extractfile(member)) is not None:
                name = member.name.removeprefix("./")
                found[name] = hashlib.sha256(file.read()).hexdigest()
    return found
