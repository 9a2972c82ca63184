"""A pull against what a user does by hand, warm against cold, and `path` against the smallest program."""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

from fixtures.lab import Device, Lab, LabMissing
from fixtures.lab.adbserver import adb_program
from tests.bench.pairs import Pairs, command, measure
from tests.lab.cli import PROGRAM, environment

_ARCHIVE = "/sys/kernel/kheaders.tar.xz"
_BY_HAND = """
set -e
mkdir -p "$1"
{adb} shell 'uname -r; cat /proc/sys/kernel/random/boot_id' >"$1/kernel"
{adb} pull -q {archive} "$1/kheaders.tar.xz"
mkdir "$1/tree"
tar -xJf "$1/kheaders.tar.xz" -C "$1/tree"
sync -f "$1/tree"
"""
_SMALLEST = (
    "import typer\napp = typer.Typer()\n@app.command()\ndef main() -> None: print()\napp()\n"
)


def bench(pairs: int) -> list[Pairs]:
    """Boot a device whose kernel shows its archive, and measure on it."""
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="kheaders-bench-") as folder:
        device = _device_that_shows_headers(lab)
        return list(_measure(device, adb_program(), Path(folder), pairs))


def _measure(device: Device, adb: Path, folder: Path, pairs: int) -> list[Pairs]:
    numbers = itertools.count()
    port = device.adb_server_port
    connection = f"{adb} -P {port} -s {device.serial}"
    script = _BY_HAND.format(adb=connection, archive=_ARCHIVE)
    pull = [PROGRAM, "pull", "-q", "-s", device.serial]
    stores = folder / "stores"

    def cold() -> None:
        # A fresh store each time: removing the last tree just before would slow the writing down.
        command(pull, environment(port, stores / str(next(numbers))))()

    def by_hand() -> None:
        command(["sh", "-c", script, "sh", folder / f"hand-{next(numbers)}"], lab_home(folder))()

    warm_store = environment(port, folder / "warm")
    warm = command(pull, warm_store)
    warm()
    smallest = folder / "smallest.py"
    smallest.write_text(_SMALLEST)
    return [
        measure("cold pull / by hand", cold, by_hand, pairs=pairs, limit=1.3),
        measure("warm pull / cold pull", warm, cold, pairs=pairs, limit=0.3),
        measure(
            "path / smallest typer program",
            command([PROGRAM, "path"], warm_store),
            command([sys.executable, smallest]),
            pairs=pairs,
            limit=1.3,
        ),
    ]


def lab_home(folder: Path) -> dict[str, str]:
    """An environment in which the adb client leaves the user's own files alone."""
    return environment(1, folder) | {"HOME": str(folder), "PATH": "/usr/bin:/bin"}


def _device_that_shows_headers(lab: Lab) -> Device:
    try:
        return lab.boot("x86_64-builtin")
    except LabMissing:
        device = lab.boot("x86_64-stock")
    module = device.kernel.kheaders_ko
    assert module is not None
    device.push(module, "/data/local/tmp/kheaders.ko")
    device.root_shell("insmod /data/local/tmp/kheaders.ko && rm /data/local/tmp/kheaders.ko")
    return device
