"""The lab keeps its promises: devices come up, come back, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.lab import Arch, BootFailed, Device, Lab
from fixtures.lab.adbclient import AdbClient
from fixtures.lab.cache import cache_root

Boot = Callable[..., Device]


def test_a_device_answers_through_a_real_adb_server(boot: Boot, lab: Lab) -> None:
    device = boot("x86_64-stock")
    answer = device.shell("uname -r; echo problem >&2; exit 3")
    assert (answer.returncode, answer.stderr) == (3, "problem\n")
    assert answer.stdout.strip() == device.kernel.release
    assert f"{device.serial}\tdevice" in lab.server.adb("devices").stdout


def test_a_user_build_keeps_its_shell_from_the_archive(boot: Boot) -> None:
    device = boot("x86_64-stock", "user")
    assert device.shell("id -u").stdout == "2000\n"
    assert device.root_shell("id -u").stdout == "0\n"
    assert "Permission denied" in device.shell("cat /sys/kernel/notes").stderr


def test_an_unauthorized_device_stays_so(boot: Boot) -> None:
    assert boot("x86_64-stock", "unauthorized").state() == "unauthorized"


def test_files_given_to_a_boot_leave_the_directories_as_they_are(fresh: Boot) -> None:
    files = {"/data/local/tmp/given": b"here", "/bin/tool": b"", "/odm/lib/modules/x.ko": b"x"}
    device = fresh("x86_64-stock", files=files)
    modes = device.shell("stat -c %a /data/local/tmp; readlink /bin; cat /data/local/tmp/given")
    assert modes.stdout == "1777\n/system/bin\nhere"
    assert device.shell("ls /odm/lib/modules /system/bin/tool").returncode == 0


def test_reboot_keeps_the_serial_and_changes_the_boot_id(fresh: Boot) -> None:
    device = fresh("x86_64-stock")
    serial, first = device.serial, device.boot_id()
    device.reboot()
    assert (device.serial, device.state()) == (serial, "device")
    assert device.boot_id() != first


def test_unplugged_and_plugged_in_again(fresh: Boot) -> None:
    device = fresh("x86_64-stock")
    device.kill()
    deadline = time.monotonic() + 20
    while device.state() == "device" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert device.state() != "device"
    device.start()
    assert device.shell("echo back").stdout == "back\n"


def test_stop_leaves_neither_a_process_nor_files(lab: Lab) -> None:
    device = lab.boot("x86_64-stock")
    pid, work = device.qemu_pid, device.work
    lab.release(device)
    assert not Path(f"/proc/{pid}").exists()
    assert not work.exists()
    assert device.serial not in lab.server.client.states()


def test_a_kernel_that_does_not_start_shows_its_console(lab: Lab, tmp_path: Path) -> None:
    garbage = tmp_path / "kernel"
    garbage.write_bytes(b"not a kernel" * 1000)
    image = replace(lab.kernel("x86_64-stock"), image=garbage, name="garbage")
    with pytest.raises(BootFailed, match=r"garbage: .*the end of its console") as failed:
        lab.boot(image)
    assert "kernel" in failed.value.console  # what QEMU said about it


def test_a_panic_is_seen_at_once_and_told(lab: Lab) -> None:
    with pytest.raises(BootFailed, match="the kernel panicked") as failed:
        lab.boot("x86_64-stock", append="rdinit=/none init=/none root=none")
    assert "Kernel panic" in str(failed.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_the_parent_ends_nothing_stays(number: signal.Signals, lab: Lab) -> None:
    lab.kernel("x86_64-stock")
    program = (
        "import time; from fixtures.lab import Lab\n"
        "with Lab() as lab:\n"
        "    device = lab.boot('x86_64-stock')\n"
        "    print(device.qemu_pid, lab.server.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_runs(pid) for pid in pids)
        os.kill(parent.pid, number)
        parent.wait(30)
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_up_leaves_a_device_and_down_ends_it(lab: Lab, tmp_path: Path) -> None:
    lab.kernel("x86_64-stock")
    lab.adbd(Arch.X86_64)
    # A cache of its own, so that `down` does not end what the user has up.
    for built in ("kernels", "adbd", "guest"):
        (tmp_path / built).symlink_to(cache_root() / built)
    environment = {**os.environ, "KHEADERS_LAB_CACHE": str(tmp_path)}

    def command(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "fixtures.lab", *arguments],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout

    lines = dict(line.removeprefix("export ").split("=", 1) for line in command("up").splitlines())
    try:
        client = AdbClient(int(lines["ANDROID_ADB_SERVER_PORT"]))
        assert client.shell(lines["ANDROID_SERIAL"], "echo up", 10).stdout == "up\n"
        assert Path(lines["KHEADERS_LAB_MODULE"]).is_file()
    finally:
        told = command("down")
    pids = [int(pid) for pid in re.findall(r"pid (\d+)", told)]
    assert len(pids) == 2
    assert not any(_runs(pid) for pid in pids)


def test_each_tool_of_the_guest_is_one_that_toybox_has(boot: Boot) -> None:
    device = boot("x86_64-stock")
    listing = device.shell("ls -l /system/bin").stdout
    links = set(re.findall(r"(\S+) -> toybox$", listing, re.MULTILINE))
    assert len(links) > 100
    assert links <= set(device.shell("toybox").stdout.split())
