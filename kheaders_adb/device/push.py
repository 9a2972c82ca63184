"""A header tree onto the device, for tools that compile there: one tar stream, unpacked as it comes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

from kheaders_adb.adb.shell import Stream
from kheaders_adb.device.device import Device
from kheaders_adb.device.script import compose
from kheaders_adb.errors import (
    DeviceChangedError,
    NoHeadersError,
    StoreError,
    TransferError,
    UsageError,
)
from kheaders_adb.store.faults import store_error
from kheaders_adb.store.manifest import Entry, EntryKind
from kheaders_adb.untrusted.text import one_line

FOLDER = "kheaders"
"""Where trees go by default, in /data/local/tmp or /tmp; not the work folder, which is swept."""

_STEP = "putting the headers onto the device"
_CHUNK_BYTES = 256 * 1024
_BLOCK_BYTES = 512
_NO_TAR, _FOREIGN, _CUT, _PARTIAL, _ELSEWHERE, _OUTSIDE = 127, 17, 18, 19, 20, 21
_IN_ROOT = PurePosixPath("/usr/src")
_PARENTS = ("/data/local/tmp", "/tmp")  # noqa: S108 - the device's
_SENT = (EntryKind.DIRECTORY, EntryKind.SYMLINK, EntryKind.FILE, EntryKind.REGENERATED)
_DAMAGED = "`kheaders-adb verify --all --repair` repairs it; then run the same command again"
_CANNOT_WRITE = (
    "is there room (60 MB), and may the device's shell write there? else name a folder with --to"
)
_MAY_NOT_WRITE = (
    "is there room (60 MB)? a chroot is often root's: make /usr/src/kheaders in it the shell's own, or run "
    "`adb root` first, which ends the sessions of others"
)
_CANNOT_HOLD = (
    "the file system there loses some, maybe because names that differ only in case are one to it: "
    "name another folder with --to"
)

MARK = ".kheaders-adb"


def push_tree(
    device: Device,
    tree: Path,
    entries: Sequence[Entry],
    name: str,
    target: PurePosixPath | None = None,
    root: PurePosixPath | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[PurePosixPath, bool]:
    """Put a header tree onto the device and return where it is, and whether it had to be sent.

    Args:
        device: the device; its deadline bounds everything.
        tree: the tree on this host, which the caller keeps from being removed meanwhile.
        entries: what it holds, from its manifest.
        name: what names the tree's content, safe in a file name; a whole one of this name there is not sent
            again.
        target: the folder that becomes the tree; None for one called `name` in the device's temporary
            folder.
        root: the folder of a chroot on the device, in which the tree is to be found as `target`, or else
            beneath /usr/src: what is in /tmp there, whoever enters it may have covered.
        on_progress: called with the bytes that were sent and some that the whole will have.

    Raises:
        UsageError: `target` holds something else, or is no absolute path; `root` is no folder there, or a
            link in it leads out of it.
        NoHeadersError: the device has no tar, or no shell protocol 2.
        StoreError: the tree is not as its manifest says; or it could not be unpacked there: the disk is full,
            the shell may not write, or the file system cannot hold it.
        TransferError, DeadlineError: the connection broke, or it took too long.

    Guarantees:
        The folder is complete or absent; what was unpacked of a lost transfer is removed.  Every file was
        compared with its digest while it was read, and the mark by which a tree is known again is sent after
        all of them.
    """
    if root is not None:
        root = _plain(root, device, parents=False)
        inside = _plain(target or _IN_ROOT / FOLDER / name, device, parents=False)
        target = root / inside.relative_to("/")
    elif target is not None:
        target = _plain(target, device)
    if not device.shell.is_v2:
        raise NoHeadersError(
            "its adbd has no shell protocol 2, so that commands there have no input",
            step=_STEP,
            device=device.serial,
            hint="copy the tree that `kheaders-adb path` names by hand",
        )
    content = [entry for entry in entries if entry.kind in _SENT]
    count = _count(content)
    stream = device.stream(push_script(name, count, target, device.boot_id, root), step=_STEP)
    try:
        chunks = _tar(tree, content, f"{name} {count}")
        counted = _counted(chunks, content, on_progress)
        where, sent = _talk(device, stream, counted, in_root=root is not None)
    finally:
        stream.close()
    if target is None and where not in [f"{parent}/{FOLDER}/{name}" for parent in _PARENTS]:
        raise TransferError(
            f"it says that they are in {where[:200]!r}", step=_STEP, device=device.serial
        )
    return target or PurePosixPath(where), sent


def inside(folder: PurePosixPath, root: PurePosixPath) -> PurePosixPath:
    """What a folder in `root`, from `push_tree`, is called by who is inside."""
    return PurePosixPath("/", *folder.parts[len(root.parts) :])


def push_script(
    name: str,
    count: int,
    target: PurePosixPath | None = None,
    boot_id: str | None = None,
    root: PurePosixPath | None = None,
) -> str:
    """The script that unpacks a tree from its stdin.

    It says on stdout where that is, then ``present``, or ``absent`` and at last ``done``.

    Args:
        name, target: as for `push_tree`.
        count: how many links, and files that are not empty, the tree has.
        boot_id: the boot that is meant; in any other nothing is done.
        root: a folder that `target` is in and must not lead out of.
    """
    return compose(
        "push",
        TARGET=target or "",
        FOLDER=FOLDER,
        NAME=name,
        COUNT=count,
        MARK=MARK,
        NO_TAR=_NO_TAR,
        FOREIGN=_FOREIGN,
        CUT=_CUT,
        PARTIAL=_PARTIAL,
        ELSEWHERE=_ELSEWHERE,
        OUTSIDE=_OUTSIDE,
        ROOT=root or "",
        BOOT=boot_id or "",
    )


def _plain(path: PurePosixPath, device: Device, *, parents: bool = True) -> PurePosixPath:
    """A folder of the device that a user names, if the script can be told of it."""
    if not path.is_absolute():
        raise UsageError(f"{path} is not an absolute path", step=_STEP, device=device.serial)
    if ".." in path.parts and not parents:
        raise UsageError(f"{path} is not a path without ..", step=_STEP, device=device.serial)
    if any(character in str(path) for character in "\n\r\0"):
        raise UsageError(f"{str(path)!r} holds a line break", step=_STEP, device=device.serial)
    return PurePosixPath(
        "/", *path.parts[1:]
    )  # of two slashes at the beginning, POSIX lets both stay


def _count(entries: Iterable[Entry]) -> int:
    """How many links and files the script on the device counts: no empty ones, and none behind a dot."""
    return sum(
        entry.kind is EntryKind.SYMLINK or entry.size_bytes > 0
        for entry in entries
        if not f"/{entry.path}".count("/.")
    )


def _talk(
    device: Device, stream: Stream, chunks: Iterable[bytes], *, in_root: bool
) -> tuple[str, bool]:
    lines = _lines(stream)
    where, state = next(lines, ""), next(lines, "")
    if state == "absent":
        lost: TransferError | None = None
        try:
            for chunk in chunks:
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
    if stream.exit_code == _OUTSIDE:
        raise UsageError(
            seen,
            step=_STEP,
            device=device.serial,
            hint="name the folder that the chroot is made of with --root, and one in it with --to",
        )
    if stream.exit_code == _PARTIAL:
        raise StoreError(seen, step=_STEP, device=device.serial, hint=_CANNOT_HOLD)
    if stream.exit_code == _ELSEWHERE:
        raise DeviceChangedError(
            f"the device rebooted meanwhile, or another one answers in its place: {seen}",
            step=_STEP,
            device=device.serial,
        )
    if stream.exit_code in (0, _CUT):
        raise TransferError(seen, step=_STEP, device=device.serial)
    raise StoreError(
        seen,
        step=_STEP,
        device=device.serial,
        hint=_MAY_NOT_WRITE if in_root else _CANNOT_WRITE,
    )


def _lines(stream: Stream) -> Iterator[str]:
    rest = b""
    for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)


def _tar(tree: Path, entries: Iterable[Entry], mark: str) -> Iterator[bytes]:
    """The tree as an uncompressed tar stream: phones have tar, but seldom xz."""
    held = _Held()
    with tarfile.open(fileobj=held, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.mode = 0o644
            if entry.kind is EntryKind.DIRECTORY:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif entry.kind is EntryKind.SYMLINK:
                info.type, info.linkname = tarfile.SYMTYPE, entry.target or ""
                archive.addfile(info)
            else:
                content = _checked(tree, entry)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            if held.size_bytes >= _CHUNK_BYTES:
                yield held.take()
        last = tarfile.TarInfo(MARK)
        last.mode, last.size = 0o644, len(mark.encode()) + 1
        archive.addfile(last, io.BytesIO(mark.encode() + b"\n"))
    yield held.take()


def _counted(
    chunks: Iterable[bytes],
    entries: Iterable[Entry],
    on_progress: Callable[[int, int], None] | None,
) -> Iterator[bytes]:
    # Each has a head of one block, and fills whole ones; what few have besides is not reckoned.
    size_bytes = sum((1 + -(-entry.size_bytes // _BLOCK_BYTES)) * _BLOCK_BYTES for entry in entries)
    done_bytes = 0
    for chunk in chunks:
        yield chunk
        done_bytes += len(chunk)
        if on_progress is not None:
            on_progress(min(done_bytes, size_bytes), size_bytes)


def _checked(tree: Path, entry: Entry) -> bytes:
    """A file's content, which is that of its manifest."""
    path = tree / entry.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise store_error(error, step=_STEP, path=path) from error
    if sha256(content).hexdigest() != entry.sha256:
        raise StoreError(f"{path} is not as it was staged", step=_STEP, hint=_DAMAGED)
    return content


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
