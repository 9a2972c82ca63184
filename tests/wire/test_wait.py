"""--wait: what passes with time is waited for, what does not is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .cases import LISTING, READ
from .client import store_problems
from .devices import ARCHIVE_PATH, State
from .faults import Action
from .kernel import Kernel
from .server import Server
from .test_cli import Cli


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


@contextmanager
def after_listings(server: Server, count: int, call: Callable[[], None]) -> Iterator[None]:
    """Do something once the client has listed the devices so many times."""
    fault = server.inject(Action.CALL, LISTING, 3, nth=count, call=lambda: timer.start())
    timer = threading.Timer(0.05, call)  # after that listing was answered
    yield
    timer.join()
    assert fault.fired == 1


@pytest.mark.parametrize("state", [State.UNAUTHORIZED, State.OFFLINE, State.AUTHORIZING])
def test_a_device_that_becomes_usable(cli: Cli, server: Server, state: State) -> None:
    device = server.add_device("PHONE", state=state)
    with after_listings(server, 2, lambda: setattr(device, "state", State.DEVICE)):
        done = cli("pull", "--wait=30")
    assert done.code == 0, done.err
    assert "trying again" in done.err


def test_a_device_that_is_plugged_in(cli: Cli, server: Server) -> None:
    def plug_in() -> None:
        server.add_device("PHONE")

    with after_listings(server, 1, plug_in):
        done = cli("pull", "--wait=30")
    assert done.code == 0, done.err


def test_a_transfer_that_is_lost_once(cli: Cli, server: Server) -> None:
    device = server.add_device("PHONE")
    fault = server.inject(Action.RESET, READ, 100_000)
    done = cli("pull", "--wait=30")
    assert (done.code, fault.fired) == (0, 1), done.err
    archives = {device.kernel.archive_sha256: device.kernel.archive}
    assert store_problems(cli.store, archives) == []


def test_patience_ends(cli: Cli, server: Server) -> None:
    server.add_device("PHONE")
    server.inject(Action.CLOSE, READ, 100_000, repeat=True)
    done = cli("pull", "--wait=2")
    assert done.code == 7
    assert 2 <= len(server.services(READ)) <= 3
    assert store_problems(cli.store, {}) == []


def test_without_wait_there_is_one_attempt(cli: Cli, server: Server) -> None:
    server.add_device("PHONE")
    server.inject(Action.CLOSE, READ, 100_000, repeat=True)
    assert cli("pull").code == 7
    assert len(server.services(READ)) == 1


def test_what_time_does_not_mend_is_not_tried_again(cli: Cli, server: Server) -> None:
    device = server.add_device("PHONE")
    device.put(ARCHIVE_PATH, Kernel(extra=(("DEBUG_LIST", "y"),)).archive)
    assert cli("pull", "--wait=30").code == 5
    assert len(server.services(READ)) == 1
    server.add_device("OTHER")
    server.log.clear()
    assert cli("pull", "--wait=30").code == 3
    assert len(server.services(LISTING)) == 1
