"""Fixtures of the wire tests: a fake adb server and a good device on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .devices import Device
from .server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    """A running fake adb server without devices."""
    with Server() as running:
        yield running


@pytest.fixture
def device(server: Server) -> Device:
    """A good device: adbd is root, shell v2, the archive is built in."""
    return server.add_device()
