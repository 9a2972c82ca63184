"""A store on a disk that may only be read, or that is full: what is staged there is served."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kheaders_adb.store import Store

from .devices import Device
from .server import Server
from .test_cli import Cli, Done

_READ_ONLY = """
mount --bind "$STORE" "$STORE" && mount -o remount,bind,ro "$STORE" || exit 99
"""
# Its own file system, filled to the last byte.
_FULL = """
mount -t tmpfs -o size=4m none "$MOUNT" && cp -a "$STORE" "$MOUNT/store" || exit 99
dd if=/dev/zero of="$MOUNT/fill" bs=4k 2>/dev/null
dd if=/dev/zero of="$MOUNT/more" bs=1 count=1 2>/dev/null && exit 98
"""


@functools.cache
def namespace() -> list[str] | None:
    """How to get mounts of one's own, as root or in a user namespace; None where neither is allowed."""
    for options in (["--mount"], ["--mount", "--map-root-user"]):
        command = ["unshare", *options, "sh", "-c"]
        if shutil.which("unshare") is None:
            return None
        if (
            subprocess.run([*command, "mount -t tmpfs none /mnt"], capture_output=True).returncode
            == 0
        ):
            return command
    return None


class Disk:
    """The command line, on a disk of its own."""

    def __init__(self, cli: Cli, script: str, *, store: Path, mount: Path) -> None:
        self._cli, self._script, self._store, self._mount = cli, script, store, mount

    def __call__(self, *arguments: str) -> Done:
        command = namespace()
        assert command is not None
        done = subprocess.run(
            [
                *command,
                self._script + 'exec "$@"',
                "sh",
                *self._cli.argv(*arguments, store=self._store),
            ],
            env=self._cli.env | {"STORE": str(self._cli.store), "MOUNT": str(self._mount)},
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode not in (98, 99), done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


MakeDisk = Callable[[], Disk]


@pytest.fixture
def cli(server: Server, device: Device, tmp_path: Path) -> Cli:
    """With a kernel in the store, a program to compile, and mounts of one's own."""
    if namespace() is None:
        pytest.skip("mounts need root or user namespaces, and unshare")
    cli = Cli(server, tmp_path)
    assert cli("pull").code == 0
    (tmp_path / "prog.bpf.c").write_text("int zero;\n")
    return cli


@pytest.fixture
def read_only(cli: Cli, tmp_path: Path) -> Disk:
    return Disk(cli, _READ_ONLY, store=cli.store, mount=tmp_path)


@pytest.fixture
def full(cli: Cli, tmp_path: Path) -> Disk:
    mount = tmp_path / "mount"
    mount.mkdir()
    return Disk(cli, _FULL, store=mount / "store", mount=mount)


READERS = [
    ["list"],
    ["show"],
    ["path"],
    ["cflags"],
    ["env"],
    ["verify"],
    ["verify", "--all"],
    ["pull"],
    ["gc", "--dry-run", "--max-kernels", "0"],
]


@pytest.mark.parametrize("is_copy", [False, True], ids=["used", "copied without empty folders"])
def test_a_store_that_may_only_be_read(cli: Cli, read_only: Disk, is_copy: bool) -> None:
    (tree,) = (cli.store / "trees").iterdir()
    if is_copy:
        for name in ("locks", "pins", "tmp"):
            shutil.rmtree(cli.store / name)
    for command in READERS:
        done = read_only(*command)
        assert done.code == 0, (command, done.err)
        assert "note" not in done.err
        if command[0] in ("path", "pull"):
            assert done.out == f"{tree}\n"


@pytest.mark.parametrize("disk", ["read_only", "full"])
def test_what_older_rules_have_judged_is_served(
    cli: Cli, disk: str, request: pytest.FixtureRequest
) -> None:
    (record,) = (cli.store / "kernels").iterdir()
    record.write_text(json.dumps(json.loads(record.read_text()) | {"rules": 1}))
    run: Disk = request.getfixturevalue(disk)
    done = run("path")
    assert done.code == 0, done.err


@pytest.mark.parametrize("disk", ["read_only", "full"])
def test_compiling_and_pushing(
    cli: Cli, tmp_path: Path, device: Device, disk: str, request: pytest.FixtureRequest
) -> None:
    """As far as clang, which need not be installed here."""
    run: Disk = request.getfixturevalue(disk)
    source = tmp_path / "prog.bpf.c"
    done = run(
        "compdb", "--libbpf", str(a_libbpf(tmp_path)), "-o", str(tmp_path / "db.json"), str(source)
    )
    if shutil.which("clang") is not None:
        assert done.code == 0, done.err
        done = run("compile", str(source), "-o", str(tmp_path / "prog.o"))
        assert done.code in (0, 9), (
            done.err
        )  # the fake device's headers are too few for some versions
    done = run("push")
    assert done.code == 0, done.err


def a_libbpf(place: Path) -> Path:
    folder = place / "libbpf" / "bpf"
    folder.mkdir(parents=True)
    for name in ("bpf_helpers.h", "bpf_helper_defs.h"):
        (folder / name).touch()
    return folder.parent


def test_what_changes_a_store_that_may_only_be_read_says_so(cli: Cli, read_only: Disk) -> None:
    key = Store.open(cli.store).records()[0].key
    for command in (["gc"], ["remove", key], ["pin"], ["pull", "--refresh"]):
        done = read_only(*command)
        assert (done.code, "Read-only file system" in done.err) == (8, True), (command, done)


def test_a_full_disk(full: Disk) -> None:
    for command in READERS:
        done = full(*command)
        assert done.code == 0, (command, done.err)


def test_a_full_disk_fails_no_warm_pull_for_a_note(
    cli: Cli, full: Disk, device: Device, server: Server
) -> None:
    """Which device runs a kernel, and in which boot, is good to know, and no more."""
    device.reboot()
    done = full("pull")
    assert done.code == 0, done.err
    assert "note: @FAKE0001 goes on naming the kernel that it ran before" in done.err
    assert "No space left on device (0.0 MB free" in done.err
    done = full("pull", "--refresh")
    assert done.code == 8
    assert "No space left" in done.err


def test_gc_helps_where_the_disk_is_full(full: Disk) -> None:
    done = full("gc", "--max-kernels", "0")
    assert done.code == 0, done.err
    assert "removed 1 kernel" in done.err
