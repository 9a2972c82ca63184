"""What runs change on devices, noted before it is changed: a killed run can say nothing afterwards.

A note is a file ``changes/<serial>.<boot_id>.<kind>.json``.  Every run that relies on the change holds a
shared lock on it, which the operating system lets go of when the run dies.  Who can have the lock alone is
the last: it undoes the change and removes the note.  A note that nobody holds is of a run that was killed, or
could not undo what it had done.
"""

from __future__ import annotations

import enum
import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store import paths
from kheaders_adb.store.faults import READ_ONLY_ERRNOS, store_error, wrapped
from kheaders_adb.store.locks import PATIENCE_S, TimeLeft, try_lock
from kheaders_adb.store.strict_json import Fields

_STEP = "noting what is changed on the device"
_POLL_S = 0.01
_GLANCE_S = 0.5
"""How long a lock may be held by somebody who only looks whether it is held."""
_MAX_BYTES = 65536
_MAX_PREFIX = 100


class ChangeKind(enum.StrEnum):
    """What a run changes on a device for as long as it lasts."""

    ADBD_ROOT = "adbd-root"
    MODULE = "module"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one device in one boot.

    Attributes:
        serial: the device.
        boot_id: the boot; None where the device does not tell.
        kind: what is changed.
        place: where the device was plugged in, as the adb server says it: two may have one serial.
        since: when it was, in seconds since the epoch.
    """

    serial: str
    boot_id: str | None
    kind: ChangeKind
    place: str | None = None
    since: int = 0

    @property
    def file_name(self) -> str:
        """The name of its note."""
        return paths.device_file_name(f"{self.serial}.{self.boot_id or ''}.{self.kind}")


class Claim:
    """A run's part in a change: while it is held, nobody undoes that.

    Attributes:
        is_settled: whether this run has removed the note, as nothing is left to undo.

    Args:
        path: the note.
        fd: an open file of it that is locked; owned from here on.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self.is_settled = False

    @property
    def is_void(self) -> bool:
        """Whether the note is gone: the change was undone, or somebody wants it to stay."""
        return not _is_at(self._fd, self._path)

    def is_last(self) -> bool:
        """Whether no other run relies on the change; until `close` none begins to.

        False as well where the note is gone: somebody wants the change to stay.
        """
        deadline = time.monotonic() + _GLANCE_S
        while not try_lock(self._fd, exclusive=True):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return not self.is_void

    def settle(self) -> None:
        """Remove the note: there is nothing left to undo."""
        with suppress(OSError):  # then it is told of, and found settled, another time
            self._path.unlink(missing_ok=True)
        self.is_settled = True

    def close(self) -> None:
        """Let go of it; a note that was not settled stays."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class Changes:
    """The notes of a store.

    Args:
        root: the store.
        time_left: gives the seconds that the run has left.
    """

    def __init__(self, root: Path, time_left: TimeLeft = lambda: PATIENCE_S) -> None:
        self._folder = root / paths.CHANGES
        self._time_left = time_left

    def begin(
        self, serial: str, boot_id: str | None, kind: ChangeKind, place: str | None = None
    ) -> Claim:
        """Note a change that is about to be made.

        Raises:
            StoreError: it cannot be noted.
        """
        change = Change(serial, boot_id, kind, place, int(time.time()))
        path = self._folder / change.file_name
        deadline = time.monotonic() + min(self._time_left(), PATIENCE_S)
        with wrapped(_STEP, path):
            self._folder.mkdir(exist_ok=True)
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                try:
                    if try_lock(fd, exclusive=True) and _is_at(fd, path):
                        _write(fd, change)
                    if try_lock(fd, exclusive=False) and _is_at(fd, path):
                        claim, fd = Claim(path, fd), -1
                        return claim
                finally:
                    if fd >= 0:
                        os.close(fd)
                _wait(deadline, path)

    def join(self, serial: str, boot_id: str | None, kind: ChangeKind) -> Claim | None:
        """Take part in a change that another living run has made; waits while that is undoing it.

        Returns:
            A part in it, which is void where it was undone meanwhile; None where no living run has made it.

        Raises:
            StoreError: nobody can tell.
        """
        path = self._folder / Change(serial, boot_id, kind).file_name
        deadline = time.monotonic() + min(self._time_left(), PATIENCE_S)
        fd = _open(path)
        if fd is None:
            return None
        try:
            with wrapped(_STEP, path):
                if try_lock(fd, exclusive=True):
                    return None
                while not try_lock(fd, exclusive=False):
                    _wait(deadline, path)
            claim, fd = Claim(path, fd), -1
            return claim
        finally:
            if fd >= 0:
                os.close(fd)

    def forget(self, serial: str, boot_id: str | None, kind: ChangeKind) -> None:
        """Have a change stay, whoever has made it: nobody undoes what is not noted."""
        with suppress(OSError):
            (self._folder / Change(serial, boot_id, kind).file_name).unlink(missing_ok=True)

    def left(self, serial: str | None = None) -> tuple[Change, ...]:
        """What runs have left changed that live no more, of one device or of all, the oldest first.

        Raises:
            StoreError: nobody can tell.
        """
        try:
            names = os.listdir(self._folder)  # noqa: PTH208  (a warm pull looks here)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise store_error(error, step=_STEP, path=self._folder) from error
        found = []
        prefix = "" if serial is None else paths.device_file_name(f"{serial}.")[:_MAX_PREFIX]
        for name in names:
            if not name.startswith(prefix.removesuffix(".json")):
                continue
            with self._alone(self._folder / name) as content:
                if content is None:
                    continue
                if not content.endswith(b"\n"):
                    # Cut while it was written; what it was to tell of had not been done yet.
                    with suppress(OSError):
                        (self._folder / name).unlink(missing_ok=True)
                    continue
                try:
                    change = _parse(content)
                except StoreError:
                    continue  # of a version to come
                if change.file_name == name and serial in (None, change.serial):
                    found.append(change)
        return tuple(sorted(found, key=lambda change: (change.since, change.file_name)))

    @contextmanager
    def undoing(self, change: Change) -> Iterator[Claim | None]:
        """Hold what a dead run has left, so that nobody else undoes it; None where somebody has it."""
        path = self._folder / change.file_name
        with self._alone(path) as content:
            yield None if content is None else Claim(path, -1)

    @contextmanager
    def _alone(self, path: Path) -> Iterator[bytes | None]:
        """The content of a note that no living run holds, which is held meanwhile; else None."""
        fd = _open(path)
        try:
            with wrapped(_STEP, path):
                free = fd is not None and try_lock(fd, exclusive=True) and _is_at(fd, path)
                content = os.pread(fd, _MAX_BYTES, 0) if fd is not None and free else None
            yield content
        finally:
            if fd is not None:
                os.close(fd)


def _open(path: Path) -> int | None:
    """A note, open to be locked; None where there is none."""
    for mode in (os.O_RDWR, os.O_RDONLY):  # in somebody else's store the second will do
        try:
            return os.open(path, mode | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EISDIR, errno.ELOOP):
                return None
            if error.errno not in READ_ONLY_ERRNOS or mode == os.O_RDONLY:
                raise store_error(error, step=_STEP, path=path) from error
    raise AssertionError(path)


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`: whoever settles a note removes it."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _wait(deadline: float, path: Path) -> None:
    if time.monotonic() >= deadline:
        raise StoreError(
            f"another run is undoing a change on the device ({path} is locked)",
            step=_STEP,
            hint="let it finish, then run the same command again",
        )
    time.sleep(_POLL_S)


def _write(fd: int, change: Change) -> None:
    content = json.dumps(asdict(change)).encode("ascii") + b"\n"
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)
    os.fsync(fd)


def _parse(content: bytes) -> Change:
    fields = Fields.parse(content)
    return Change(
        fields.string("serial"),
        fields.optional("boot_id"),
        fields.choice("kind", ChangeKind),
        fields.optional_or_absent("place"),
        fields.integer("since"),
    )
