from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kheaders_adb.store import Store

_SHM = Path("/dev/shm")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where there is one: publishing waits for all that any process writes to the disk."""
    in_memory = _SHM.is_dir() and os.access(_SHM, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="kheaders-store-", dir=_SHM if in_memory else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")
