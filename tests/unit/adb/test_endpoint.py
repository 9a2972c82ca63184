"""A host's name and its addresses: one deadline for all of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from kheaders_adb.adb.deadline import Deadline, call_within
from kheaders_adb.adb.endpoint import NameTimeoutError, connect_tcp
from kheaders_adb.errors import DeadlineError

HERE, SILENT, ELSEWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which HERE answers, SILENT accepts nobody, and ELSEWHERE refuses."""
    with ExitStack() as held:
        answering = held.enter_context(socket.create_server((HERE, 0)))
        port = int(answering.getsockname()[1])
        held.enter_context(socket.create_server((SILENT, port), backlog=0))
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((SILENT, port))
        yield port


Names = Callable[..., None]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Let a name have these addresses, as the system's own resolver would say."""

    def let(*addresses: str) -> None:
        def look_up(_: str, port: int, **__: object) -> list[object]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return let


@pytest.mark.parametrize(
    "addresses", [(HERE,), (ELSEWHERE, HERE), (SILENT, HERE), (SILENT, ELSEWHERE, SILENT, HERE)]
)
def test_the_first_that_accepts_is_taken(
    named: Names, port: int, addresses: tuple[str, ...]
) -> None:
    named(*addresses)
    with connect_tcp("name.test", port, Deadline.after(1.2)) as sock:
        assert sock.getpeername() == (HERE, port)


@pytest.mark.parametrize(
    ("addresses", "kind"),
    [
        ((SILENT, SILENT), TimeoutError),
        ((ELSEWHERE, SILENT), ConnectionRefusedError),
        ((SILENT, ELSEWHERE), ConnectionRefusedError),
        ((), OSError),
    ],
)
def test_where_none_accepts(
    named: Names, port: int, addresses: tuple[str, ...], kind: type[OSError]
) -> None:
    named(*addresses)
    deadline = Deadline.after(0.3)
    with pytest.raises(kind):
        connect_tcp("name.test", port, deadline)


def test_a_literal_address_is_not_looked_up_beside(port: int) -> None:
    before = threading.active_count()
    connect_tcp(HERE, port, Deadline.after(10)).close()
    assert threading.active_count() == before


def test_a_name_that_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait(60))
    with pytest.raises(NameTimeoutError, match=r"name\.test"):
        connect_tcp("name.test", 5037, Deadline.after(0.1))
    end.set()


def test_what_a_call_raises_is_raised() -> None:
    def fail() -> int:
        raise KeyError("x")

    assert call_within(Deadline.after(10), lambda: 5) == 5
    with pytest.raises(KeyError):
        call_within(Deadline.after(10), fail)


def test_a_deadline_that_is_over() -> None:
    Deadline.after(10).require(step="trying")
    with pytest.raises(DeadlineError, match="trying: the time is over"):
        Deadline.after(0).require(step="trying")
