"""Killed at any point of a pull, in which a module is loaded, or adbd root: device and store recover."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.lab import Device
from tests.conftest import KILLS, LONG, SEED
from tests.lab.cli import User, with_module

Boot = Callable[..., Device]

_SIGKILLS = 50
_AS_ROOT = 30 if LONG else 10


@pytest.mark.timeout(1200)
def test_killed_at_fifty_points_the_next_pull_cleans_up(fresh: Boot, tmp_path: Path) -> None:
    device = fresh("x86_64-stock")
    chance = random.Random(SEED)
    user = User(device, tmp_path / "timed")
    started_s = time.monotonic()
    assert user.run("pull", *with_module(device)).code == 0
    whole_s = time.monotonic() - started_s
    for number in range(_SIGKILLS):
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


@pytest.mark.timeout(900)
def test_killed_by_any_signal_while_adbd_is_root(fresh: Boot, tmp_path: Path) -> None:
    """What a signal that cannot be caught leaves is said before, told by doctor, and undone by it."""
    device = fresh("x86_64-stock", "userdebug")
    chance = random.Random(SEED)
    user = User(device, tmp_path / "timed")
    started_s = time.monotonic()
    assert user.run("pull", *with_module(device)).code == 0
    whole_s = time.monotonic() - started_s
    for number in range(_AS_ROOT):
        user = User(device, tmp_path / str(number))
        kill = chance.choice(KILLS)
        process = user.start("pull", "-q", *with_module(device))
        time.sleep(chance.uniform(0.1, 1.0) * whole_s)
        process.send_signal(kill)
        _, err = process.communicate()
        time.sleep(2)  # adbd may be about to restart
        undone = user.run("doctor", "--undo")
        assert undone.code == 0, (number, kill, err, undone)
        if "shell's user again" in undone.out:
            assert "restarting adbd as root" in err, (number, kill, err, undone)
        assert device.shell("id -u").stdout.strip() == "2000", (number, kill, err, undone)
        # A cut connection is noticed by the script on the device a little later.
        until_s = time.monotonic() + 10
        while (left := user.traces()) and time.monotonic() < until_s:
            time.sleep(0.2)
        assert left == "", (number, kill, err, left)
