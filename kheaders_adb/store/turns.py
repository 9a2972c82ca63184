"""In which order kernels were last used through a device: what ``latest`` goes by.

Each kernel has an empty file ``used/<number>-<key>``, and a use gives it the next number.  No clock is asked:
one that is put back would make what is used now look older than what was used before.  That one device runs
another kernel now, or that a kernel is removed, changes nothing for the others.  Nothing has to be read or
synced, since all of it is in a name, and a copy of the store has the same order.
"""

from __future__ import annotations

import errno
import re
from contextlib import ExitStack
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store import paths
from kheaders_adb.store.faults import READ_ONLY_ERRNOS
from kheaders_adb.store.lookup import Lookup

_MARK = re.compile(r"([0-9]{1,18})-([0-9a-f]{64})")
#: Others hold the lock for some system calls.
_PATIENCE_S = 2.0
_WITHOUT_LOCKS = READ_ONLY_ERRNOS | {errno.ENOLCK, errno.EOPNOTSUPP}


def order(store: Lookup) -> dict[str, int]:
    """The kernels that have been used, by key: the greater the number, the later.

    Kernels of which nothing is known were last used before there were such files.

    Raises:
        StoreError: the disk failed.
    """
    found: dict[str, int] = {}
    for _path, key, number in _marks(store):
        found[key] = max(number, found.get(key, 0))
    return found


def note(store: Lookup, key: str) -> None:
    """Note that a kernel is the last one used; the caller holds the store's own lock.

    Raises:
        OSError: it cannot be written down.
        StoreError: the disk failed.
    """
    if _is_last(order(store), key):
        return
    from kheaders_adb.store import sharing  # whoever only reads needs neither
    from kheaders_adb.store.locks import locked

    folder = sharing.make_folder(store.root, paths.USED)
    with ExitStack() as held:
        lock = store.root / paths.LOCKS / "used"
        try:
            held.enter_context(
                locked(lock, exclusive=True, timeout_s=_PATIENCE_S, purpose="noting a use")
            )
        except StoreError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno not in _WITHOUT_LOCKS:
                raise
            # Two at once may get the same number then, and either may be the later one.
        sharing.share(store.root, lock)
        marks = _marks(store)
        last = max((number for _path, _key, number in marks), default=0)
        (folder / f"{last + 1:d}-{key}").touch(exist_ok=True)
        for path, other, _number in marks:
            if other == key:
                path.unlink(missing_ok=True)


def without(store: Lookup, kernels: set[str]) -> tuple[Path, ...]:
    """The files of other kernels than these.

    Raises:
        StoreError: the disk failed.
    """
    return tuple(path for path, key, _number in _marks(store) if key not in kernels)


def _is_last(numbers: dict[str, int], key: str) -> bool:
    mine = numbers.get(key)
    return mine is not None and all(
        number < mine for other, number in numbers.items() if other != key
    )


def _marks(store: Lookup) -> list[tuple[Path, str, int]]:
    return [
        (path, found[2], int(found[1]))
        for path in store.listing(paths.USED)
        if (found := _MARK.fullmatch(path.name)) is not None
    ]
