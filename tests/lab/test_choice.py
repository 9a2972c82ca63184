"""What a user is told where a pull cannot even begin: devices, servers, privileges."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.lab import AdbServer, Device, Lab
from tests.lab.cli import User, environment, run

Boot = Callable[..., Device]

LISTENING = "0A"
LOOPBACK_V4 = "0100007F"
LOOPBACK_V6 = "00000000000000000000000001000000"


def test_no_device(tmp_path: Path) -> None:
    server = AdbServer()
    server.start()
    try:
        done = run("pull", environ=environment(server.port, tmp_path))
    finally:
        server.stop()
    assert done.code == 3
    assert "no device is connected" in done.err
    assert "adb connect HOST:PORT" in done.err


def test_two_devices_without_a_choice(boot: Boot, lab: Lab, tmp_path: Path) -> None:
    serials = [boot("x86_64-stock").serial, boot("x86_64-stock", "user").serial]
    done = run("pull", environ=environment(lab.server.port, tmp_path))
    assert done.code == 3
    for serial in serials:
        assert f"-s {serial}" in done.err


def test_unauthorized(boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-stock", "unauthorized")
    done = User(device, tmp_path).run("pull")
    assert done.code == 3
    assert device.serial in done.err
    assert "accept the 'Allow USB debugging?' dialog" in done.err


def test_a_kernel_without_headers_and_no_module(boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-module")
    done = User(device, tmp_path).run("pull")
    assert done.code == 4
    assert f"{device.serial}: looking for the headers: kernel {device.kernel.release}" in done.err
    assert "CONFIG_IKHEADERS=m, but there is no kheaders.ko on the device" in done.err
    assert "--module FILE" in done.err


def test_the_devices_are_listed_with_where_their_headers_are(boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-builtin")
    user = User(device, tmp_path)
    assert user.run("pull").code == 0
    rows = {row["serial"]: row for row in user.run("devices", "--json").document["devices"]}
    row = rows[device.serial]
    assert (row["state"], row["machine"], row["headers"]) == ("device", "x86_64", "built-in")
    assert (row["root"], row["staged"]) == (True, True)
    assert row["release"] == device.kernel.release
    assert device.serial in user.run("devices").out


def test_list_show_path_and_remove(boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-builtin")
    user = User(device, tmp_path)
    tree = user.run("pull").out.strip()
    key = user.run("list", "--json").document["kernels"][0]["kernel"]["key"]
    for name in (key[:8], device.kernel.release, f"@{device.serial}", "latest"):
        assert user.run("path", name).out.strip() == tree
    shown = user.run("show").out
    assert key in shown
    assert "CONFIG_IKHEADERS" in shown
    assert user.run("remove", key[:8]).code == 0
    assert user.run("path").code == 2
    assert not Path(tree).exists()


def test_the_python_api_does_what_pull_does(boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-builtin")
    script = (
        "import kheaders_adb\n"
        f"staged = kheaders_adb.ensure({device.serial!r})\n"
        "print(staged.verdict.level, staged.tree)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(device.adb_server_port, tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    level, tree = done.stdout.split()
    assert level == "exact"
    assert (Path(tree) / "include/linux/sched.h").is_file()


def test_a_server_is_started_on_the_port_asked_for_and_on_loopback_only(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    try:
        done = run("devices", "-P", str(port), environ=environment(1, tmp_path))
        assert done.code == 0, done.err
        assert listening_addresses(port)
        assert listening_addresses(port) <= {LOOPBACK_V4, LOOPBACK_V6}
    finally:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as server:
            server.sendall(b"0009host:kill")
            server.recv(4)


def listening_addresses(port: int) -> set[str]:
    """The addresses on which something listens on `port`, as /proc/net/tcp writes them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, _, number = line.split()[1].partition(":")
            if line.split()[3] == LISTENING and int(number, 16) == port:
                found.add(address)
    return found


def test_no_server_is_started_for_another_host(tmp_path: Path) -> None:
    # 127.0.0.2 would be this machine; a name that is no loopback address is what counts.
    done = run("pull", "-L", "tcp:adb.invalid:5037", environ=environment(1, tmp_path))
    assert done.code == 3
    assert "adb.invalid" in done.err


@pytest.mark.parametrize("module", [True, False])
def test_not_root_on_a_kernel_with_a_module(module: bool, boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-stock", "user")
    options = ["--module", str(device.kernel.kheaders_ko), "--via", "load"] if module else []
    done = User(device, tmp_path).run("pull", *options)
    assert done.code == 4
    assert ("only root may load modules" in done.err) is module
    assert "hint:" in done.err
