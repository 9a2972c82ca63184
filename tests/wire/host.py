"""The host services: what an adb server says of itself and of its devices, without asking them."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from .devices import Device, State
from .faults import Channel, Cut
from .protocol import OKAY, counted, fail, raw_bytes
from .selection import Wanted, acquire, split_request

_HOST_FEATURES = b"shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir,abb,sendrecv_v2"


class Host(ABC):
    """What an adb server knows; handle_host_request() of adb.cpp, host_service_to_socket() of services.cpp.

    Attributes:
        version: what ``host:version`` answers.
        devices: the devices; change them through their own methods.
        lists_numbers: whether ``host:devices-l`` has transport ids, as since 2018.
        tells_serials: whether it knows ``get-serialno``; AOSP's do.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.devices: list[Device] = []
        self.lists_numbers = True
        self.tells_serials = True
        self._changed = threading.Condition()

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it listens."""

    @abstractmethod
    def stop(self) -> None:
        """Stop listening and end every conversation."""

    def announce(self) -> None:
        """Something in the list of devices has changed."""
        with self._changed:
            self._changed.notify_all()

    def serve(self, channel: Channel, request: str) -> Device | None:
        """Serve one host request; the device if the conversation now goes on with one."""
        wanted, service = split_request(request)
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
            case "features" | "get-state" | "get-devpath":
                self._about(channel, wanted, service)
            case "get-serialno" if self.tells_serials:
                self._about(channel, wanted, service)
            case _ if service.startswith("wait-for-"):
                self._wait(channel, wanted, service)
            case _:
                channel.send(fail(f"unknown host service '{service}'"))
        return None

    def _switch(self, channel: Channel, wanted: Wanted, service: str) -> Device | None:
        if service.startswith("tport:"):
            how = service.removeprefix("tport:")
            wanted = wanted if how == "any" else Wanted.of(how)
        elif service.startswith("transport:"):
            wanted = Wanted(serial=service.removeprefix("transport:"))
        elif service.startswith("transport-id:"):
            wanted = Wanted.of("transport-id:" + service.removeprefix("transport-id:"))
        else:
            how = service.removeprefix("transport-")
            wanted = wanted if how == "any" else Wanted.of(how)
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

    def _listing(self, *, long: bool) -> bytes:
        """append_transport() of transport.cpp: a tab, or with -l columns that a long serial pushes aside."""
        lines = b""
        for device in [device for device in self.devices if device.present]:
            serial = raw_bytes(device.serial or "(no serial number)")
            state = device.state
            shown = raw_bytes(device.state_text or state)
            if not long:
                lines += b"%s\t%s\n" % (serial, shown)
                continue
            facts = [device.devpath] if device.usb else []
            if state is State.DEVICE:
                facts += ["product:fake", f"model:{device.model}", "device:fake"]
            if self.lists_numbers:
                facts.append(f"transport_id:{device.transport_id}")
            lines += b"%-22s %s %s\n" % (serial, shown, " ".join(facts).encode())
        return lines

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

    def _about(self, channel: Channel, wanted: Wanted, service: str) -> None:
        found = self._acquire(wanted, any_state=service == "get-state")
        if isinstance(found, str):
            channel.send(fail(found))
            return
        if service == "features" and found.features_failure is not None:
            channel.send(fail(found.features_failure))
            return
        answers = {
            "features": ",".join(found.features),
            "get-state": found.state.value,
            "get-serialno": found.serial or "unknown",
            "get-devpath": found.devpath if found.usb else "unknown",
        }
        channel.send(OKAY + counted(raw_bytes(answers[service])))

    def _wait(self, channel: Channel, wanted: Wanted, service: str) -> None:
        transport, _, state = service.removeprefix("wait-for-").partition("-")
        if transport not in ("usb", "local", "any") or not state:
            channel.send(fail(f"unknown wait-for service '{service}'"))
            return
        if wanted == Wanted():
            wanted = Wanted.of(transport) if transport != "any" else wanted
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

    def _acquire(self, wanted: Wanted, *, any_state: bool = False) -> Device | str:
        return acquire(tuple(self.devices), wanted, any_state=any_state)
