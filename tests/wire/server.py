"""A fake adb server on a loopback socket: the host protocol, for any number of fake devices."""

from __future__ import annotations

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

from .devices import Device, State
from .faults import ACCEPT, Action, Channel, Cut, Direction, Fault, FaultPlan
from .protocol import MAX_REQUEST_BYTES, OKAY, SERVER_VERSION, counted, fail
from .services import open_service

_UNAUTHORIZED = (
    "device unauthorized.\n"
    "This adb server's $ADB_VENDOR_KEYS is not set\n"
    "Try 'adb kill-server' if that seems wrong.\n"
    "Otherwise check for a confirmation dialog on your device."
)
_NO_PERMISSIONS = (
    "insufficient permissions for device: missing udev rules? user is in the plugdev group;"
    " are your udev rules wrong?\n"
    "See [http://developer.android.com/tools/device.html] for more information"
)
_HOST_FEATURES = b"shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir,abb,sendrecv_v2"

_SHARED_MEMORY = Path("/dev/shm")
SCRATCH = (
    _SHARED_MEMORY
    if os.access(_SHARED_MEMORY, os.W_OK) and shutil.disk_usage(_SHARED_MEMORY).free > 512 << 20
    else None
)
"""Where the devices' folders are made, as for `tempfile`: hundreds come and go, not worth a disk's time."""


class Server:
    """An adb server of our own, to be used as a context manager.

    Attributes:
        port: the port on 127.0.0.1; stays the same over `stop` and `start`.
        version: what ``host:version`` answers.
        devices: the devices; change them through their own methods.
        log: every request in the order of arrival, as (serial or None, service).
    """

    def __init__(self, version: int = SERVER_VERSION) -> None:
        self.version = version
        self.port = 0
        self.devices: list[Device] = []
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
        self._changed = threading.Condition()

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
        shutil.rmtree(self._home)

    def start(self) -> None:
        """Listen; after a `stop`, on the same port as before."""
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
        with self._changed:
            self._changed.notify_all()
        for thread in conversations.values():
            if thread is not threading.current_thread():
                thread.join()

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._listener is not None

    # --- what tests say to it

    def add_device(self, serial: str = "FAKE0001", **options: Any) -> Device:
        """Attach a device; ``options`` are those of `Device`."""
        home = self._home / f"device{len(self.devices)}"
        home.mkdir()
        device = Device(
            home,
            serial=serial,
            next_transport_id=lambda: next(self._transport_ids),
            on_change=self._announce,
            **options,
        )
        self.devices.append(device)
        self._announce()
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

    def _announce(self) -> None:
        with self._changed:
            self._changed.notify_all()

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
                    device = self._host(channel, request) or device
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
        elif device.state not in (State.DEVICE, State.RECOVERY) or not device.present:
            channel.send(fail("device offline (transport offline)"))
        elif not open_service(channel, device, request):
            channel.send(fail("closed"))

    # --- host services (handle_host_request() in adb.cpp, host_service_to_socket() in services.cpp)

    def _host(self, channel: Channel, request: str) -> Device | None:
        """Serve one host request; the device if the conversation now goes on with one."""
        wanted, service = _split(request)
        channel.begin(request, wanted.serial)
        if service.startswith(("transport", "tport:")):
            return self._switch(channel, wanted, service)
        match service:
            case "version":
                channel.send(OKAY + counted(b"%04x" % self.version))
            case "devices" | "devices-l":
                channel.send(OKAY + counted(self._listing(long=service == "devices-l")))
            case "track-devices" | "track-devices-l":
                self._track(channel, long=service == "track-devices-l")
            case "host-features":
                channel.send(OKAY + counted(_HOST_FEATURES))
            case "kill":
                channel.send(OKAY)
                channel.close()
                self.stop()
            case "features" | "get-state" | "get-serialno" | "get-devpath":
                self._about(channel, wanted, service)
            case _ if service.startswith("wait-for-"):
                self._wait(channel, wanted, service)
            case _:
                channel.send(fail(f"unknown host service '{service}'"))
        return None

    def _switch(self, channel: Channel, wanted: _Wanted, service: str) -> Device | None:
        if service.startswith("tport:"):
            how = service.removeprefix("tport:")
            wanted = wanted if how == "any" else _Wanted.of(how)
        elif service.startswith("transport:"):
            wanted = _Wanted(serial=service.removeprefix("transport:"))
        elif service.startswith("transport-id:"):
            wanted = _Wanted.of("transport-id:" + service.removeprefix("transport-id:"))
        else:
            how = service.removeprefix("transport-")
            wanted = wanted if how == "any" else _Wanted.of(how)
        found = self._acquire(wanted)
        if isinstance(found, str):
            channel.send(fail(found))
            return None
        found.attach(channel)
        identifier = (
            found.transport_id.to_bytes(8, "little") if service.startswith("tport:") else b""
        )
        try:
            channel.send(OKAY + identifier)
        except Cut:
            found.detach(channel)
            raise
        return found

    def _acquire(self, wanted: _Wanted, *, any_state: bool = False) -> Device | str:
        """acquire_one_transport() in transport.cpp: a device, or the text of the failure."""
        with self._lock:
            present = [device for device in self.devices if device.present]
        found = [device for device in present if wanted.takes(device)]
        if not found:
            if any(device.state is State.NO_PERMISSIONS for device in present):
                return _NO_PERMISSIONS
            return wanted.not_found()
        if len(found) > 1:
            return wanted.several()
        device = found[0]
        if any_state:
            return device
        match device.state:
            case State.UNAUTHORIZED:
                return _UNAUTHORIZED
            case State.AUTHORIZING:
                return "device still authorizing"
            case State.CONNECTING:
                return "device still connecting"
            case State.OFFLINE:
                return "device offline"
            case State.NO_PERMISSIONS:
                return _NO_PERMISSIONS
            case _:
                return device

    def _listing(self, *, long: bool) -> bytes:
        lines = []
        for number, device in enumerate(device for device in self.devices if device.present):
            if not long:
                lines.append(f"{device.serial}\t{device.state}\n")
                continue
            facts = [f"usb:1-{number + 1}"] if device.usb else []
            if device.state is State.DEVICE:
                facts += ["product:fake", "model:Fake", "device:fake"]
            facts.append(f"transport_id:{device.transport_id}")
            lines.append(f"{device.serial:<22} {device.state} {' '.join(facts)}\n")
        return "".join(lines).encode()

    def _track(self, channel: Channel, *, long: bool) -> None:
        channel.send(OKAY)
        shown: bytes | None = None
        while self.running:
            listing = self._listing(long=long)
            if listing != shown:
                channel.send(counted(listing))
                shown = listing
            channel.check_peer()
            with self._changed:
                self._changed.wait(0.05)

    def _about(self, channel: Channel, wanted: _Wanted, service: str) -> None:
        found = self._acquire(wanted, any_state=service != "features")
        if isinstance(found, str):
            channel.send(fail(found))
            return
        answers = {
            "features": ",".join(found.features),
            "get-state": found.state.value,
            "get-serialno": found.serial,
            "get-devpath": "usb:1-1" if found.usb else "unknown",
        }
        channel.send(OKAY + counted(answers[service].encode()))

    def _wait(self, channel: Channel, wanted: _Wanted, service: str) -> None:
        transport, _, state = service.removeprefix("wait-for-").partition("-")
        if transport not in ("usb", "local", "any") or not state:
            channel.send(fail(f"unknown wait-for service '{service}'"))
            return
        if wanted == _Wanted():
            wanted = _Wanted.of(transport) if transport != "any" else wanted
        channel.send(OKAY)  # the service exists; a second OKAY tells that it came to pass
        while self.running:
            found = self._acquire(wanted, any_state=True)
            if isinstance(found, Device):
                if state == "any" or found.state.value == state:
                    channel.send(OKAY)
                    return
            elif found == wanted.several():
                channel.send(fail(found))
                return
            elif state == "disconnect":
                channel.send(OKAY)
                return
            channel.check_peer()
            with self._changed:
                self._changed.wait(0.05)


