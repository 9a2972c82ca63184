"""What is made in a store later than its first folders, for whoever may write to those.

Users who share a store open the folders that are there to each other.  What is made afterwards has the rights
that one user's umask gives, and would be his alone: the others could no longer say what they have used.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from kheaders_adb.store import paths


def may_write(folder: Path) -> bool:
    """Whether this user may make files in a folder; False where there is none."""
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def make_folder(root: Path, name: str) -> Path:
    """One of the store's folders, made if it is missing.

    Raises:
        OSError: it cannot be made.
    """
    folder = root / name
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        share(root, folder)
    return folder


def share(root: Path, path: Path) -> None:
    """Let those write to a file or folder who may write to the store; where it is another user's, he must."""
    with suppress(OSError):
        wanted, found = (root / paths.KERNELS).stat(), path.stat()
        if found.st_uid != os.geteuid():
            return
        if found.st_gid != wanted.st_gid:
            os.chown(path, -1, wanted.st_gid)
        missing = wanted.st_mode & (0o2777 if stat.S_ISDIR(found.st_mode) else 0o666)
        mode = stat.S_IMODE(found.st_mode)
        if missing & ~mode:
            path.chmod(mode | missing)
