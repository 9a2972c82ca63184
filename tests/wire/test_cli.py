"""The command line against the fake server: exit codes, streams, signals, too few descriptors."""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .cases import PROBE, READ
from .client import store_problems
from .devices import ARCHIVE_PATH, Adbd, Device, Headers, Packing, State, Su
from .faults import Action, wait_until
from .kernel import Kernel, packed
from .server import Server

_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str


class Cli:
    """kheaders-adb, bound to the fake server and a store of its own."""

    def __init__(self, server: Server, home: Path) -> None:
        self._server = server
        self.home = home
        self.store = home / "store"

    def argv(self, *arguments: str, store: Path | None = None) -> list[str]:
        """The command line."""
        place = str(store or self.store)
        shared = ["-P", str(self._server.port), "--store", place]
        return [sys.executable, "-m", "kheaders_adb", *shared, *arguments]

    @property
    def env(self) -> dict[str, str]:
        """A bare environment: no variable of the user's adb, no colours."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TERM": "dumb",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def __call__(self, *arguments: str, store: Path | None = None, **options: Any) -> Done:
        done = subprocess.run(
            self.argv(*arguments, store=store),
            env=self.env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            **options,
        )
        assert _TRACEBACK not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The command, running."""
        with subprocess.Popen(
            self.argv(*arguments),
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


def test_push_into_a_chroot_names_the_tree_as_from_inside(cli: Cli, device: Device) -> None:
    device.put("/data/local/tmp/debian/motd", b"")
    done = cli("push", "--root", "/data/local/tmp/debian")
    assert done.code == 0, done.err
    (name,) = (
        path.name for path in device.host_path("/data/local/tmp/debian/usr/src/kheaders").iterdir()
    )
    assert f"export BPFTRACE_KERNEL_SOURCE=/usr/src/kheaders/{name};\n" in done.out
    assert "/data/" not in done.out
    assert f"are in /data/local/tmp/debian/usr/src/kheaders/{name}\n" in done.err


def test_pull_prints_the_tree_alone(cli: Cli, device: Device) -> None:
    done = cli("pull")
    assert done.code == 0
    tree = Path(done.out.removesuffix("\n"))
    assert (tree / "include/generated/utsrelease.h").read_text() == (
        f'#define UTS_RELEASE "{device.kernel.release}"\n'
    )
    assert store_problems(cli.store, {device.kernel.archive_sha256: device.kernel.archive}) == []


def test_a_second_pull_is_one_round_trip_and_moves_no_archive(cli: Cli, server: Server) -> None:
    server.add_device()
    first = json.loads(cli("pull", "--json").out)
    server.log.clear()
    second = json.loads(cli("pull", "--json").out)
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["device_round_trips"] == 1
    assert not server.services(READ)
    assert [service[:9] for _, service in server.log if service.startswith("shell")] == [
        "shell,v2,"
    ]
    assert second["archive"] == first["archive"]
    assert second["tree"] == first["tree"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"state": State.UNAUTHORIZED}, 3, "Allow USB debugging"),
        ({"state": State.OFFLINE}, 3, "offline"),
        ({"state": State.NO_PERMISSIONS}, 3, "udev"),
        ({"headers": Headers.ABSENT}, 4, "--module"),
        ({"uid": 2000, "debuggable": False}, 4, "root"),
        ({"uid": 2000, "su": Su.DENIED, "debuggable": False}, 4, "root"),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else None,
)
def test_what_cannot_be_is_explained(
    cli: Cli, server: Server, options: dict[str, Any], code: int, said: str
) -> None:
    server.add_device("PHONE", **options)
    done = cli("pull")
    assert done.code == code, done.err
    assert done.out == ""
    assert "PHONE" in done.err
    assert said in done.err


def test_doctor_says_how_a_device_runs_commands(cli: Cli, server: Server) -> None:
    server.add_device("NEW")
    server.add_device("OLD", features=(), adbd=Adbd.ANDROID_4)
    server.add_device("MUTE", features=())
    server.inject(
        Action.REPLACE, "^(shell|exec)", serial="MUTE", data=b"FAIL0006closed", repeat=True
    )
    lines = cli("doctor").out.splitlines()
    assert any(line.startswith("ok") and "NEW: device; pull would" in line for line in lines)
    assert any(
        "OLD: device, without shell protocol 2: output through shell:" in line for line in lines
    )
    assert any(
        line.startswith("warn") and "MUTE: it runs no command whose end can be seen" in line
        for line in lines
    )
    assert (cli("doctor", "-s", "MUTE").code, cli("pull", "-s", "MUTE").code) == (4, 4)


def test_no_device(cli: Cli) -> None:
    done = cli("pull")
    assert (done.code, done.out) == (3, "")
    assert "no device is connected" in done.err


