"""What a terminal shows of a cold pull of a booted device, while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fixtures.lab import Device, Lab
from tests.lab.cli import PROGRAM, User, environment, tapped
from tests.lab.conftest import kheaders_of
from tests.watched import lines_drawn, watching

KERNEL = "x86_64-module"


def test_the_steps_of_a_cold_pull(lab: Lab, boot: Callable[..., Device], tmp_path: Path) -> None:
    module = kheaders_of(KERNEL, lab)
    device = boot(KERNEL, "user-su-magisk")
    serial = device.serial
    with tapped(User(device, tmp_path / "store")) as (user, tap):
        tap.at(1, lambda: time.sleep(0.6))  # what follows something slow is shown at once
        env = environment(user.port, user.store) | {"TERM": "xterm"}
        env.pop("CI", None)
        argv = [str(PROGRAM), "pull", "-s", serial, "--module", str(module)]
        with watching(argv, env, columns=200) as run:
            shown = run.shown()
            assert run.process.wait(60) == 0, shown
    first, *others = lines_drawn(shown)
    assert first == "looking for the device"
    assert [line.removeprefix(f"{serial}: ") for line in others] == [
        "looking at the kernel",
        "becoming root",
        "looking for the headers",
        f"loading {module}",
        "reading /sys/kernel/kheaders.tar.xz",
        "checking the headers",
        "staging the headers",
    ]
    said = [line.rpartition("\x1b[K")[2] for line in shown.split("\r\n")]
    assert said[-1] == ""
    assert not any("\r" in line for line in said)
