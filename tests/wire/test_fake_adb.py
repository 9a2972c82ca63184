"""The fake adb server speaks adb: the real client, as adbutils bundles it, works with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .devices import ARCHIVE_PATH, Device, Headers, State, Su
from .faults import Action, wait_until
from .server import Server


class RealAdb:
    """The real client, bound to the fake server's port."""

    def __init__(self, binary: Path, port: int, home: Path) -> None:
        self._binary = binary
        self._port = port
        # Its own home: the client makes keys and logs in ~/.android; TMPDIR holds the log of a server
        # that it would start if it took ours for a stale one.
        self._env = {"HOME": str(home), "TMPDIR": str(home), "PATH": os.environ["PATH"]}

    def __call__(self, *arguments: str, check: int | None = 0, stdin: bytes = b"") -> str:
        done = self.run(*arguments, stdin=stdin)
        if check is not None:
            assert done.returncode == check, done.stderr
        return (done.stdout + done.stderr).decode()

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run it, streams apart."""
        done = subprocess.run(
            [self._binary, "-P", str(self._port), *arguments],
            input=stdin,
            capture_output=True,
            env=self._env,
            timeout=60,
        )
        assert b"doesn't match this client" not in done.stderr
        assert b"starting now" not in done.stderr
        return done


@pytest.fixture
def adb(server: Server, tmp_path: Path) -> RealAdb:
    adbutils = pytest.importorskip("adbutils", reason="adbutils bundles the adb client used here")
    binary = Path(adbutils.__file__).parent / "binaries" / "adb"
    if not binary.is_file():
        pytest.skip(f"adbutils bundles no adb client for this platform ({binary})")
    return RealAdb(binary, server.port, tmp_path)


def test_devices_are_listed_in_every_state(adb: RealAdb, server: Server) -> None:
    server.add_device("A1")
    server.add_device("127.0.0.1:5555", usb=False, state=State.OFFLINE)
    server.add_device("A3", state=State.UNAUTHORIZED)
    assert "A1\tdevice\n127.0.0.1:5555\toffline\nA3\tunauthorized\n" in adb("devices")
    assert "product:fake model:Fake device:fake transport_id:1" in adb("devices", "-l")


def test_shell_streams_and_exit_code(adb: RealAdb, device: Device) -> None:
    done = adb.run("shell", "echo out; echo err >&2; cat; exit 7", stdin=b"typed\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\ntyped\n", b"err\n", 7)


def test_shell_runs_in_the_devices_file_system(adb: RealAdb, device: Device) -> None:
    assert adb("shell", "uname -r; cat /proc/version; id -u; ls /data/local") == (
        f"{device.kernel.release}\n{device.kernel.banner}\n0\ntmp\n"
    )
    assert adb("shell", "readlink -f /sys/kernel") == "/sys/kernel\n"  # no host path shows


def test_shell_before_the_shell_protocol(adb: RealAdb, server: Server) -> None:
    server.add_device(features=("cmd",))
    done = adb.run("shell", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\r\nerr\r\n", b"", 0)


def test_exec_out_is_raw(adb: RealAdb, device: Device) -> None:
    done = adb.run("exec-out", f"cat {ARCHIVE_PATH}")
    assert done.stdout == device.kernel.archive


def test_pull_and_push(adb: RealAdb, device: Device, tmp_path: Path) -> None:
    adb("pull", ARCHIVE_PATH, str(tmp_path / "pulled"))
    assert (tmp_path / "pulled").read_bytes() == device.kernel.archive
    sent = os.urandom(300_000)
    (tmp_path / "pushed").write_bytes(sent)
    adb("push", str(tmp_path / "pushed"), "/data/local/tmp/new/pushed")
    assert device.host_path("/data/local/tmp/new/pushed").read_bytes() == sent
    assert adb("shell", "wc -c < /data/local/tmp/new/pushed").strip() == "300000"
    assert "No such file or directory" in adb("pull", "/sys/absent", str(tmp_path), check=1)


def test_sync_without_its_second_version(adb: RealAdb, server: Server, tmp_path: Path) -> None:
    device = server.add_device(features=("cmd", "shell_v2"))
    adb("pull", ARCHIVE_PATH, str(tmp_path / "pulled"))
    assert (tmp_path / "pulled").read_bytes() == device.kernel.archive


def test_shell_user_may_list_but_not_read(adb: RealAdb, server: Server, tmp_path: Path) -> None:
    server.add_device(uid=2000, su=Su.AOSP)
    assert "Permission denied" in adb(
        "shell", f"test -e {ARCHIVE_PATH} && cat {ARCHIVE_PATH}", check=1
    )
    assert "open failed: Permission denied" in adb(
        "pull", ARCHIVE_PATH, str(tmp_path / "x"), check=1
    )
    assert adb("shell", f"id -u; su 0 id -u; su root sh -c 'wc -c <{ARCHIVE_PATH}'").split()[
        :2
    ] == [
        "2000",
        "0",
    ]


@pytest.mark.parametrize(
    ("su", "command", "answer"),
    [
        (Su.AOSP, "su 0 id -u", "0"),
        (Su.AOSP, "su root id -u", "0"),
        (Su.AOSP, "su -c id", "su: invalid uid/gid '-c'"),
        (Su.MAGISK, "su -c 'id -u'", "0"),
        (Su.MAGISK, "su 0 -c 'id -u'", "0"),
        (Su.DENIED, "su -c id", "Permission denied"),
        (None, "su 0 id", "/system/bin/sh: su: not found"),
    ],
)
def test_su_speaks_its_dialect(
    adb: RealAdb, server: Server, su: Su | None, command: str, answer: str
) -> None:
    server.add_device(uid=2000, su=su)
    got = adb("shell", command, check=None).strip()
    assert got == answer or (su is None and "not found" in got)


def test_a_root_shell_reads_what_the_user_may_not(adb: RealAdb, server: Server) -> None:
    device = server.add_device(uid=2000, su=Su.MAGISK)
    done = adb.run("shell", f"su -c 'cat {ARCHIVE_PATH}'")
    assert done.stdout == device.kernel.archive


def test_root_and_unroot_restart_adbd(adb: RealAdb, server: Server) -> None:
    device = server.add_device(uid=2000)
    before = device.transport_id
    assert "restarting adbd as root" in adb("root")
    assert adb("shell", "id -u") == "0\n"
    assert device.transport_id != before
    assert "already running as root" in adb("root")
    assert "restarting adbd as non root" in adb("unroot")
    assert adb("shell", "id -u") == "2000\n"


def test_root_is_refused_on_production_builds(adb: RealAdb, server: Server) -> None:
    server.add_device(uid=2000, debuggable=False)
    assert "adbd cannot run as root in production builds" in adb("root", check=None)


def test_reboot_changes_the_boot(adb: RealAdb, device: Device) -> None:
    before = device.boot_id
    adb("reboot")
    assert wait_until(lambda: device.present and device.boot_id != before)
    assert adb("shell", "cat /proc/sys/kernel/random/boot_id").strip() == device.boot_id


def test_module_is_pushed_loaded_and_removed(adb: RealAdb, server: Server, tmp_path: Path) -> None:
    device = server.add_device(headers=Headers.ABSENT)
    assert "No such file" in adb("shell", f"cat {ARCHIVE_PATH}", check=1)
    (tmp_path / "kheaders.ko").write_bytes(device.kernel.module)
    adb("push", str(tmp_path / "kheaders.ko"), "/data/local/tmp/")
    adb("shell", "insmod /data/local/tmp/kheaders.ko")
    assert "insmod: failed to load /data/local/tmp/kheaders.ko: File exists" in adb(
        "shell", "insmod /data/local/tmp/kheaders.ko", check=1
    )
    done = adb.run("shell", f"cat {ARCHIVE_PATH}")
    assert done.stdout == device.kernel.archive
    assert "kheaders " in device.loaded_modules
    adb("shell", "rmmod kheaders")
    assert "kheaders " not in device.loaded_modules
    assert "No such file" in adb("shell", f"cat {ARCHIVE_PATH}", check=1)
    truncated = device.kernel.module[:-500]
    (tmp_path / "kheaders.ko").write_bytes(truncated)
    adb("push", str(tmp_path / "kheaders.ko"), "/data/local/tmp/")
    assert "Exec format error" in adb("shell", "insmod /data/local/tmp/kheaders.ko", check=1)
    assert "Invalid ELF section header overflow" in adb("shell", "dmesg")


@pytest.mark.parametrize(
    ("arguments", "states", "text"),
    [
        ([], [], "no devices/emulators found"),
        ([], [State.DEVICE, State.DEVICE], "more than one device/emulator"),
        ([], [State.OFFLINE], "device offline"),
        ([], [State.UNAUTHORIZED], "Otherwise check for a confirmation dialog on your device."),
        ([], [State.AUTHORIZING], "device still authorizing"),
        (["-s", "NONE"], [State.DEVICE], "device 'NONE' not found"),
        (["-t", "99"], [State.DEVICE], "no device with transport id '99'"),
        (["-d"], [State.DEVICE, State.DEVICE], "more than one USB device"),
        (["-e"], [State.DEVICE], "no emulators found"),
    ],
)
def test_selection_fails_in_adbs_words(
    adb: RealAdb, server: Server, arguments: list[str], states: list[State], text: str
) -> None:
    for number, state in enumerate(states):
        server.add_device(f"D{number}", state=state)
    assert text in adb(*arguments, "shell", "true", check=1)


def test_the_same_serial_twice(adb: RealAdb, server: Server) -> None:
    server.add_device("TWIN")
    server.add_device("TWIN")
    assert "more than one device with serial TWIN" in adb("-s", "TWIN", "shell", "true", check=1)
    assert adb("-t", "2", "shell", "echo fine") == "fine\n"


def test_kill_server(adb: RealAdb, server: Server) -> None:
    adb("kill-server")
    assert wait_until(lambda: not server.running)


@pytest.mark.parametrize("action", [Action.CLOSE, Action.RESET])
def test_a_cut_is_seen_by_the_real_client(adb: RealAdb, server: Server, action: Action) -> None:
    server.add_device()
    fault = server.inject(action, r"^shell.*cat", 20_000)
    done = adb.run("shell", f"cat {ARCHIVE_PATH}")
    assert fault.fired == 1
    assert len(done.stdout) < 20_000
    assert adb("shell", "echo again") == "again\n"  # one occurrence only


def test_a_corrupted_byte_arrives_corrupted(adb: RealAdb, server: Server, tmp_path: Path) -> None:
    device = server.add_device()
    server.inject(Action.CORRUPT, r"^sync:", 50_000)
    adb("pull", ARCHIVE_PATH, str(tmp_path / "pulled"))
    pulled = (tmp_path / "pulled").read_bytes()
    wrong = [
        at for at, (a, b) in enumerate(zip(pulled, device.kernel.archive, strict=True)) if a != b
    ]
    assert len(wrong) == 1


def test_a_stall_ends_with_the_client(server: Server, device: Device, adb: RealAdb) -> None:
    fault = server.inject(Action.STALL, "^shell", 4)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [adb._binary, "-P", str(server.port), "shell", "echo never"], timeout=0.5, env=adb._env
        )
    assert fault.fired == 1
    server.stop()  # returns: the stalled conversation noticed that its client has gone


def test_hundreds_of_devices(adb: RealAdb, server: Server) -> None:
    for number in range(200):
        server.add_device(f"D{number:03}", headers=Headers.ABSENT)
    assert adb("devices").count("\tdevice\n") == 200
    assert adb("-s", "D142", "shell", "echo D142") == "D142\n"


def test_track_devices_reports_changes(adb: RealAdb, server: Server, tmp_path: Path) -> None:
    device = server.add_device()
    seen = tmp_path / "seen"
    with (
        seen.open("wb") as out,
        subprocess.Popen(
            [adb._binary, "-P", str(server.port), "track-devices"], stdout=out, env=adb._env
        ) as tracker,
    ):
        try:
            assert wait_until(lambda: b"FAKE0001\tdevice" in seen.read_bytes())
            device.state = State.OFFLINE
            assert wait_until(lambda: b"FAKE0001\toffline" in seen.read_bytes())
        finally:
            tracker.kill()
