"""A fake adb server on a loopback socket, with any number of fake devices and with faults."""

from __future__ import annotations

import enum
import itertools
import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .devices import Device, Oversized, State
from .faults import ACCEPT, Action, Channel, Cut, Direction, Fault, FaultPlan
from .host import Host
from .protocol import MAX_REQUEST_BYTES, SERVER_VERSION, fail, raw_bytes
from .services import open_service

_SHARED_MEMORY = Path("/dev/shm")
SCRATCH = (
    _SHARED_MEMORY
    if os.access(_SHARED_MEMORY, os.W_OK) and shutil.disk_usage(_SHARED_MEMORY).free > 512 << 20
    else None
)
"""Where the devices' folders are made, as for `tempfile`: hundreds come and go, not worth a disk's time."""


class Deal(enum.Enum):
    """How a server that was restarted deals out transport ids, from 1 again as every server does."""

    IN_ORDER = "in order"  # as the devices were attached
    REVERSED = "reversed"  # so that an id that somebody remembers means another device
    KEPT = "kept"  # as no adb server does, for faults that are not about this


class Server(Host):
    """An adb server of our own, to be used as a context manager.

    Attributes:
        deal: how transport ids are dealt out when it starts again.
        port: the port on 127.0.0.1; stays the same over `stop` and `start`.
        version: what ``host:version`` answers.
        devices: the devices; change them through their own methods.
        log: every request in the order of arrival, as (serial or None, service).
    """

    def __init__(self, version: int = SERVER_VERSION, *, deal: Deal = Deal.IN_ORDER) -> None:
        super().__init__(version)
        self.deal = deal
        self.port = 0
        self.log: list[tuple[str | None, str]] = []
        self.plan = FaultPlan()
        # Not pytest's tmp_path: that is for the eyes of the test's user alone, and commands on the fake
        # devices run as another user if the tests run as root.
        self._home = Path(tempfile.mkdtemp(prefix="fake-adb-", dir=SCRATCH))
        self._home.chmod(0o755)
        self._transport_ids = itertools.count(1)
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._conversations: dict[Channel, threading.Thread] = {}
        self._lock = threading.Lock()

    # --- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        for device in self.devices:
            device.end()
        shutil.rmtree(self._home)

    def start(self) -> None:
        """Listen; after a `stop`, on the same port as before, with transport ids as `deal` says."""
        if self.port:
            self._deal_out()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(512)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._acceptor = threading.Thread(
            target=self._accept, args=(listener,), name="fake-adb-accept", daemon=True
        )
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening and end every conversation, as when the server is killed; waits for its threads.

        May be called by a fault, in a conversation's own thread, which then is not waited for.
        """
        listener, self._listener = self._listener, None
        if listener is None:
            return
        # A thread in accept() is not woken by close() alone.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        assert self._acceptor is not None
        self._acceptor.join()
        with self._lock:
            conversations = dict(self._conversations)
        for channel in conversations:
            channel.abort()
        self.announce()
        for thread in conversations.values():
            if thread is not threading.current_thread():
                thread.join()

    def restart(self, deal: Deal | None = None) -> None:
        """`stop` and `start`; deals out transport ids in another way than else if told so."""
        self.stop()
        usual, self.deal = self.deal, deal or self.deal
        try:
            self.start()
        finally:
            self.deal = usual

    def restart_at(
        self, service: str, offset: int = 0, *, deal: Deal | None = None, nth: int = 1
    ) -> Fault:
        """Kill and restart it when a service has sent so many bytes; see `inject`."""
        return self.inject(Action.CALL, service, offset, nth=nth, call=lambda: self.restart(deal))

    def _deal_out(self) -> None:
        if self.deal is not Deal.KEPT:
            self._transport_ids = itertools.count(1)
        order = list(self.devices)
        if self.deal is Deal.REVERSED:
            order.reverse()
        for device in order:
            device.server_restarted(same_transport=self.deal is Deal.KEPT)

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._listener is not None

    # --- what tests say to it

    def add_device(self, serial: str = "FAKE0001", **options: Any) -> Device:
        """Attach a device; ``options`` are those of `Device`."""
        number = len(self.devices)
        home = self._home / f"device{number}"
        home.mkdir()
        options.setdefault("devpath", f"usb:1-{number + 1}")
        device = Device(
            home,
            serial=serial,
            next_transport_id=lambda: next(self._transport_ids),
            on_change=self.announce,
            **options,
        )
        self.devices.append(device)
        self.announce()
        return device

    def inject(
        self,
        action: Action,
        service: str,
        offset: int = 0,
        *,
        serial: str | None = None,
        marker: bytes = b"",
        direction: Direction = Direction.OUT,
        nth: int = 1,
        repeat: bool = False,
        pause_s: float = 0.2,
        data: bytes = b"",
        call: Callable[[], None] | None = None,
    ) -> Fault:
        """Arm a fault (see `Fault`) and return it, to see later whether it came to pass."""
        return self.plan.add(
            Fault(
                action,
                service,
                offset,
                serial=serial,
                marker=marker,
                direction=direction,
                nth=nth,
                repeat=repeat,
                pause_s=pause_s,
                data=data,
                call=call,
            )
        )

    def services(self, pattern: str = "") -> list[str]:
        """The services requested so far of which some part matches."""
        return [service for _, service in self.log if re.search(pattern, service, re.DOTALL)]

    # --- conversations

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel = Channel(sock, self.plan)
            thread = threading.Thread(
                target=self._converse, args=(channel,), name="fake-adb-conversation", daemon=True
            )
            with self._lock:
                self._conversations[channel] = thread
            thread.start()

    def _converse(self, channel: Channel) -> None:
        device: Device | None = None
        try:
            channel.begin(ACCEPT, None)
            channel.send_nothing()
            while True:
                request = self._request(channel)
                self.log.append((device.serial if device else None, request))
                if request.startswith("host"):
                    device = self.serve(channel, request) or device
                    if device is None:
                        break
                    continue
                channel.begin(request, device.serial if device else None)
                self._to_device(channel, device, request)
                break
        except Cut:
            pass
        finally:
            if device is not None:
                device.detach(channel)
            channel.close()
            with self._lock:
                self._conversations.pop(channel, None)

    def _request(self, channel: Channel) -> str:
        digits = channel.receive(4)
        try:
            size_bytes = int(digits, 16)
        except ValueError:
            raise Cut from None
        if size_bytes > MAX_REQUEST_BYTES:
            raise Cut
        return channel.receive(size_bytes).decode(errors="surrogateescape")

    def _to_device(self, channel: Channel, device: Device | None, request: str) -> None:
        if device is None:
            channel.send(fail("device offline (no transport)"))
            return
        if device.state not in (State.DEVICE, State.RECOVERY) or not device.present:
            channel.send(fail("device offline (transport offline)"))
            return
        device.hesitate(channel)
        name = raw_bytes(request)
        if len(name) + 1 > device.adbd.max_payload_bytes:
            match device.oversized:
                case Oversized.SERVER_DIES:
                    self.stop()
                    return
                case Oversized.REFUSED:
                    channel.send(fail("closed"))
                    return
                case Oversized.TRUNCATED:
                    name = name[: device.adbd.max_payload_bytes - 1]
                    request = name.decode(errors="surrogateescape")
        if not open_service(channel, device, request):
            channel.send(fail("closed"))
