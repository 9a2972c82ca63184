"""Real faults: servers that die or stop, devices that reboot, users who kill, many at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fixtures.lab import Device, Lab
from tests.lab.cli import User, is_empty, tapped, with_module

Boot = Callable[..., Device]

KERNEL = "x86_64-stock"


def test_twenty_pulls_by_four_processes_share_one_module(fresh: Boot, tmp_path: Path) -> None:
    """Each process has a store of its own, so that each of the twenty really reads the module."""
    device = fresh(KERNEL)

    def five(number: int) -> list[tuple[int, str]]:
        user = User(device, tmp_path / str(number))
        runs = [user.run("pull", "--refresh", *with_module(device)) for _ in range(5)]
        return [(done.code, done.err) for done in runs]

    with ThreadPoolExecutor(4) as pool:
        results = [result for each in pool.map(five, range(4)) for result in each]
    assert [code for code, _ in results] == [0] * 20, results
    assert User(device, tmp_path).traces() == ""


def test_the_adb_server_dies_in_mid_transfer(fresh: Boot, lab: Lab, tmp_path: Path) -> None:
    device = fresh(KERNEL)
    with tapped(User(device, tmp_path)) as (user, tap):
        tap.at(1_000_000, lab.server.kill)
        done = user.run("pull", *with_module(device))
    lab.server.start()
    device.connect()
    assert done.code == 7, done.err
    assert is_empty(tmp_path)
    again = User(device, tmp_path)
    assert again.run("pull", *with_module(device)).code == 0
    assert again.traces() == ""


def test_a_stopped_adb_server_is_given_up_at_the_deadline(
    fresh: Boot, lab: Lab, tmp_path: Path
) -> None:
    device = fresh(KERNEL)
    with tapped(User(device, tmp_path)) as (user, tap):
        tap.at(1_000_000, lab.server.pause)
        started_s = time.monotonic()
        done = user.run("pull", "--timeout", "6", *with_module(device))
        lasted_s = time.monotonic() - started_s
        lab.server.resume()  # or closing the tap would wait for it
    assert done.code == 7, done.err
    assert lasted_s < 6 + 5  # a guard against hanging, with room for start-up on a busy machine
    assert is_empty(tmp_path)
    assert User(device, tmp_path).run("pull", *with_module(device)).code == 0
    assert User(device, tmp_path).traces() == ""


def test_a_silent_device_is_given_up_at_the_deadline(fresh: Boot, tmp_path: Path) -> None:
    device = fresh(KERNEL)
    with tapped(User(device, tmp_path)) as (user, tap):
        tap.at(1_000_000, device.pause)
        done = user.run("pull", "--timeout", "6", *with_module(device))
        device.resume()
    assert done.code == 7, done.err
    assert is_empty(tmp_path)
    user = User(device, tmp_path)
    assert user.run("pull", "--wait=30", *with_module(device)).code == 0
    assert user.traces() == ""


def test_a_swap_of_kernels_between_two_pulls_is_another_kernel(fresh: Boot, tmp_path: Path) -> None:
    device = fresh("x86_64-module")
    user = User(device, tmp_path)
    first = user.run("pull", "--json", *with_module(device)).document
    device.reboot("x86_64-builtin")
    second = user.run("pull", "--json").document
    assert first["kernel"]["release"] == second["kernel"]["release"]
    assert first["kernel"]["key"] != second["kernel"]["key"]
    # The built-in kernel's stale archive is the very one of the module: known by its digest, judged anew.
    assert first["archive"] == second["archive"]
    assert (second["cached"], second["verdict"]["level"]) == (False, "exact")


def test_a_reboot_in_mid_transfer_stages_nothing_under_either_kernel(
    fresh: Boot, tmp_path: Path
) -> None:
    device = fresh("x86_64-builtin")
    with tapped(User(device, tmp_path)) as (user, tap):
        tap.at(1_000_000, lambda: device.reboot("x86_64-module"))
        done = user.run("pull")
    assert done.code == 7, done.err
    assert is_empty(tmp_path)


def test_waiting_for_a_device_that_comes_later(fresh: Boot, tmp_path: Path) -> None:
    device = fresh(KERNEL)
    device.kill()
    user = User(device, tmp_path)
    assert user.run("pull", *with_module(device)).code in (3, 7)
    process = user.start("pull", "--wait=60", *with_module(device))
    time.sleep(1)
    device.start()
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert "trying again in" in err


def test_ctrl_c_while_su_is_asked(boot: Boot, tmp_path: Path) -> None:
    device = boot(KERNEL, "user-su-hang")
    process = User(device, tmp_path).start("pull", *with_module(device))
    assert process.stderr is not None
    while "dialog may be open" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert is_empty(tmp_path)
