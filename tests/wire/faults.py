"""Faults by address (device, service, direction, offset, occurrence), and the socket that commits them."""

from __future__ import annotations

import contextlib
import enum
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

ACCEPT = "accept"
"""The pseudo-service that a connection is in before its first request."""


class Direction(enum.Enum):
    """Which way the bytes flow, seen from the server."""

    OUT = "out"
    IN = "in"


class Action(enum.Enum):
    """What happens when the addressed byte is reached, in place of (or before) sending or taking it."""

    CLOSE = "close"  # end of stream: FIN
    RESET = "reset"  # RST, as from a killed process or a pulled network
    STALL = "stall"  # not a byte more, the connection stays open
    TRICKLE = "trickle"  # from here on one byte per `pause_s`
    CORRUPT = "corrupt"  # this byte arrives with its bits inverted
    INSERT = "insert"  # `data` arrives first, then the byte
    REPLACE = "replace"  # `data` arrives in place of all that follows, then end of stream
    CALL = "call"  # `call()` runs (reboot a device, kill the server), then the byte is sent


@dataclass(slots=True)
class Fault:
    """One fault.

    Attributes:
        action: what goes wrong.
        service: a regular expression, searched in the service as requested ("sync:", "host:version",
            "shell,v2,raw:…"); ``ACCEPT`` addresses the connection before any request.
        offset: the byte at which it goes wrong, counted from 0 at the service's status (``OKAY``) outwards,
            at the first byte after the request inwards.
        marker: count from the start of the first message that starts with these bytes, in place of the
            status, where the place of a message varies from run to run; outwards only.
        serial: only this device's services, or None for any.
        direction: whether bytes sent or bytes received are counted.
        nth: the first matching service (from 1) that is hit.
        repeat: every later one too.
        pause_s: TRICKLE's pause before each byte.
        data: what INSERT and REPLACE send.
        call: what CALL calls, in the connection's thread.
        fired: how often it happened; tests look here, lest a fault that never came passes for one survived.
        done: how often a CALL has returned; the conversation may end before that.
    """

    action: Action
    service: str
    offset: int = 0
    serial: str | None = None
    marker: bytes = b""
    direction: Direction = Direction.OUT
    nth: int = 1
    repeat: bool = False
    pause_s: float = 0.2
    data: bytes = b""
    call: Callable[[], None] | None = None
    fired: int = 0
    done: int = 0
    _seen: int = field(default=0, repr=False)

    def claims(self, service: str, serial: str | None) -> bool:
        """Whether this occurrence of a service is the one to hit; counts the occurrence."""
        if self.serial is not None and self.serial != serial:
            return False
        if self.service == ACCEPT or service == ACCEPT:
            if self.service != service:
                return False
        elif re.search(self.service, service, re.DOTALL) is None:
            return False
        self._seen += 1
        return self._seen == self.nth or (self.repeat and self._seen > self.nth)


class Cut(Exception):  # noqa: N818 - not an error: the way a conversation ends
    """The conversation is over: by a fault, by the client, or because the server stops."""


class FaultPlan:
    """The faults of one server; shared by its connections.

    Attributes:
        sent: if set to a list, what each service was sent is recorded here, as (service, bytes).
        released: once set, stalls end.  A server that takes no input cannot see its client hang up
            behind what it has not taken.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytearray]] | None = None
        self.released = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Arm a fault and return it."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Disarm all faults."""
        with self._lock:
            self._faults.clear()

    def claim(self, service: str, serial: str | None) -> list[Fault]:
        """The faults that hit this occurrence of a service, in the order of their offsets."""
        with self._lock:
            hits = [fault for fault in self._faults if fault.claims(service, serial)]
        return sorted(hits, key=lambda fault: fault.offset)


@dataclass(frozen=True, slots=True)
class _Due:
    """A fault, and the offset at which it is due in one conversation."""

    offset: int
    fault: Fault


