"""The fake devices at their worst: packed modules, odd su and shells, old adbds, disks that are full."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .devices import (
    ARCHIVE_PATH,
    OTHER_UID,
    Adbd,
    Banner,
    Device,
    Dialect,
    Disk,
    Headers,
    Oversized,
    Packing,
    Su,
    SuQuirk,
    SyncAccess,
)
from .faults import wait_until
from .kernel import Kernel
from .raw import HungUpError, Raw, RefusedError, read_all
from .server import Server

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None and shutil.which("gcc") is None,
    reason="faulty disks need a C compiler (apt install gcc libc6-dev)",
)
needs_script = pytest.mark.skipif(
    shutil.which("script") is None, reason="a su on a pty needs script(1) (apt install bsdutils)"
)
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can make files of another user"
)


@pytest.fixture
def raw(server: Server) -> Raw:
    return Raw(server.port)


# --- modules


def unpacked(file: bytes, packing: Packing) -> bytes:
    """What a packed module holds, by other hands than those that packed it."""
    match packing:
        case Packing.GZ:
            return gzip.decompress(file)
        case Packing.XZ:
            return lzma.decompress(file)
        case _:
            return subprocess.run(
                ["zstd", "-dc"], input=file, capture_output=True, check=True
            ).stdout


@pytest.mark.parametrize("packing", [Packing.GZ, Packing.XZ, Packing.ZST])
@pytest.mark.parametrize(
    ("dialect", "refusal"),
    [
        (Dialect.TOYBOX, b": Exec format error\n"),
        (Dialect.BUSYBOX, b": invalid module format\n"),
        (Dialect.KMOD, b": Invalid module format\n"),
    ],
)
def test_a_packed_module_is_no_module(
    server: Server, raw: Raw, packing: Packing, dialect: Dialect, refusal: bytes
) -> None:
    device = server.add_device(headers=Headers.ABSENT, dialect=dialect)
    path = f"/vendor/lib/modules/kheaders.ko{packing.value}"
    file = device.add_module(path, packing=packing)
    assert raw.receive(path) == file
    if packing is not Packing.ZST or shutil.which("zstd"):
        assert unpacked(file, packing) == device.kernel.module
    ran = raw.shell(f"insmod {path}")
    assert ran.exit_code != 0
    assert ran.stderr.endswith(refusal)
    assert b"Invalid ELF header magic" in raw.shell("dmesg").stdout
    assert "kheaders " not in device.loaded_modules


@pytest.mark.parametrize("crcs_agree", [True, False])
def test_several_modules_the_first_one_foreign(server: Server, raw: Raw, crcs_agree: bool) -> None:
    device = server.add_device(headers=Headers.ABSENT)
    foreign = Kernel(seed=2)  # of the same release: the kernel that was there before
    device.add_module("/system/lib/modules/kheaders.ko", foreign, crcs_agree=crcs_agree)
    device.add_module("/vendor/lib/modules/kheaders.ko")
    ran = raw.shell("insmod /system/lib/modules/kheaders.ko")
    if crcs_agree:
        assert raw.receive(ARCHIVE_PATH) == foreign.archive
        raw.shell("rmmod kheaders")
    else:
        assert ran.stderr.endswith(b"Exec format error\n")
        assert b"disagrees about version of symbol" in raw.shell("dmesg").stdout
    assert raw.shell("insmod /vendor/lib/modules/kheaders.ko").exit_code == 0
    assert raw.receive(ARCHIVE_PATH) == device.kernel.archive


@pytest.mark.parametrize("release", ["6.1.75-my build", "6.1.75 rebuilt", "6.1.75-\udcff\udcfe"])
def test_releases_as_they_are(server: Server, raw: Raw, release: str) -> None:
    server.add_device(kernel=Kernel(release=release), headers=Headers.MODULE)
    name = os.fsencode(release)
    assert raw.shell("uname -r").stdout == name + b"\n"
    assert raw.shell("cat /proc/version").stdout.startswith(b"Linux version " + name + b" (")
    assert raw.shell("insmod /vendor/lib/modules/kheaders.ko").exit_code == 0


# --- su


def user_device(server: Server, su: Su = Su.MAGISK, **options: Any) -> Device:
    """A device whose adbd is the shell user."""
    return server.add_device(uid=2000, su=su, **options)


@needs_script
@pytest.mark.parametrize(
    ("su", "start"), [(Su.MAGISK, "su -c"), (Su.AOSP, "su 0 sh -c"), (Su.AOSP, "su root sh -c")]
)
def test_su_on_a_pty(server: Server, raw: Raw, su: Su, start: str) -> None:
    device = user_device(server, su, su_quirk=SuQuirk.PTY)
    ran = raw.shell(f"{start} 'id -u; echo \"it'\\''s\" >&2; test -t 1 && exit 7' </dev/null")
    assert (ran.stdout, ran.stderr, ran.exit_code) == (b"0\r\nit's\r\n", b"", 7)
    read = raw.shell(f"{start} 'cat {ARCHIVE_PATH}' </dev/null").stdout
    assert read == device.kernel.archive.replace(b"\n", b"\r\n") != device.kernel.archive


@pytest.mark.parametrize("name", ["kp", "suu", "/data/adb/ap/bin/su", "/debug_ramdisk/su"])
def test_su_under_another_name(server: Server, raw: Raw, name: str) -> None:
    user_device(server, su_name=name)
    assert raw.shell(f"{name} -c 'id -u'").stdout == b"0\n"
    assert raw.shell("command -v su").exit_code != 0
    assert raw.shell("su -c 'id -u'").exit_code == 127
    server.add_device("PLAIN", uid=2000, su=Su.MAGISK)
    assert raw.shell(f"{name} -c id", "host:transport:PLAIN").exit_code == 127


def test_su_that_needs_a_terminal(server: Server, raw: Raw) -> None:
    user_device(server, su_quirk=SuQuirk.NEEDS_TTY)
    ran = raw.shell("su -c 'id -u'")
    assert (ran.stdout, ran.exit_code) == (b"", 1)
    assert b"must be run from a terminal" in ran.stderr
    assert raw.shell("su -c 'id -u'", how="v2,pty") == type(ran)(b"0\r\n", b"", 0)


def test_su_that_hangs_at_the_second_call_only(server: Server, raw: Raw) -> None:
    user_device(server, su_quirk=SuQuirk.SECOND_HANGS)
    assert raw.shell("su -c 'id -u'").stdout == b"0\n"
    assert raw.stream("shell:timeout 0.3 su -c 'id -u'; echo $?") == b"124\n"
    assert raw.shell("su -c 'id -u'").stdout == b"0\n"


# --- shells


@pytest.mark.parametrize(
    ("banner", "stdout", "stderr"),
    [
        (Banner(stdout="it's a $banner"), b"it's a $banner\nout\n", b"err\n"),
        (Banner(stderr="WARNING: linker"), b"out\n", b"WARNING: linker\nerr\n"),
        (Banner("one", "two"), b"one\nout\n", b"two\nerr\n"),
    ],
)
def test_a_profile_that_prints(
    server: Server, raw: Raw, banner: Banner, stdout: bytes, stderr: bytes
) -> None:
    server.add_device(banner=banner)
    for _ in range(2):
        ran = raw.shell("echo out; echo err >&2; exit 3")
        assert (ran.stdout, ran.stderr, ran.exit_code) == (stdout, stderr, 3)


OLD = [Adbd.ANDROID_5, Adbd.ANDROID_4]


@pytest.mark.parametrize("adbd", OLD)
def test_an_old_adbd_has_a_pty_and_no_exit_code(server: Server, raw: Raw, adbd: Adbd) -> None:
    server.add_device(features=(), adbd=adbd)
    assert raw.ask("host-serial:FAKE0001:features") == b""
    assert raw.stream("shell:echo out; echo err >&2; test -t 0 && exit 7") == b"out\r\nerr\r\n"
    # The line discipline echoes, and takes what is not text for its own.
    assert raw.stream("shell:head -c 5", stdin=b"ab\x7fc\ndef\n").startswith(b"ab")
    for service in ("shell,v2,raw:id", "shell,raw:id"):
        with pytest.raises(RefusedError, match=r"^closed$"):
            raw.open(service)


def test_exec_came_with_android_5(server: Server, raw: Raw) -> None:
    device = server.add_device("FIVE", adbd=Adbd.ANDROID_5)
    server.add_device("FOUR", adbd=Adbd.ANDROID_4)
    command = f"exec:cat {ARCHIVE_PATH} /absent; exit 7"
    read = raw.stream(command, "host:transport:FIVE")
    assert read.startswith(device.kernel.archive)
    assert b"No such file" in read[-60:]  # both streams in one, and nothing of the exit code
    with pytest.raises(RefusedError, match=r"^closed$"):
        raw.open(command, "host:transport:FOUR")


@pytest.mark.parametrize("adbd", OLD)
def test_an_old_adbd_knows_the_first_sync_only(server: Server, raw: Raw, adbd: Adbd) -> None:
    device = server.add_device(adbd=adbd)
    assert raw.stat_size(ARCHIVE_PATH) == len(device.kernel.archive)
    assert raw.receive(ARCHIVE_PATH) == device.kernel.archive
    raw.send("/data/local/tmp/sent", b"content")
    assert raw.shell_v1("cat /data/local/tmp/sent") == b"content"
    for kind in (b"STA2", b"LST2", b"RCV2", b"SND2"):
        with raw.open("sync:") as sock:
            sock.sendall(kind + b"\1\0\0\0/")
            assert read_all(sock)[:4] == b"FAIL"


@pytest.mark.parametrize("adbd", OLD)
def test_a_long_command_and_an_old_adbd(server: Server, raw: Raw, adbd: Adbd) -> None:
    refused = server.add_device("REFUSED", adbd=adbd, oversized=Oversized.REFUSED)
    server.add_device("CUT", adbd=adbd, oversized=Oversized.TRUNCATED)
    server.add_device("DEADLY", adbd=adbd)
    fits = "shell:echo a;".ljust(4093, "#") + "\n:"
    assert len(fits) + 1 == refused.adbd.max_payload_bytes
    long = "shell:echo a;".ljust(4095) + "echo never seen"
    for serial in ("REFUSED", "CUT", "DEADLY"):
        assert raw.stream(fits, f"host:transport:{serial}") == b"a\r\n"
    with pytest.raises(RefusedError, match=r"^closed$"):
        raw.open(long, "host:transport:REFUSED")
    assert raw.stream(long, "host:transport:CUT") == b"a\r\n"
    with pytest.raises(HungUpError):
        raw.open(long, "host:transport:DEADLY")
    assert wait_until(lambda: not server.running)


def test_a_long_command_and_a_new_adbd(server: Server, raw: Raw) -> None:
    server.add_device()
    assert raw.stream("shell:".ljust(60_000) + "echo seen") == b"seen\n"


def test_a_bridge_forgets_the_features_of_a_new_adbd(server: Server, raw: Raw) -> None:
    server.add_device("SILENT", features=(), adbd=Adbd.MODERN)
    server.add_device("REFUSES", features_failure="unknown host service", adbd=Adbd.MODERN)
    assert raw.ask("host-serial:SILENT:features") == b""
    with pytest.raises(RefusedError, match=r"^unknown host service$"):
        raw.ask("host-serial:REFUSES:features")
    for serial in ("SILENT", "REFUSES"):
        ran = raw.shell("echo out; exit 7", f"host:transport:{serial}")
        assert (ran.stdout, ran.exit_code) == (b"out\n", 7)


# --- files


def test_sync_is_denied_what_the_shell_may_read(server: Server, raw: Raw) -> None:
    device = server.add_device(sync_access=SyncAccess.DENIED)
    assert raw.stat_size(ARCHIVE_PATH) == len(device.kernel.archive)
    with pytest.raises(RefusedError, match=r"^open failed: Permission denied$"):
        raw.receive(ARCHIVE_PATH)
    with pytest.raises(RefusedError, match=r"^couldn't create file: Permission denied$"):
        raw.send("/data/local/tmp/sent", b"content")
    assert raw.shell(f"cat {ARCHIVE_PATH}").stdout == device.kernel.archive
    server.add_device("CLOSED", sync_access=SyncAccess.CLOSED)
    with pytest.raises(RefusedError, match=r"^closed$"):
        raw.open("sync:", "host:transport:CLOSED")


@needs_compiler
@pytest.mark.parametrize("folder", ["/data/local/tmp", "/tmp"])
@pytest.mark.parametrize("uid", [0, 2000])
def test_a_read_only_folder(server: Server, raw: Raw, folder: str, uid: int) -> None:
    device = server.add_device(uid=uid, disks={folder: Disk.READ_ONLY})
    device.plant(f"{folder}/there", b"content")
    for command in (
        f"mkdir {folder}/new",
        f"echo x >{folder}/new",
        f"cd {folder} && cp there new",
        f"rm {folder}/there",
        f"mv {folder}/there /sdcard/new",
    ):
        ran = raw.shell(command)
        assert ran.exit_code != 0, command
        assert b"Read-only file system" in ran.stderr, command
    assert raw.shell(f"cat {folder}/there; test -w {folder}") == type(ran)(b"content", b"", 1)
    assert [path.name for path in (device.root / folder[1:]).iterdir()] == ["there"]
    assert raw.shell("mkdir /sdcard/new").exit_code == 0
    if uid == 0:
        with pytest.raises(RefusedError, match="Read-only file system"):
            raw.send(f"{folder}/new", b"x")


@needs_compiler
@pytest.mark.parametrize("disk", [Disk.FULL, Disk.NO_INODES])
def test_a_full_folder(server: Server, raw: Raw, disk: Disk) -> None:
    device = server.add_device(disks={"/data/local/tmp": disk, "/tmp": disk})
    made = raw.shell("mkdir /data/local/tmp/new /tmp/new")
    for command in (
        "cat /proc/version >/data/local/tmp/file",
        "cp /proc/version /tmp/file",
        "cat /proc/version | tee /tmp/file >/dev/null",
        "seq 9 | sed p >/data/local/tmp/file",
    ):
        ran = raw.shell(command)
        assert ran.exit_code != 0, command
        assert b"No space left on device" in ran.stderr, command
    with pytest.raises(RefusedError, match="No space left on device"):
        raw.send("/data/local/tmp/sent", b"x")
    if disk is Disk.FULL:
        assert made.exit_code == 0
        assert (device.root / "tmp/new").is_dir()
        assert raw.shell(": >/data/local/tmp/empty").exit_code == 0
    else:
        assert b"No space left on device" in made.stderr
        assert raw.shell(": >/data/local/tmp/empty").exit_code != 0
        assert device.leftovers() == []
    assert raw.shell("cat /proc/version >/sdcard/file").exit_code == 0


def mode_of(place: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(place.lstat().st_mode)


@pytest.mark.parametrize(("umask", "folder", "file"), [(0, 0o777, 0o666), (0o77, 0o700, 0o600)])
def test_the_umask_of_adbd(server: Server, raw: Raw, umask: int, folder: int, file: int) -> None:
    device = server.add_device(umask=umask)
    assert raw.shell("cd /data/local/tmp; mkdir new; : >new/file").exit_code == 0
    place = device.root / "data/local/tmp/new"
    assert (mode_of(place), mode_of(place / "file")) == (folder, file)


def test_links_and_files_lie_in_the_way(server: Server, raw: Raw) -> None:
    device = server.add_device()
    device.plant("/data/local/tmp/folder", link_to="/sdcard")
    device.plant("/tmp/file", b"theirs", mode=0o600)
    raw.shell("echo ours >/data/local/tmp/folder/file")
    assert (device.root / "sdcard/file").read_text() == "ours\n"
    assert raw.shell("cat /tmp/file; mkdir /tmp/file").stdout == b"theirs"
    assert raw.shell("test -O /tmp/file").exit_code == 0


@needs_root
def test_what_another_user_left_in_the_way(server: Server, raw: Raw) -> None:
    device = server.add_device()
    device.plant("/data/local/tmp/open", uid=OTHER_UID)
    device.plant("/data/local/tmp/shut", mode=0o755, uid=OTHER_UID)
    device.plant("/data/local/tmp/secret", b"theirs", mode=0o600, uid=OTHER_UID)
    device.reboot()  # what is other people's stays so
    assert raw.shell("stat -c %u /data/local/tmp/open").stdout == b"%d\n" % OTHER_UID
    assert raw.shell("test -O /data/local/tmp/open").exit_code == 1
    assert raw.shell("echo x >/data/local/tmp/open/file").exit_code == 0
    for command in ("echo x >/data/local/tmp/shut/file", "cat /data/local/tmp/secret"):
        assert b"Permission denied" in raw.shell(command).stderr
