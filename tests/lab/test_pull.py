"""``kheaders-adb pull`` on booted kernels, through a real adb server."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.lab import Device, Lab
from tests.lab.cli import User, is_empty, tapped, with_module
from tests.lab.conftest import kheaders_of

Boot = Callable[..., Device]

LEVELS = {
    "x86_64-module": "exact",
    "x86_64-builtin": "exact",
    "arm64-module": "exact",
    "x86_64-stock": "consistent",
}
GUEST_MODULE = "/vendor/lib/modules/kheaders.ko"
MAX_PEAK_KIB = 120 * 1024


@pytest.mark.parametrize("kernel", LEVELS)
def test_a_pull_stages_what_the_device_has(kernel: str, boot: Boot, tmp_path: Path) -> None:
    device = boot(kernel)
    user = User(device, tmp_path / "store")
    before = user.traces()

    done = user.run("pull", "--json", *with_module(device))

    assert done.code == 0, done.err
    pulled = done.document
    assert pulled["verdict"]["level"] == LEVELS[kernel]
    assert pulled["kernel"]["release"] == device.kernel.release
    assert pulled["source"]["kind"] == ("module-loaded" if with_module(device) else "sysfs")
    assert user.traces() == before
    assert done.peak_kib <= MAX_PEAK_KIB

    archive = user.store / "archives" / f"{pulled['archive']['sha256']}.tar.xz"
    content = archive.read_bytes()
    assert hashlib.sha256(content).hexdigest() == pulled["archive"]["sha256"]
    assert pulled["archive"]["sha256"] == sha256_on_device(device)
    assert len(content) == pulled["archive"]["size_bytes"]

    by_tar = tmp_path / "by-tar"
    by_tar.mkdir()
    subprocess.run(["tar", "-xJf", archive, "-C", by_tar], check=True)
    assert_same_tree(by_tar, Path(pulled["tree"]))


def sha256_on_device(device: Device) -> str:
    """The archive's sha256 as the device's own kernel shows it."""
    shown = "/sys/kernel/kheaders.tar.xz"
    if device.kernel.kheaders_ko is None:
        return device.root_shell(f"sha256sum {shown}").stdout.split()[0]
    device.push(device.kernel.kheaders_ko, "/data/local/tmp/own.ko")
    return device.root_shell(
        f"insmod /data/local/tmp/own.ko && sha256sum {shown}; "
        "rmmod kheaders; rm /data/local/tmp/own.ko"
    ).stdout.split()[0]


def assert_same_tree(expected: Path, found: Path) -> None:
    """Both trees hold the same names, kinds, bytes and link targets."""
    names = [sorted(os.fspath(p.relative_to(t)) for p in t.rglob("*")) for t in (expected, found)]
    assert names[0] == names[1]
    for name in names[0]:
        one, other = expected / name, found / name
        if one.is_symlink():
            assert one.readlink() == other.readlink()
        elif one.is_dir():
            assert other.is_dir()
            assert not other.is_symlink()
        else:
            assert not other.is_symlink()
            assert filecmp.cmp(one, other, shallow=False), name


def test_the_built_in_kernels_stale_archive_is_tolerated_and_named(
    boot: Boot, tmp_path: Path
) -> None:
    pulled = User(boot("x86_64-builtin"), tmp_path).run("pull", "--json").document
    (config,) = (check for check in pulled["verdict"]["checks"] if check["name"] == "config")
    assert config["status"] == "agree"
    assert "CONFIG_IKHEADERS=y" in config["note"]
    assert "CONFIG_IKHEADERS=m" in config["note"]
    assert pulled["verdict"]["differences"] == []


def test_a_second_pull_is_one_round_trip_and_moves_no_archive(boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-stock")
    with tapped(User(device, tmp_path)) as (user, tap):
        first = user.run("pull", "--json", *with_module(device)).document
        cold_bytes, tap.received_bytes = tap.received_bytes, 0
        second = user.run("pull", "--json").document
        warm_bytes = tap.received_bytes
    assert second["cached"] is True
    assert second["device_round_trips"] == 1
    assert second["tree"] == first["tree"]
    assert cold_bytes > first["archive"]["size_bytes"]
    assert warm_bytes < 200_000


@pytest.mark.parametrize("name", ["kheaders.ko.xz", "kheaders.ko.gz", "kheaders.ko.zst"])
def test_a_packed_module_is_loaded_unpacked(name: str, boot: Boot, tmp_path: Path) -> None:
    """Packed as `make modules_install` does it; the kernel itself would refuse to take it so."""
    user = User(boot("x86_64-module"), tmp_path / "store")
    module = tmp_path / name
    packer = {"xz": ["xz", "--check=crc32"], "gz": ["gzip", "-n"], "zst": ["zstd", "-q"]}
    command = packer[name.rpartition(".")[2]]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    kheaders_ko = user.device.kernel.kheaders_ko
    assert kheaders_ko is not None
    plain = kheaders_ko.read_bytes()
    module.write_bytes(
        subprocess.run([*command, "-c"], input=plain, capture_output=True, check=True).stdout
    )
    done = user.run("pull", "--json", "--module", str(module))
    assert done.code == 0, done.err
    assert done.document["source"] == {"kind": "module-loaded", "path": str(module)}
    assert done.document["verdict"]["level"] == "exact"
    assert user.traces() == ""


def test_a_foreign_module_is_refused_before_it_is_pushed(
    boot: Boot, lab: Lab, tmp_path: Path
) -> None:
    user = User(boot("x86_64-module"), tmp_path)
    foreign = foreign_module(lab)
    log = user.device.root_shell("dmesg | grep -c kheaders").stdout
    done = user.run("pull", "--module", str(foreign))
    assert done.code == 5
    assert "before it is pushed" in done.err
    release = user.device.kernel.release
    assert f"{release}, the headers have {release.removesuffix('lab')}other" in done.err
    assert done.out == ""
    assert is_empty(user.store)
    assert user.traces() == ""
    assert user.device.root_shell("dmesg | grep -c kheaders").stdout == log


def test_a_foreign_module_on_the_device_is_loaded_refused_and_removed(
    fresh: Boot, lab: Lab, tmp_path: Path
) -> None:
    device = fresh("x86_64-module", device_modules={GUEST_MODULE: foreign_module(lab)})
    user = User(device, tmp_path)
    refused = user.run("pull", "--json")
    assert refused.code == 5
    error = refused.document["error"]
    assert (error["kind"], error["verdict"]["level"]) == ("mismatch", "mismatch")
    assert is_empty(user.store)
    assert user.traces() == ""

    allowed = user.run("pull", "--json", "--allow-mismatch")
    assert allowed.code == 0, allowed.err
    assert allowed.document["verdict"]["level"] == "mismatch"
    assert allowed.document["source"] == {"kind": "module-loaded", "path": GUEST_MODULE}
    assert user.traces() == ""
    # Marked for good: every later use says so, and a plain pull judges again.
    later = user.run("path")
    assert later.code == 0
    assert "do NOT belong to this kernel" in later.err
    assert user.run("pull").code == 5


def foreign_module(lab: Lab) -> Path:
    """A kheaders.ko that inserts silently on x86_64-module and belongs to another release."""
    return kheaders_of("x86_64-foreign-release", lab)


def test_unplugged_in_mid_transfer(fresh: Boot, tmp_path: Path) -> None:
    device = fresh("x86_64-stock")
    with tapped(User(device, tmp_path)) as (user, tap):
        tap.at(1_000_000, device.kill)
        done = user.run("pull", "--timeout", "60", *with_module(device))
    assert done.code == 7, done.err
    assert device.serial in done.err
    assert "hint:" in done.err
    assert is_empty(tmp_path)

    device.start()
    user = User(device, tmp_path)
    again = user.run("pull", *with_module(device))
    assert again.code == 0, again.err
    assert user.traces() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_in_mid_transfer_it_leaves_no_module(
    number: signal.Signals, boot: Boot, tmp_path: Path
) -> None:
    device = boot("x86_64-stock")
    with tapped(User(device, tmp_path)) as (user, tap):
        process = user.start("pull", *with_module(device))
        tap.at(1_000_000, lambda: process.send_signal(number))
        process.communicate(timeout=60)
    killed = number is signal.SIGKILL
    assert process.returncode == (
        -signal.SIGKILL if killed else {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    )
    user = User(device, tmp_path)
    if killed:
        # The device cleans up by itself once its output breaks; the next pull waits for no one.
        assert user.run("pull", *with_module(device)).code == 0
    else:
        assert is_empty(tmp_path)
    assert user.traces() == ""


def test_two_pulls_at_once_end_with_one_tree(boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-stock")
    user = User(device, tmp_path)
    processes = [user.start("pull", *with_module(device)) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert len(list((tmp_path / "trees").iterdir())) == 1
    assert not list((tmp_path / "tmp").iterdir())
    assert user.traces() == ""