class Channel:
    """A connection's socket: exact reads and writes that commit the faults on their way.

    Used by one thread at a time, but for `abort`, which any thread may call.
    """

    def __init__(self, sock: socket.socket, plan: FaultPlan) -> None:
        self.sock = sock
        self._plan = plan
        self._faults: dict[Direction, list[_Due]] = {Direction.OUT: [], Direction.IN: []}
        self._unplaced: list[Fault] = []
        self._counts = {Direction.OUT: 0, Direction.IN: 0}
        self._record = bytearray()
        self._trickle_s: float | None = None
        self._aborted = threading.Event()
        self._reset = False

    def begin(self, service: str, serial: str | None) -> None:
        """Start counting for a service: offsets are 0 again, faults that do not address it are gone."""
        hits = self._plan.claim(service, serial)
        self._record = bytearray()
        if self._plan.sent is not None:
            self._plan.sent.append((service, self._record))
        self._unplaced = [fault for fault in hits if fault.marker]
        for direction in Direction:
            self._faults[direction] = [
                _Due(fault.offset, fault)
                for fault in hits
                if fault.direction is direction and not fault.marker
            ]
            self._counts[direction] = 0
        self._trickle_s = None

    def send(self, data: bytes) -> None:
        """Send all of ``data``; raises Cut if the conversation ends before."""
        self._place(data)
        view = memoryview(data)
        while view:
            due = self._due(Direction.OUT, len(view))
            if due is None:
                self._put(view)
                return
            fault = due.fault
            before = due.offset - self._counts[Direction.OUT]
            self._put(view[:before])
            view = view[before:]
            fault.fired += 1
            match fault.action:
                case Action.CORRUPT:
                    self._put(memoryview(bytes([view[0] ^ 0xFF])))
                    view = view[1:]
                case Action.INSERT:
                    self._raw_send(memoryview(fault.data))
                case Action.REPLACE:
                    self._raw_send(memoryview(fault.data))
                    raise Cut
                case _:
                    self._commit(fault)

    def receive(self, size_bytes: int) -> bytes:
        """Exactly so many bytes; raises Cut on end of stream or a fault."""
        parts = bytearray()
        while len(parts) < size_bytes:
            parts += self.receive_some(size_bytes - len(parts))
        return bytes(parts)

    def receive_some(self, at_most_bytes: int) -> bytes:
        """At least one byte; raises Cut on end of stream or a fault."""
        due = self._due(Direction.IN, at_most_bytes)
        if due is not None:
            at_most_bytes = due.offset - self._counts[Direction.IN]
            if at_most_bytes <= 0:
                due.fault.fired += 1
                self._commit(due.fault)
                return self.receive_some(1)
            self._faults[Direction.IN].insert(0, due)
        try:
            data = self.sock.recv(at_most_bytes)
        except OSError as error:
            raise Cut from error
        if not data:
            raise Cut
        self._counts[Direction.IN] += len(data)
        return data

    def send_nothing(self) -> None:
        """Commit a fault at offset 0 without waiting for something to send."""
        due = self._due(Direction.OUT, 1)
        if due is not None:
            due.fault.fired += 1
            self._commit(due.fault)

    def check_peer(self) -> None:
        """Raise Cut if the client has hung up or the conversation was aborted."""
        if self._aborted.is_set():
            raise Cut
        # Not by peeking: input that nobody reads would hide the end behind it.
        poll = select.poll()
        try:
            poll.register(self.sock, getattr(select, "POLLRDHUP", 0))
        except (OSError, ValueError) as error:
            raise Cut from error
        if poll.poll(0):
            raise Cut

    def abort(self) -> None:
        """End the conversation from another thread."""
        self._aborted.set()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket: FIN, or RST where a fault asked for it."""
        with contextlib.suppress(OSError):
            if self._reset:
                linger = struct.pack("ii", 1, 0)
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                # Unread input would turn close() into a reset and could take sent bytes with it.
                self.sock.shutdown(socket.SHUT_WR)
                self._drain()
        self.sock.close()

    def _drain(self) -> None:
        self.sock.setblocking(False)
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass

    def _place(self, data: bytes) -> None:
        for fault in [fault for fault in self._unplaced if data.startswith(fault.marker)]:
            self._unplaced.remove(fault)
            self._faults[Direction.OUT].append(
                _Due(self._counts[Direction.OUT] + fault.offset, fault)
            )
            self._faults[Direction.OUT].sort(key=lambda due: due.offset)

    def _due(self, direction: Direction, size_bytes: int) -> _Due | None:
        """The next fault within so many bytes, taken off the list."""
        faults = self._faults[direction]
        if faults and faults[0].offset < self._counts[direction] + size_bytes:
            return faults.pop(0)
        return None

    def _commit(self, fault: Fault) -> None:
        match fault.action:
            case Action.CLOSE:
                raise Cut
            case Action.RESET:
                self._reset = True
                raise Cut
            case Action.STALL:
                self._wait_for_the_end()
            case Action.TRICKLE:
                self._trickle_s = fault.pause_s
            case Action.CALL:
                assert fault.call is not None, "a CALL fault needs its call"
                try:
                    fault.call()
                finally:
                    fault.done += 1
            case _:
                raise AssertionError(f"{fault.action} has no meaning in this direction")

    def _wait_for_the_end(self) -> None:
        """Silence until the client hangs up or the server stops."""
        while not self._plan.released.wait(0.02):
            self.check_peer()
        raise Cut

    def _put(self, view: memoryview) -> None:
        if self._trickle_s is not None:
            for index in range(len(view)):
                if self._aborted.wait(self._trickle_s):
                    raise Cut
                self._raw_send(view[index : index + 1])
        elif view:
            self._raw_send(view)
        self._counts[Direction.OUT] += len(view)
        if self._plan.sent is not None:
            self._record += view

    def _raw_send(self, view: memoryview) -> None:
        try:
            self.sock.sendall(view)
        except OSError as error:
            raise Cut from error


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Poll a condition; returns whether it came true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