def test_several_devices_are_listed_with_their_flags(cli: Cli, server: Server) -> None:
    server.add_device("ONE")
    server.add_device("TWIN")
    twin = server.add_device("TWIN")
    done = cli("pull")
    assert (done.code, done.out) == (3, "")
    assert "-s ONE" in done.err
    assert f"-t {twin.transport_id}" in done.err
    assert cli("pull", "-t", str(twin.transport_id)).code == 0
    assert cli("pull", "-s", "ONE").code == 0
    assert cli("pull", "-s", "TWIN").code == 3


def test_headers_of_another_kernel(cli: Cli, server: Server) -> None:
    device = server.add_device("PHONE")
    device.put(ARCHIVE_PATH, Kernel(extra=(("DEBUG_LIST", "y"),)).archive)
    done = cli("pull")
    assert done.code == 5
    assert "DEBUG_LIST" in done.err
    assert not list((cli.store / "trees").iterdir())
    allowed = json.loads(cli("pull", "--allow-mismatch", "--json").out)
    assert allowed["verdict"]["level"] == "mismatch"


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("empty", b""),
        ("no archive", b"#!/bin/sh\n" * 500),
        ("cut short", Kernel().archive[:-5000]),
        ("trailing bytes", Kernel().archive + b"x" * 100),
    ],
)
def test_a_broken_archive(cli: Cli, server: Server, what: str, content: bytes) -> None:
    device = server.add_device("PHONE")
    device.put(ARCHIVE_PATH, content)
    done = cli("pull")
    assert done.code == 6, done.err
    assert "PHONE" in done.err
    assert store_problems(cli.store, {}) == []


@pytest.mark.parametrize("packing", [Packing.XZ, Packing.GZ, Packing.ZST])
@pytest.mark.parametrize("name", ["kheaders.ko{}", "kheaders.ko", "folder/kernel/kheaders.ko{}"])
def test_a_packed_module_is_matched_pushed_and_loaded_unpacked(
    cli: Cli, server: Server, tmp_path: Path, packing: Packing, name: str
) -> None:
    """The kernel takes no packed one; that the fake's does not either, test_fake_device.py shows."""
    device = server.add_device(headers=Headers.ABSENT)
    file = tmp_path / name.format(packing.value)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(packed(device.kernel.module, packing))
    given = tmp_path / "folder" if name.startswith("folder") else file
    done = cli("pull", "--json", "--module", str(given))
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["source"] == {"kind": "module-loaded", "path": str(file)}
    assert document["archive"]["sha256"] == device.kernel.archive_sha256
    assert "kheaders " not in device.loaded_modules
    assert device.leftovers() == []


