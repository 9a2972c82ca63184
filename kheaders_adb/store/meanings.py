"""What the names mean that something was built with: files that change when, and only when, that changes.

An object that was compiled for ``latest`` or ``@SERIAL`` is out of date once that is another kernel, and no
header tells: those of both kernels are as old as before.  So each name that a list of dependencies is
written for has a file in ``names/``, which make and ninja compare with the object.  It is written by whatever
changes the meaning: a pull, an import, gc.  A name that means nothing any more has none; then what depends
on it is built again, and says why it cannot be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.store import choose, durable, paths, scratch, sharing
from kheaders_adb.store.faults import READ_ONLY_ERRNOS, wrapped
from kheaders_adb.store.locks import PATIENCE_S, guarded, locked
from kheaders_adb.store.lookup import Lookup
from kheaders_adb.store.records import DeviceRecord, KernelRecord
from kheaders_adb.store.strict_json import Fields

_STEP = "noting which kernel a name means"
_LOCK = "names"


@dataclass(frozen=True, slots=True)
class Meaning:
    """Which kernel, in which tree, a name means."""

    name: str
    key: str
    tree: str

    @classmethod
    def of(cls, name: str, record: KernelRecord) -> Meaning:
        """That it means this kernel."""
        return cls(name, record.key, record.tree)

    def to_json(self) -> bytes:
        """The file."""
        return json.dumps({"name": self.name, "key": self.key, "tree": self.tree}).encode() + b"\n"


def note(store: Lookup, name: str, record: KernelRecord) -> Path:
    """The file that will change when `name` means another kernel than `record`, or another tree of it.

    Args:
        store: the store.
        name: a KERNEL, as it was given.
        record: what it was found to mean.

    Returns:
        The file.  Where this user cannot keep it, and nobody else does, it is one that is not there, so that
        make builds each time rather than not.

    Raises:
        StoreError: the disk failed.
    """
    path = _path(store, name)
    if not sharing.may_write(store.root / paths.KERNELS):
        return path  # somebody else's store: whatever changes a meaning there, its owner does, and this file
    meaning = Meaning.of(name, record)
    try:
        with wrapped(_STEP, path), guarded(store.root, exclusive=False):
            sharing.share(store.root, sharing.make_folder(store.root, paths.NAMES))
            with _alone(store):
                sharing.share(store.root, store.root / paths.LOCKS / _LOCK)
                if store.read_if_there(path) != meaning.to_json():
                    _write(store, path, meaning)
            if not sharing.may_write(path.parent):
                return _never_there(path)
    except StoreError as error:
        if not _is_denied(error):
            raise
        return _never_there(path)
    return path


def settle(store: Lookup, name: str, record: KernelRecord) -> None:
    """Once something is built with `record`: if `name` means another one by now, its file is changed anew.

    It may have been changed before what was built was written, and would then look older than that.

    Raises:
        StoreError: the disk failed.
    """
    path = _path(store, name)
    if not sharing.may_write(store.root / paths.NAMES):
        return
    try:
        with wrapped(_STEP, path), guarded(store.root, exclusive=False), _alone(store):
            try:
                now = Meaning.of(name, choose.resolve(store, name))
            except UsageError:
                path.unlink(missing_ok=True)
                return
            if now != Meaning.of(name, record):
                _write(store, path, now)
    except StoreError as error:
        if not _is_denied(error):
            raise  # else what was built depends on what is not there


def refresh(store: Lookup) -> StoreError | None:
    """Change the files of the names that mean another kernel than before; the caller holds the store's lock.

    Returns:
        Why one that had to be changed was not: another user keeps these files to himself.

    Raises:
        StoreError: the disk failed.
    """
    folder = store.root / paths.NAMES
    if not sharing.may_write(store.root / paths.KERNELS) or not store.listing(paths.NAMES):
        return None
    try:
        alone = _alone(store) if sharing.may_write(folder) else nullcontext()
        with wrapped(_STEP, folder), alone:
            # Read once for all names, when nobody else can be about to write what is older.
            read = _Read(store.root, exists=True)
            for path in store.listing(paths.NAMES):
                _refresh(read, path)
    except StoreError as error:
        if not _is_denied(error):
            raise
        return error
    return None


def _refresh(store: Lookup, path: Path) -> None:
    text = store.read_if_there(path)
    if text is None:
        return
    try:
        name = Fields.parse(text).string("name")
    except StoreError:
        path.unlink(missing_ok=True)
        return
    try:
        now = Meaning.of(name, choose.resolve(store, name))
    except UsageError:
        path.unlink(missing_ok=True)
        return
    except StoreError:
        return  # its kernel's record is broken; whoever builds next is told
    if text != now.to_json():
        _write(store, path, now)


def _path(store: Lookup, name: str) -> Path:
    # A colon or a percent sign, as of a serial, is something else to make.
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return store.root / paths.NAMES / f"{digest}.json"


def _is_denied(error: StoreError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in READ_ONLY_ERRNOS


def _never_there(path: Path) -> Path:
    return path.with_name(f"{path.name}.not-kept")


def _write(store: Lookup, path: Path, meaning: Meaning) -> None:
    sharing.make_folder(store.root, paths.NAMES)
    with scratch.draft(store.root, meaning.to_json()) as draft:
        draft.rename(path)
    durable.fsync_path(path.parent)


@contextmanager
def _alone(store: Lookup) -> Iterator[None]:
    """Whoever resolves last writes last."""
    lock = store.root / paths.LOCKS / _LOCK
    with locked(
        lock, exclusive=True, timeout_s=PATIENCE_S, purpose="noting what names of kernels mean"
    ):
        yield


class _Read(Lookup):
    """The store as it is read once: each name is looked up among all kernels and devices."""

    def __init__(self, root: Path, *, exists: bool) -> None:
        super().__init__(root, exists=exists)
        self._records: list[KernelRecord] | None = None
        self._devices: list[DeviceRecord] | None = None

    def records(self) -> list[KernelRecord]:
        if self._records is None:
            self._records = super().records()
        return list(self._records)

    def devices(self) -> list[DeviceRecord]:
        if self._devices is None:
            self._devices = super().devices()
        return list(self._devices)
