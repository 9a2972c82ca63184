"""What the unit tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.wire.server import Server

# Without a stopwatch: how fast an example runs says more about the machine than about the code.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

_IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def store_path() -> Iterator[Path]:
    """A store that is not there yet, in memory if that can be.

    Publishing a tree waits for everything that any process of the machine has written to that disk.
    """
    there = _IN_MEMORY if _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="kheaders-unit-", dir=there))
    yield folder / "store"
    shutil.rmtree(folder)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running fake adb server without devices."""
    with Server() as running:
        yield running
