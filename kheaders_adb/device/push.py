"""A header tree onto the device, for tools that compile there: one tar stream, unpacked as it comes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kheaders_adb.adb.shell import ShellStream
from kheaders_adb.device.device import Device
from kheaders_adb.device.script import compose
from kheaders_adb.errors import NoHeadersError, StoreError, TransferError, UsageError
from kheaders_adb.untrusted.text import one_line

FOLDER = "kheaders"
"""Where trees go by default, in /data/local/tmp or /tmp; not the work folder, which is swept."""

_STEP = "putting the headers onto the device"
_CHUNK_BYTES = 256 * 1024
_NO_TAR, _FOREIGN, _CUT = 127, 17, 18

MARK = ".kheaders-adb"


def push_tree(
    device: Device, tree: Path, name: str, target: PurePosixPath | None = None
) -> tuple[PurePosixPath, bool]:
    """Put a header tree onto the device and return where it is, and whether it had to be sent.

    Args:
        device: the device; its deadline bounds everything.
        tree: the tree on this host.
        name: what names the tree's content, safe in a file name; one of this name there is not sent again.
        target: the folder that becomes the tree; None for one called `name` in the device's temporary
            folder.

    Raises:
        UsageError: `target` holds something else, or is no absolute path.
        NoHeadersError: the device has no tar.
        StoreError: it could not be unpacked there: the disk is full, or the shell may not write.
        TransferError, DeadlineError: the connection broke, or it took too long.

    Guarantees:
        The folder is complete or absent; what was unpacked of a lost transfer is removed.
    """
    if target is not None and not target.is_absolute():
        raise UsageError(f"{target} is not an absolute path", step=_STEP, device=device.serial)
    script = push_script(name, target)
    stream = device.stream(script, step=_STEP)
    try:
        where, sent = _talk(device, stream, tree, name)
    finally:
        stream.close()
    return target or PurePosixPath(where), sent


def push_script(name: str, target: PurePosixPath | None = None) -> str:
    """The script that unpacks a tree from its stdin.

    It says on stdout where that is, then ``present``, or ``absent`` and at last ``done``.

    Args:
        name, target: as for `push_tree`.
    """
    return compose(
        "push",
        TARGET=target or "",
        FOLDER=FOLDER,
        NAME=name,
        MARK=MARK,
        NO_TAR=_NO_TAR,
        FOREIGN=_FOREIGN,
        CUT=_CUT,
    )


def _talk(device: Device, stream: ShellStream, tree: Path, name: str) -> tuple[str, bool]:
    lines = _lines(stream)
    where, state = next(lines, ""), next(lines, "")
    if state == "absent":
        lost: TransferError | None = None
        try:
            for chunk in _tar(tree, name):
                stream.send_stdin(chunk)
            stream.close_stdin()
        except TransferError as error:
            # The device ended the command: what it said, if that still comes, is the better message.
            lost = error
        try:
            state = next(lines, "")
            for _ in lines:
                pass
        except TransferError as error:
            raise lost or error from error
    else:
        for _ in lines:
            pass
    if stream.exit_code == 0 and state in ("present", "done"):
        return where, state == "done"
    seen = one_line(stream.stderr.decode("utf-8", "replace").strip()) or "unpacking failed"
    if stream.exit_code == _NO_TAR:
        raise NoHeadersError(
            seen, step=_STEP, device=device.serial, hint="push to a device with toybox or busybox"
        )
    if stream.exit_code == _FOREIGN:
        raise UsageError(
            seen, step=_STEP, device=device.serial, hint="name another folder with --to"
        )
    if stream.exit_code in (0, _CUT):
        raise TransferError(seen, step=_STEP, device=device.serial)
    raise StoreError(
        seen,
        step=_STEP,
        device=device.serial,
        hint="is there room (60 MB), and may the device's shell write there? else name a folder with --to",
    )


def _lines(stream: ShellStream) -> Iterator[str]:
    rest = b""
    for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)


def _tar(tree: Path, name: str) -> Iterator[bytes]:
    """The tree as an uncompressed tar stream: phones have tar, but seldom xz."""
    held = _Held()
    with tarfile.open(fileobj=held, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            entry = archive.gettarinfo(path, str(path.relative_to(tree)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755 if entry.isdir() else 0o644
            if entry.isreg():
                # Two names of one file are two files there.
                entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
            if held.size_bytes >= _CHUNK_BYTES:
                yield held.take()
        mark = tarfile.TarInfo(MARK)
        mark.mode, mark.size = 0o644, len(name.encode()) + 1
        archive.addfile(mark, io.BytesIO(name.encode() + b"\n"))
    yield held.take()


class _Held(io.RawIOBase):
    """Where tarfile writes to, until somebody takes it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        self.size_bytes += len(data)
        return len(data)

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        self.size_bytes = 0
        return content
