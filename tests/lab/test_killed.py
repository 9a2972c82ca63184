"""SIGKILL at any point of a pull that loads a module: the device and the store recover by themselves."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.lab import Device
from tests.conftest import SEED
from tests.lab.cli import User, with_module

Boot = Callable[..., Device]

KILLS = 50


@pytest.mark.timeout(1200)
def test_killed_at_fifty_points_the_next_pull_cleans_up(fresh: Boot, tmp_path: Path) -> None:
    device = fresh("x86_64-stock")
    chance = random.Random(SEED)
    user = User(device, tmp_path / "timed")
    started_s = time.monotonic()
    assert user.run("pull", *with_module(device)).code == 0
    whole_s = time.monotonic() - started_s
    for number in range(KILLS):
        user = User(device, tmp_path / str(number))
        process = user.start("pull", *with_module(device))
        time.sleep(chance.uniform(0, 1.1 * whole_s))
        process.kill()
        process.communicate()
        done = user.run("pull", *with_module(device))
        assert done.code == 0, (number, done.err)
        assert user.traces() == "", number
        assert user.run("gc").code == 0
        assert not list((user.store / "tmp").iterdir()), number
