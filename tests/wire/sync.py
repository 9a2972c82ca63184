"""The sync service: files read and written as adbd's own user."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from .devices import Device, Disk, SyncAccess, own
from .faults import Channel
from .protocol import (
    SYNC_DATA_MAX_BYTES,
    SYNC_DENT_V1,
    SYNC_HEADER,
    SYNC_PATH_MAX_BYTES,
    SYNC_SETUP_RECV,
    SYNC_SETUP_SEND,
    SYNC_STAT_V1,
    SYNC_STAT_V2,
    sync_message,
)

_SYSFS_READ_BYTES = 4096
"""kernfs hands out a page at most per read(2), so adbd's DATA chunks of sysfs files are this long."""

_SECOND_VERSION = (b"STA2", b"LST2", b"RCV2", b"SND2")


class Sync:
    """The sync service, as daemon/file_sync_service.cpp speaks it."""

    def __init__(self, channel: Channel, device: Device) -> None:
        self._channel = channel
        self._device = device
        self._denied = device.sync_access is SyncAccess.DENIED

    def run(self) -> None:
        """Serve requests until QUIT or a failure that ends the service."""
        while True:
            kind, size_bytes = SYNC_HEADER.unpack(self._channel.receive(SYNC_HEADER.size))
            if size_bytes > SYNC_PATH_MAX_BYTES:
                self._fail("path too long")
                return
            path = self._channel.receive(size_bytes).decode(errors="surrogateescape")
            if kind in _SECOND_VERSION and not self._device.adbd.is_modern:
                self._fail(f"unknown command {int.from_bytes(kind, 'little'):08x}")
                return
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
            if self._denied or (
                self._device.uid != 0 and place.exists() and not place.stat().st_mode & 0o444
            ):
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
                if file is not None and self._device.disk_of(place) is not None:
                    self._fail("write failed: No space left on device")
                    return False
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
        if self._denied:
            return "couldn't create file: Permission denied"
        disk = self._device.disk_of(place)
        if disk is Disk.READ_ONLY:
            return "couldn't create file: Read-only file system"
        if disk is Disk.NO_INODES:
            return "couldn't create file: No space left on device"
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
