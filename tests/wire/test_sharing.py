"""Many hosts and one module: nobody unloads it under a reader, the last one out does."""

from __future__ import annotations

import concurrent.futures
import random
import time
from pathlib import Path

import pytest

from tests.conftest import SCALE, SEED

from .client import pull, store_problems
from .devices import Headers
from .faults import wait_until
from .server import Server

PULLS = 30 * SCALE


@pytest.mark.parametrize(
    "headers", [Headers.MODULE, Headers.ABSENT], ids=["on the device", "pushed"]
)
def test_a_module_shared_by_many(server: Server, tmp_path: Path, headers: Headers) -> None:
    device = server.add_device(headers=headers)
    module = None
    if headers is Headers.ABSENT:
        module = tmp_path / "kheaders.ko"
        module.write_bytes(device.kernel.module)
    pauses = random.Random(SEED)

    def pull_once(number: int) -> tuple[str, ...]:
        time.sleep(pauses.random() / 10)
        store = tmp_path / f"store{number}"  # a host of its own: no store tells it to wait
        staged = pull(server.port, store, serial=None, timeout_s=90, module=module)
        assert staged.archive.sha256 == device.kernel.archive_sha256
        assert store_problems(store, {device.kernel.archive_sha256: device.kernel.archive}) == []
        return staged.notes

    with concurrent.futures.ThreadPoolExecutor(6) as hosts:
        notes = [note for notes in hosts.map(pull_once, range(PULLS)) for note in notes]
    assert not [note for note in notes if "could not be unloaded" in note], f"seed {SEED}"
    assert wait_until(lambda: "kheaders " not in device.loaded_modules), f"seed {SEED}"
    assert wait_until(lambda: not device.leftovers()), f"seed {SEED}"
