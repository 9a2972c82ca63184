"""Fixtures of the wire tests: a fake adb server and a good device on it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from .devices import Device
from .server import Server

SEED = int(os.environ.get("KHEADERS_SEED") or random.randrange(1 << 32))
"""Draws the random offsets; set KHEADERS_SEED to draw the same ones again."""

LONG = os.environ.get("KHEADERS_LONG") == "1"


def pytest_report_header() -> str:
    """Name the seed, so that a failure can be repeated."""
    return f"wire faults: KHEADERS_SEED={SEED}"


@pytest.fixture
def server() -> Iterator[Server]:
    """A running fake adb server without devices."""
    with Server() as running:
        yield running


@pytest.fixture
def device(server: Server) -> Device:
    """A good device: adbd is root, shell v2, the archive is built in."""
    return server.add_device()
