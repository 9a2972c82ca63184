"""Booted devices for tests: a private adb server and a few guests kept alive."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.lab import AdbServer, Device, HostPackagesMissing, Kind, Lab, LabMissing
from fixtures.lab.lab import default_options

MAX_GUESTS = 2
HERE = Path(__file__).parent

Boot = Callable[..., Device]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)


def missing(error: LabMissing | HostPackagesMissing) -> None:
    """Skip the test for want of a kernel that takes minutes to build, or of a program.

    A program that is missing on CI is a failure: there the lab has to run.
    """
    if os.environ.get("CI") and isinstance(error, HostPackagesMissing):
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


def kheaders_of(kernel: str, lab: Lab) -> Path:
    """The kheaders.ko of a kernel that has one; skips the test where the kernel is not there."""
    try:
        found = lab.kernel(kernel).kheaders_ko
    except (LabMissing, HostPackagesMissing) as error:
        missing(error)
        raise
    assert found is not None
    return found


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The session's lab, with its adb server running."""
    with Lab() as opened:
        yield opened


@pytest.fixture(scope="session")
def lab_server(lab: Lab) -> AdbServer:
    """The session's private adb server."""
    return lab.server


@pytest.fixture(scope="session")
def boot(lab: Lab) -> Boot:
    """Boot, or hand out again, the device of a kernel, a kind and options.

    At most MAX_GUESTS are alive; the one not asked for longest is ended for a further one. A
    guest that a test killed, or that adb lost, is booted anew.
    """
    alive: dict[tuple[str, Kind, str], Device] = {}

    def get(kernel: str, kind: str | Kind = Kind.ROOTED, **options: Any) -> Device:
        try:
            image = lab.kernel(kernel)
            key = (kernel, Kind(kind), default_options(image, options).key)
            device = alive.pop(key, None)
            if device is not None and not _usable(device, kernel):
                lab.release(device)
                device = None
            if device is None:
                while len(alive) >= MAX_GUESTS:
                    lab.release(alive.pop(next(iter(alive))))
                device = lab.boot(image, kind, **options)
        except (LabMissing, HostPackagesMissing) as error:
            missing(error)
            raise
        alive[key] = device
        return device

    return get


def _usable(device: Device, kernel: str) -> bool:
    if not device.alive or device.kernel.name != kernel:
        return False
    if device.options.wait:
        device.connect()
    return True


@pytest.fixture
def fresh(lab: Lab) -> Iterator[Boot]:
    """Boot a device for this test alone."""
    mine: list[Device] = []

    def get(kernel: str, kind: str | Kind = Kind.ROOTED, **options: Any) -> Device:
        try:
            mine.append(lab.boot(kernel, kind, **options))
        except (LabMissing, HostPackagesMissing) as error:
            missing(error)
        return mine[-1]

    yield get
    for device in mine:
        lab.release(device)


@pytest.fixture(scope="session")
def device(boot: Boot) -> Callable[[str], Device]:
    """Boot a rooted device of a kernel."""

    def get(kernel: str) -> Device:
        return boot(kernel, Kind.ROOTED)

    return get