class _Wanted:
    """Which device a request is about."""

    def __init__(
        self, serial: str | None = None, transport_id: int | None = None, usb: bool | None = None
    ) -> None:
        self.serial = serial
        self.transport_id = transport_id
        self.usb = usb

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wanted) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, how: str) -> _Wanted:
        """From "usb", "local", "any", "serial:S" or "transport-id:N"."""
        kind, _, value = how.partition(":")
        match kind:
            case "serial":
                return cls(serial=value)
            case "transport-id":
                return cls(transport_id=int(value) if value.isdecimal() else -1)
            case "usb":
                return cls(usb=True)
            case "local":
                return cls(usb=False)
            case _:
                return cls()

    def takes(self, device: Device) -> bool:
        """Whether this may be the device."""
        if self.transport_id is not None:
            return device.transport_id == self.transport_id
        if device.state is State.NO_PERMISSIONS:
            return False
        if self.serial is not None:
            return device.serial == self.serial
        return self.usb is None or device.usb == self.usb

    def not_found(self) -> str:
        """adb's words when there is none."""
        if self.transport_id is not None:
            return f"no device with transport id '{self.transport_id}'"
        if self.serial is not None:
            return f"device '{self.serial}' not found"
        return {
            None: "no devices/emulators found",
            True: "no devices found",
            False: "no emulators found",
        }[self.usb]

    def several(self) -> str:
        """adb's words when there are several."""
        if self.serial is not None:
            return f"more than one device with serial {self.serial}"
        return {
            None: "more than one device/emulator",
            True: "more than one USB device",
            False: "more than one emulator",
        }[self.usb]


def _split(request: str) -> tuple[_Wanted, str]:
    """A host request as the device it is about and the service."""
    if request.startswith("host:"):
        return _Wanted(), request.removeprefix("host:")
    if match := re.fullmatch(r"host-(usb|local):(.*)", request, re.DOTALL):
        return _Wanted.of(match[1]), match[2]
    if match := re.fullmatch(r"host-transport-id:([^:]*):(.*)", request, re.DOTALL):
        return _Wanted.of(f"transport-id:{match[1]}"), match[2]
    # A serial may itself hold a colon, as every HOST:PORT does.
    if match := re.fullmatch(
        r"host-serial:((?:\[[^]]*\]|[^:]+)(?::\d+)?):(.*)", request, re.DOTALL
    ):
        return _Wanted(serial=match[1]), match[2]
    return _Wanted(), request