def test_a_packed_module_that_does_not_unpack_touches_nothing(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    device = server.add_device(headers=Headers.ABSENT)
    good = packed(device.kernel.module, Packing.XZ)
    for content, said in (
        (good[:-20], "within the xz stream"),
        (good + good, "another xz stream follows the first"),
        (packed(good, Packing.GZ), "packed twice"),
    ):
        (tmp_path / "kheaders.ko").write_bytes(content)
        done = cli("pull", "--module", str(tmp_path / "kheaders.ko"))
        assert (done.code, done.out) == (6, "")
        assert said in done.err
        assert "hint:" in done.err
    assert device.leftovers() == []


def test_a_lost_transfer(cli: Cli, server: Server, device: Device) -> None:
    fault = server.inject(Action.RESET, READ, 90_000)
    done = cli("pull")
    assert (done.code, done.out, fault.fired) == (7, "", 1)
    assert store_problems(cli.store, {}) == []
    assert cli("pull").code == 0


@pytest.mark.parametrize("service", [PROBE, READ])
def test_the_timeout_is_a_total(cli: Cli, server: Server, device: Device, service: str) -> None:
    server.inject(Action.TRICKLE, service, 4)
    done = cli("pull", "--timeout", "1")
    assert done.code == 7
    assert "time" in done.err


def test_the_timeout_bounds_the_wait_for_the_store_too(cli: Cli, device: Device) -> None:
    assert cli("pull").code == 0
    program = cli.home / "prog.c"
    program.touch()
    with (cli.store / "locks/store").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (["pull"], ["push"], ["compile", "-s", device.serial, str(program)]):
            done = cli(*words, "--timeout", "1")
            assert done.code == 8
            waited = re.search(
                r"process (\d+) has been changing the store for ([\d.]+) s", done.err
            )
            assert waited is not None, done.err
            assert int(waited[1]) == os.getpid()
            assert float(waited[2]) <= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", [("devices",), ("devices", "--json")], ids=" ".join)
def test_a_signal_ends_the_asking_of_many_devices_at_once(
    cli: Cli, server: Server, words: tuple[str, ...], number: signal.Signals
) -> None:
    """Also while each of them is asked in a thread of its own, and none answers."""
    for count in range(3):
        server.add_device(f"PHONE{count}")
    faults = [
        server.inject(Action.STALL, PROBE, serial=f"PHONE{count}", repeat=True)
        for count in range(3)
    ]
    with cli.running(*words) as process:
        assert wait_until(lambda: all(fault.fired for fault in faults))
        process.send_signal(number)
        # Long before the fifteen seconds after which a device that is silent is given up.
        out, err = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert err == "kheaders-adb: interrupted\n"
    if "--json" not in words:
        assert out == ""
        return
    assert json.loads(out)["error"]["kind"] == "interrupted"


@pytest.mark.parametrize("offset", [60, 80_000])  # before the store is opened for it; in the middle
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_it_and_cleans_up(
    cli: Cli, server: Server, number: signal.Signals, offset: int
) -> None:
    device = server.add_device(headers=Headers.MODULE)
    fault = server.inject(Action.STALL, READ, offset)
    with cli.running("pull") as process:
        assert wait_until(lambda: fault.fired == 1)
        assert "kheaders " in device.loaded_modules
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert _TRACEBACK not in err
    # Python ends itself by SIGINT if that struck within an exec() of text, such as a dataclass being made
    # during an import, though it was caught; a shell shows both as 130.
    assert process.returncode in (128 + number, -number), err
    assert "interrupted" in err
    assert wait_until(lambda: "kheaders " not in device.loaded_modules)
    assert wait_until(lambda: not device.leftovers())
    assert store_problems(cli.store, {}) == []


@pytest.mark.parametrize("offset", [4, 60, 5_000, 198_000])
def test_after_sigkill_the_next_run_cleans_up(cli: Cli, server: Server, offset: int) -> None:
    device = server.add_device(headers=Headers.MODULE)
    fault = server.inject(Action.STALL, READ, offset)
    with cli.running("pull") as process:
        assert wait_until(lambda: fault.fired == 1)
        process.kill()
        process.wait(10)
    assert cli("pull").code == 0
    assert wait_until(lambda: "kheaders " not in device.loaded_modules)
    assert wait_until(lambda: not device.leftovers())
    archives = {device.kernel.archive_sha256: device.kernel.archive}
    assert store_problems(cli.store, archives) == []


def test_what_an_earlier_boot_and_a_dead_run_left_is_cleaned(cli: Cli, server: Server) -> None:
    device = server.add_device(headers=Headers.MODULE)
    work = device.root / "data/local/tmp/kheaders-adb"
    for name in (
        "lease.00000000-0000-0000-0000-000000000000.1.1.dead",
        "ours.00000000-0000-0000-0000-000000000000.1.1.dead",
        f"ours.{device.boot_id}.1.987654321.gone",
        f"lease.{device.boot_id}.1.987654321.gone",
    ):
        (work / name).mkdir(parents=True)
    (work / f"put.{device.boot_id}.1.987654321.gone").mkdir()
    (work / f"put.{device.boot_id}.1.987654321.gone" / "kheaders.ko").write_bytes(b"half")
    device._own(work)
    assert cli("pull").code == 0
    assert device.leftovers() == []
    assert "kheaders " not in device.loaded_modules


def test_too_few_descriptors(cli: Cli, server: Server, tmp_path: Path) -> None:
    """F15: EMFILE wherever it strikes is an error of ours with an exit code of ours."""
    device = server.add_device(headers=Headers.MODULE)
    archives = {device.kernel.archive_sha256: device.kernel.archive}

    def pull_with(limit: int) -> tuple[int, Done]:
        store = tmp_path / f"store{limit}"
        done = cli(
            "pull",
            store=store,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
        )
        # Removing what was half made takes descriptors too; the next run sweeps it.
        assert [text for text in store_problems(store, archives) if "litter" not in text] == []
        if store_problems(store, archives):
            assert cli("pull", store=store).code == 0
        assert store_problems(store, archives) == []
        return limit, done

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = dict(pool.map(pull_with, [6, 7, 8, 9, 10, 12, 14, 17, 20, 64]))
    wrong = {
        limit: (done.code, done.err)
        for limit, done in results.items()
        if done.code not in (0, 3, 4, 6, 7, 8)
    }
    assert not wrong
    assert results[64].code == 0
    assert results[6].code != 0
    assert wait_until(lambda: "kheaders " not in device.loaded_modules)
    assert wait_until(lambda: not device.leftovers())


def test_a_device_that_flaps_is_tried_no_longer_than_the_timeout(cli: Cli, server: Server) -> None:
    device = server.add_device("PHONE")

    def flap() -> None:
        device.state = State.OFFLINE
        time.sleep(0.1)
        device.state = State.DEVICE

    fault = server.inject(Action.CALL, READ, 50_000, repeat=True, call=flap)
    done = cli("pull", "--timeout", "10")
    assert fault.fired >= 1
    assert done.code == 7, done.err
    assert store_problems(cli.store, {}) == []
