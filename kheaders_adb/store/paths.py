"""Where things lie in a store, and the number of its format.

::

    format                        "1"
    archives/<sha256>.tar.xz      exact bytes as read
    trees/<tree>/                 the extracted tree; its files are read-only
    manifests/<tree>.manifest     every file's digest, and what the archive says of its kernel
    kernels/<key>.json            identity, verdict, source, archive, tree, times
    devices/<serial>.json         last boot_id → kernel key
    configs/<sha256>.gz           a kernel's configuration, by the sha256 of its text
    names/<…>.json                what the names mean that something was built with
    used/<number>-<key>           the order in which kernels were last used through a device
    pins/<key>                    kernels that gc never removes
    sizes/<tree>                  what a tree takes on the disk, as it was last counted
    changes/<…>.json              what living or killed runs have changed on devices
    tmp/  locks/

``<tree>`` is the archive's sha256, or ``<sha256>-repaired-<16 digits>`` for a tree with regenerated files.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store.faults import READ_ONLY_ERRNOS, store_error, wrapped

FORMAT = 1

ARCHIVES = "archives"
TREES = "trees"
MANIFESTS = "manifests"
KERNELS = "kernels"
DEVICES = "devices"
PINS = "pins"
CONFIGS = "configs"
SIZES = "sizes"
CHANGES = "changes"
NAMES = "names"
USED = "used"
TMP = "tmp"
LOCKS = "locks"

#: ``locks`` is made last: where it is there, the others are.  ``configs``, ``sizes``, ``names`` and ``used``
#: are made when they are needed: older stores have none.
_FOLDERS = (ARCHIVES, TREES, MANIFESTS, KERNELS, DEVICES, PINS, TMP, LOCKS)

_FORMAT_FILE = "format"
#: Names that an empty place may hold and still become a store.
_NEGLIGIBLE = re.compile(r"\.format-.*|lost\+found|\.DS_Store|\.nfs.*")

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:")

SHA256 = re.compile(r"[0-9a-f]{64}")
TREE = re.compile(r"[0-9a-f]{64}(?:-repaired-[0-9a-f]{16})?")


def open_root(root: Path, *, create: bool) -> bool:
    """Check the format of the store at ``root``, and make one where there is none.

    Args:
        root: the store's folder.
        create: whether a missing store is made; its folders get the modes that the umask gives.

    Returns:
        Whether there is a store now.

    Raises:
        StoreError: a newer format, a folder that is something else, or an error of the disk.
    """
    found = _read_format(root)
    if found is None:
        if not create:
            return False
        _create(root)
    elif found != FORMAT:
        raise StoreError(
            f"{root} has store format {found}, and this version of kheaders-adb knows format {FORMAT}",
            step="opening the store",
            hint="use the kheaders-adb that wrote it or a newer one, or choose another place with --store",
        )
    if create and not os.path.isdir(f"{root}/{LOCKS}"):  # noqa: PTH112  (the warm path is counted in ms)
        _make_folders(root)
    return True


def _make_folders(root: Path) -> None:
    """Make the folders that are missing; a store that may only be read is used without."""
    try:
        for name in _FOLDERS:
            (root / name).mkdir(exist_ok=True)
    except OSError as error:
        if error.errno not in READ_ONLY_ERRNOS or not (root / KERNELS).is_dir():
            raise store_error(error, step="making the store's folders", path=root) from error


def _read_format(root: Path) -> int | None:
    path = root / _FORMAT_FILE
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 64)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(error, step="opening the store", path=path) from error
    if re.fullmatch(rb"[1-9][0-9]{0,8}\n?", text) is None:
        raise StoreError(
            f"{path} does not hold the number of a store format",
            step="opening the store",
            hint="is this the right folder?  Choose another place with --store",
        )
    return int(text)


def _create(root: Path) -> None:
    with wrapped("making the store", root):
        root.mkdir(parents=True, exist_ok=True)
        strangers = [name for name in os.listdir(root) if not _NEGLIGIBLE.fullmatch(name)]  # noqa: PTH208
        if strangers and not (root / _FORMAT_FILE).exists():
            raise StoreError(
                f"{root} is not empty and not a store (it holds {min(strangers)!r})",
                step="making the store",
                hint="choose an empty or a new folder with --store",
            )
        # Several processes may do this at once: each writes the whole file, and the last rename wins.
        draft = root / f".{_FORMAT_FILE}-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            with draft.open("xb") as file:
                file.write(b"%d\n" % FORMAT)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(root / _FORMAT_FILE)
        finally:
            draft.unlink(missing_ok=True)


def device_file_name(serial: str) -> str:
    """The name of a device's file: the serial, with everything but letters, digits and ``-._:`` escaped."""
    raw = serial.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in raw)
    if name.startswith("."):
        name = "%2E" + name[1:]
    name = name or "%"
    if len(name) > 200:
        from hashlib import sha256  # OpenSSL's start takes 3 ms, and hardly a name is that long

        name = f"{name[:100]}~{sha256(raw).hexdigest()}"
    return f"{name}.json"


def require_sha256(text: str) -> str:
    """``text`` if it is 64 lower-case hex digits.

    Raises:
        StoreError: it is not, so that it must not become part of a path.
    """
    return _required(SHA256, text, "a sha256")


def require_tree(text: str) -> str:
    """``text`` if it is a tree's name.

    Raises:
        StoreError: it is not, so that it must not become part of a path.
    """
    return _required(TREE, text, "the name of a tree")


def _required(pattern: re.Pattern[str], text: str, what: str) -> str:
    if pattern.fullmatch(text) is None:
        raise StoreError(f"{text!r} is not {what}", step="naming a file of the store")
    return text


def is_case_sensitive(root: Path) -> bool:
    """Whether names that differ only in case are two names in this store."""
    path = root / _FORMAT_FILE
    try:
        return not path.samefile(root / _FORMAT_FILE.upper())
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ENOTDIR):
            return True
        raise store_error(error, step="looking at the store", path=root) from error
