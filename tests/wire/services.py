"""What adbd does: shells, sync, root and reboot, each over one channel."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import selectors
import signal
import stat
import subprocess
from pathlib import Path

from .devices import RUNS_AS_UID, Device, own
from .faults import Channel
from .protocol import (
    OKAY,
    SHELL_HEADER,
    SYNC_DATA_MAX_BYTES,
    SYNC_DENT_V1,
    SYNC_HEADER,
    SYNC_PATH_MAX_BYTES,
    SYNC_SETUP_RECV,
    SYNC_SETUP_SEND,
    SYNC_STAT_V1,
    SYNC_STAT_V2,
    ShellId,
    shell_packet,
    sync_message,
)

_SYSFS_READ_BYTES = 4096
"""kernfs hands out a page at most per read(2), so adbd's DATA chunks of sysfs files are this long."""

_SHELL_READ_BYTES = 16 * 1024
_SIGHUP_GRACE_S = 1.0


class Wire(enum.Enum):
    """How a shell's streams are put on the wire."""

    PROTOCOL = "shell,v2"  # packets: stdout, stderr, exit code
    MERGED = "shell"  # one stream, no exit code; CRLF where the device has a PTY for it
    EXEC = "exec"  # one stream, never CRLF


def open_service(channel: Channel, device: Device, service: str) -> bool:
    """Serve one request to adbd; False if adbd does not know it (the caller says "closed")."""
    name, colon, rest = service.partition(":")
    if not colon:
        return False
    kind, *options = name.split(",")
    if kind == "shell":
        if options and "shell_v2" not in device.features:
            return False  # before API 24 adbd knew "shell:" only
        wire = Wire.PROTOCOL if "v2" in options else Wire.MERGED
        channel.send(OKAY)
        Shell(channel, device, rest, wire).run()
    elif name == "exec":
        channel.send(OKAY)
        Shell(channel, device, rest, Wire.EXEC).run()
    elif name == "sync":
        channel.send(OKAY)
        Sync(channel, device).run()
    elif name in ("root", "unroot"):
        channel.send(OKAY)
        _change_user(channel, device, root=name == "root")
    elif name == "reboot":
        channel.send(OKAY)
        channel.close()
        device.reboot()
    else:
        return False
    return True


def _change_user(channel: Channel, device: Device, *, root: bool) -> None:
    """restart_root_service() and restart_unroot_service() of daemon/restart_service.cpp."""
    if root and device.uid == 0:
        channel.send(b"adbd is already running as root\n")
    elif root and not device.debuggable:
        channel.send(b"adbd cannot run as root in production builds\n")
    elif not root and device.uid != 0:
        channel.send(b"adbd not running as root\n")
    else:
        channel.send(b"restarting adbd as root\n" if root else b"restarting adbd as non root\n")
        device.restart_adbd(0 if root else 2000, but=channel)


