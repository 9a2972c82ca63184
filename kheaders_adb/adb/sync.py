"""The sync service, as far as it is needed: reading a file.

Source: AOSP ``docs/dev/sync.md``.  adbd reads the file itself, as its own user; through the shell each 4 KiB
that sysfs hands out at a time would wake two processes more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from kheaders_adb.adb.wire import Wire
from kheaders_adb.errors import PrivilegeError, TransferError
from kheaders_adb.untrusted.text import one_line


class FileFailedError(TransferError):
    """The device refused to give a file; it ends the connection with that."""


_MAX_DATA_BYTES = 64 * 1024
_MAX_FAIL_BYTES = 64 * 1024


def file_size(wire: Wire, path: PurePosixPath) -> int:
    """The size in bytes that the device reports for `path`; 0 if it is not there.

    Args:
        wire: a connection on which the ``sync:`` service was opened.

    Raises:
        TransferError, DeadlineError: the connection broke, or the answer is none.
    """
    _request(wire, b"STAT", path)
    answer = wire.read_exact(16)
    if answer[:4] != b"STAT":
        raise wire.lost(f"the device answered {answer[:4]!r} when asked for a file's size")
    return int.from_bytes(answer[8:12], "little")


def receive_file(wire: Wire, path: PurePosixPath) -> Iterator[bytes]:
    """Yield the content of `path`; ends normally only with the device's DONE.

    Args:
        wire: a connection on which the ``sync:`` service was opened.

    Raises:
        PrivilegeError: adbd may not read the file.
        TransferError, DeadlineError: the device reported a failure, or the connection broke.
    """
    _request(wire, b"RECV", path)
    while True:
        head = wire.read_exact(8)
        size_bytes = int.from_bytes(head[4:], "little")
        if head[:4] == b"DONE":
            return
        if head[:4] == b"FAIL":
            raise _failure(wire, path, size_bytes)
        if head[:4] != b"DATA" or size_bytes > _MAX_DATA_BYTES:
            raise wire.lost(f"the device sent {head!r} in the middle of {path}")
        yield wire.read_exact(size_bytes)


def _request(wire: Wire, kind: bytes, path: PurePosixPath) -> None:
    name = str(path).encode("utf-8", "surrogateescape")
    wire.write(kind + len(name).to_bytes(4, "little") + name)


def _failure(wire: Wire, path: PurePosixPath, size_bytes: int) -> TransferError | PrivilegeError:
    if size_bytes > _MAX_FAIL_BYTES:
        return wire.lost("the device reported a failure of absurd length")
    text = one_line(wire.read_exact(size_bytes).decode("utf-8", "replace"))
    if "Permission denied" in text:
        return PrivilegeError(
            f"{path} may be read by root only",
            step=wire.step,
            device=wire.device,
            hint="use a userdebug build (`adb root`) or a rooted device",
        )
    return FileFailedError(f"{path} could not be read: {text}", step=wire.step, device=wire.device)
