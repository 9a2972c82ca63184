"""Connecting to a host's port: its name and all of its addresses under one deadline.

`socket.create_connection` gives each address of a name all of the time, and looking a name up knows no time.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from kheaders_adb.adb.deadline import Deadline, call_within

_Info = tuple[socket.AddressFamily, socket.SocketKind, int, Any]


class NameTimeoutError(TimeoutError):
    """Nobody said in time which addresses a name has."""


def connect_tcp(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A connected socket.

    Each address of a name gets its share of the time that is left, so that a silent one does not take that of
    those behind it.

    Raises:
        NameTimeoutError: the name was not looked up in time.
        TimeoutError: no address accepted a connection in time.
        OSError, UnicodeError: the name is none, or no address can be reached; ConnectionRefusedError where
            any refused, else what the last one failed with.
    """
    infos = _look_up(host, port, deadline)
    failures: list[OSError] = []
    for number, (family, kind, protocol, address) in enumerate(infos):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(deadline.wait_s / (len(infos) - number), 0.001))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failures.append(error)
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    # A refusal says most: there is the host, and no server.
    failures.sort(key=lambda failure: isinstance(failure, ConnectionRefusedError))
    raise failures[-1] if failures else OSError(f"{host} has no addresses")


def _look_up(host: str, port: int, deadline: Deadline) -> list[_Info]:
    def look_up() -> list[_Info]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]

    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            return call_within(deadline, look_up)
        except TimeoutError as error:
            raise NameTimeoutError(f"no answer to the name {host}") from error
    return look_up()