class Shell:
    """One command, run by the host's shell in the device's folder."""

    def __init__(self, channel: Channel, device: Device, command: str, wire: Wire) -> None:
        self._channel = channel
        self._wire = wire
        self._to_stdin = bytearray()
        self._from_client = bytearray()
        needles = [os.fsencode(device.home / view) for view in ("root", "user")]
        self._erasers = {ShellId.STDOUT: _Eraser(needles), ShellId.STDERR: _Eraser(needles)}
        self._crlf = wire is Wire.MERGED and device.crlf
        as_user: dict[str, int] = {}
        if os.geteuid() == 0:
            as_user = {"user": RUNS_AS_UID, "group": RUNS_AS_UID}
        self._process = subprocess.Popen(
            [str(device.shell), "-c", device.translate(command or ":")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if wire is Wire.PROTOCOL else subprocess.STDOUT,
            env=dict(device.environment()),
            cwd=device.view,
            start_new_session=True,
            extra_groups=[] if as_user else None,
            user=as_user.get("user"),
            group=as_user.get("group"),
        )
        self._running = device.running
        self._running.add(self._process.pid)

    def run(self) -> None:
        """Carry its streams until it has ended; ends it if the conversation does."""
        try:
            self._carry()
            code = self._process.wait()
            if self._wire is Wire.PROTOCOL:
                byte = code if code >= 0 else 0x80 | -code
                self._channel.send(shell_packet(ShellId.EXIT, bytes([byte & 0xFF])))
        finally:
            self._end()

    def _carry(self) -> None:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        os.set_blocking(stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ, ShellId.STDOUT)
            outputs = 1
            if stderr is not None:
                selector.register(stderr, selectors.EVENT_READ, ShellId.STDERR)
                outputs = 2
            selector.register(self._channel.sock, selectors.EVENT_READ, ShellId.STDIN)
            while outputs:
                for key, _ in selector.select(0.05 if self._to_stdin else None):
                    kind: ShellId = key.data
                    if kind is ShellId.STDIN:
                        self._take_input()
                        continue
                    data = os.read(key.fd, _SHELL_READ_BYTES)
                    self._give(kind, data)
                    if not data:
                        selector.unregister(key.fileobj)
                        outputs -= 1
                self._feed()

    def _give(self, kind: ShellId, data: bytes) -> None:
        text = self._erasers[kind].feed(data) if data else self._erasers[kind].finish()
        if not text:
            return
        if self._crlf:
            text = text.replace(b"\n", b"\r\n")
        self._channel.send(shell_packet(kind, text) if self._wire is Wire.PROTOCOL else text)

    def _take_input(self) -> None:
        data = self._channel.receive_some(65536)
        if self._wire is not Wire.PROTOCOL:
            self._to_stdin += data
            return
        self._from_client += data
        while len(self._from_client) >= SHELL_HEADER.size:
            kind, size_bytes = SHELL_HEADER.unpack_from(self._from_client)
            end = SHELL_HEADER.size + size_bytes
            if len(self._from_client) < end:
                break
            payload = bytes(self._from_client[SHELL_HEADER.size : end])
            del self._from_client[:end]
            if kind == ShellId.STDIN:
                self._to_stdin += payload
            elif kind == ShellId.CLOSE_STDIN:
                self._feed(finish=True)

    def _feed(self, *, finish: bool = False) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        if stdin.closed:
            self._to_stdin.clear()
            return
        try:
            if finish:
                os.set_blocking(stdin.fileno(), True)
            while self._to_stdin:
                written = os.write(stdin.fileno(), self._to_stdin)
                del self._to_stdin[:written]
            if finish:
                stdin.close()
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._to_stdin.clear()
            with contextlib.suppress(BrokenPipeError):
                stdin.close()

    def _end(self) -> None:
        # As adbd does when its peer is gone: a hangup for the shell itself.  What outlives that is the
        # fake's to clean up.
        process = self._process
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SIGHUP_GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._running.discard(process.pid)
        process.wait()


class _Eraser:
    """Takes the host's folders out of a stream again, also where one straddles two chunks."""

    def __init__(self, needles: list[bytes]) -> None:
        self._needles = needles
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """The next chunk, less what may be the start of a folder's name."""
        text = self._kept + data
        for needle in self._needles:
            text = text.replace(needle, b"")
        keep = 0
        for needle in self._needles:
            start = text.find(needle[:1], max(0, len(text) - len(needle) + 1))
            while start >= 0:
                if needle.startswith(text[start:]):
                    keep = max(keep, len(text) - start)
                    break
                start = text.find(needle[:1], start + 1)
        self._kept = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> bytes:
        """What was held back."""
        kept, self._kept = self._kept, b""
        return kept


class Sync:
    """The sync service, as daemon/file_sync_service.cpp speaks it."""

    def __init__(self, channel: Channel, device: Device) -> None:
        self._channel = channel
        self._device = device

    def run(self) -> None:
        """Serve requests until QUIT or a failure that ends the service."""
        while True:
            kind, size_bytes = SYNC_HEADER.unpack(self._channel.receive(SYNC_HEADER.size))
            if size_bytes > SYNC_PATH_MAX_BYTES:
                self._fail("path too long")
                return
            path = self._channel.receive(size_bytes).decode(errors="surrogateescape")
            match kind:
                case b"STAT":
                    self._stat_v1(path)
                case b"STA2" | b"LST2":
                    self._stat_v2(kind, path)
                case b"LIST":
                    self._list(path)
                case b"RECV":
                    if not self._recv(path):
                        return
                case b"RCV2":
                    _, flags = SYNC_SETUP_RECV.unpack(self._channel.receive(SYNC_SETUP_RECV.size))
                    if flags:
                        self._fail(f"unknown flags: {flags}")
                        return
                    if not self._recv(path):
                        return
                case b"SEND":
                    path, comma, mode = path.rpartition(",")
                    if not comma:
                        self._fail("missing , in ID_SEND_V1")
                        return
                    if not self._send(path, int(mode, 0)):
                        return
                case b"SND2":
                    setup = self._channel.receive(SYNC_SETUP_SEND.size)
                    _, mode_bits, flags = SYNC_SETUP_SEND.unpack(setup)
                    if flags:
                        self._fail(f"unknown flags: {flags}")
                        return
                    if not self._send(path, mode_bits):
                        return
                case b"QUIT":
                    return
                case _:
                    self._fail(f"unknown command {int.from_bytes(kind, 'little'):08x}")
                    return

    def _fail(self, text: str) -> None:
        self._channel.send(sync_message(b"FAIL", text.encode()))

    def _stat_v1(self, path: str) -> None:
        try:
            info = self._device.host_path(path).lstat()
        except OSError:
            self._channel.send(SYNC_STAT_V1.pack(b"STAT", 0, 0, 0))
            return
        self._channel.send(
            SYNC_STAT_V1.pack(b"STAT", info.st_mode, info.st_size & 0xFFFFFFFF, int(info.st_mtime))
        )

    def _stat_v2(self, kind: bytes, path: str) -> None:
        place = self._device.host_path(path)
        try:
            info = place.stat() if kind == b"STA2" else place.lstat()
        except OSError as error:
            self._channel.send(SYNC_STAT_V2.pack(kind, error.errno or 0, *([0] * 10)))
            return
        times = (int(info.st_atime), int(info.st_mtime), int(info.st_ctime))
        self._channel.send(
            SYNC_STAT_V2.pack(
                kind,
                0,
                info.st_dev,
                info.st_ino,
                info.st_mode,
                info.st_nlink,
                0,
                0,
                info.st_size,
                *times,
            )
        )

    def _list(self, path: str) -> None:
        with contextlib.suppress(OSError):
            for entry in sorted(self._device.host_path(path).iterdir()):
                info = entry.lstat()
                name = os.fsencode(entry.name)
                head = (info.st_mode, info.st_size & 0xFFFFFFFF, int(info.st_mtime), len(name))
                self._channel.send(SYNC_DENT_V1.pack(b"DENT", *head) + name)
        self._channel.send(SYNC_DENT_V1.pack(b"DONE", 0, 0, 0, 0))

    def _recv(self, path: str) -> bool:
        place = self._device.host_path(path)
        try:
            # adbd opens it as its own user; the tests may run as root, who may read everything.
            if self._device.uid != 0 and place.exists() and not place.stat().st_mode & 0o444:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            file = place.open("rb", buffering=0)
        except OSError as error:
            self._fail(f"open failed: {os.strerror(error.errno or 0)}")
            return False
        size_bytes = _SYSFS_READ_BYTES if path.startswith("/sys/") else SYNC_DATA_MAX_BYTES
        with file:
            while chunk := file.read(size_bytes):
                self._channel.send(sync_message(b"DATA", chunk))
        self._channel.send(sync_message(b"DONE"))
        return True

    def _send(self, path: str, mode: int) -> bool:
        place = self._device.host_path(path)
        problem = self._create(place)
        with place.open("wb") if problem is None else contextlib.nullcontext() as file:
            if problem is not None:
                self._fail(problem)
            while True:
                kind, size_bytes = SYNC_HEADER.unpack(self._channel.receive(SYNC_HEADER.size))
                if kind == b"DONE":
                    mtime_s = size_bytes
                    break
                if kind != b"DATA" or size_bytes > SYNC_DATA_MAX_BYTES:
                    self._fail(
                        "invalid data message" if kind != b"DATA" else "oversize data message"
                    )
                    return False
                data = self._channel.receive(size_bytes)
                if file is not None:
                    file.write(data)
        if problem is not None:
            return False
        # handle_send_file(): the owner's bits are copied to group and others.
        mode &= 0o777
        place.chmod(mode | (mode >> 3) & 0o070 | (mode >> 3) & 0o007)
        os.utime(place, (mtime_s, mtime_s))
        own(place)
        self._channel.send(sync_message(b"OKAY"))
        return True

    def _create(self, place: Path) -> str | None:
        """Make room for a pushed file; the text of what is in the way, or None."""
        writable = ("data/local/tmp", "sdcard") if self._device.uid != 0 else ("",)
        root = self._device.view
        if not any(place.is_relative_to(root / folder) for folder in writable):
            return "couldn't create file: Permission denied"
        missing = [folder for folder in place.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir()
            own(folder)
        try:
            if place.exists() and stat.S_ISDIR(place.lstat().st_mode):
                return "couldn't create file: Is a directory"
            place.unlink(missing_ok=True)
            place.touch()
        except OSError as error:
            return f"couldn't create file: {os.strerror(error.errno or 0)}"
        return None
