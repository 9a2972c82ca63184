"""What a program hands in, made into the library's values, or a UsageError."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Protocol, TypeVar

from kheaders_adb import settings
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device
from kheaders_adb.errors import DeviceError, UsageError

E = TypeVar("E", bound=enum.Enum)
T = TypeVar("T")
R = TypeVar("R")

Server = AdbServer | tuple[str, int] | str
"""An adb server: ours, its host and port, or its socket as ``adb -L`` takes it."""


class _Client(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class AdbutilsDevice(Protocol):
    """What is used of an ``adbutils.AdbDevice``; adbutils itself is slow to import, and may be absent."""

    @property
    def serial(self) -> str | None:
        """The serial, unless it was chosen by its transport id."""

    @property
    def _client(self) -> _Client: ...
    @property
    def _transport_id(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class _Foreign:
    """A device of adbutils, as it names it."""

    host: str
    port: int
    serial: str | None
    transport_id: int | None


@contextmanager
def finding(
    device: str | AdbutilsDevice | Device | None, server: Server | None, timeout_s: float | None
) -> Iterator[tuple[Callable[[], Device], Deadline]]:
    """What finds the device that is meant, as often as it is called, and the deadline for all of it.

    A device of ours has a deadline that counts too, and that it has again after the block.

    Raises:
        UsageError: `device` is no device, or has a server of its own and `server` is given; or `timeout_s`
            is no time.
    """
    deadline = deadline_of(timeout_s)
    if not isinstance(device, Device):
        yield _finder(device, server, deadline), deadline
        return
    own = device.deadline
    if timeout_s is None or own.at_s < deadline.at_s:
        deadline = own
    try:
        yield _finder(device, server, deadline), deadline
    finally:
        device.deadline = own


def _finder(
    device: str | AdbutilsDevice | Device | None, server: Server | None, deadline: Deadline
) -> Callable[[], Device]:
    if device is None or isinstance(device, str):
        return _selecting(adb_server(server), settings.selection(serial=device), deadline)
    foreign = None if isinstance(device, Device) else _foreign(device)
    if server is not None:
        raise UsageError(
            "this device has an adb server of its own",
            hint="leave the server out, or give a serial",
        )
    if isinstance(device, Device):
        own = device

        def prepared() -> Device:
            own.deadline = deadline
            own.round_trips = 0
            return own

        return prepared
    assert foreign is not None
    theirs = adb_server((foreign.host, foreign.port))
    if foreign.transport_id is None:
        return _selecting(theirs, settings.selection(serial=foreign.serial), deadline)
    selection = Selection(transport_id=foreign.transport_id)
    return _selecting(theirs, selection, deadline, named=foreign.serial)


def _selecting(
    server: AdbServer, selection: Selection, deadline: Deadline, *, named: str | None = None
) -> Callable[[], Device]:
    def select() -> Device:
        device = Device.select(server, selection, deadline)
        if named is not None and settings.text_of_bytes(named) != device.serial:
            raise DeviceError(
                f"transport id {selection.transport_id} is another device now: {named!r} was asked for",
                step="selecting a device",
                device=device.serial,
                hint="the adb server was restarted or the device reconnected: ask adbutils for it again",
            )
        return device

    return select


def _foreign(device: object) -> _Foreign:
    try:
        client = device._client  # type: ignore[attr-defined]
        found = _Foreign(client.host, client.port, device.serial, device._transport_id)  # type: ignore[attr-defined]
    except AttributeError as error:
        raise _no_device(device) from error
    if (
        isinstance(found.host, str)
        and isinstance(found.port, int)
        and isinstance(found.serial, str | None)
        and isinstance(found.transport_id, int | None)
        and (found.serial or found.transport_id)
    ):
        return found
    raise _no_device(device)


def _no_device(device: object) -> UsageError:
    return UsageError(
        f"an object of type {type(device).__name__} is no device",
        hint="give a serial, an adbutils.AdbDevice or a kheaders_adb.Device",
    )


def adb_server(server: Server | None) -> AdbServer:
    """The adb server that is meant; None for the one of the environment.

    Raises:
        UsageError: it is none.
    """
    match server:
        case AdbServer():
            return server
        case None:
            return settings.adb_server()
        case str():
            return settings.adb_server(socket=server)
        case (str(host), int(port)):
            return settings.adb_server(host=host, port=port)
    raise UsageError(
        f"{server!r} is no adb server", hint="give (host, port), or a socket such as tcp:HOST:PORT"
    )


def path_of(path: str | os.PathLike[str] | None, name: str) -> Path | None:
    """A path of the host, if there is one; as `required_path`."""
    return None if path is None else required_path(path, name)


def required_path(path: str | os.PathLike[str], name: str) -> Path:
    """A path of the host, which no system call refuses for its form.

    Raises:
        UsageError: it is none.
    """
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        if isinstance(text, str) and text and _can_be_handed_on(text):
            return Path(text)
    raise UsageError(f"{name}: {path!r} is no path", hint="give a str or a Path")


def text_of(text: str | None, name: str) -> str | None:
    """A text, if there is one.

    Raises:
        UsageError: it is something else.
    """
    if text is None or isinstance(text, str):
        return text
    raise UsageError(f"{name}: {text!r} is no text")


def word_of(text: str, name: str) -> str:
    """A text that a program can be given as an argument.

    Raises:
        UsageError: it is something else, or holds what no argument can.
    """
    if isinstance(text, str) and _can_be_handed_on(text):
        return text
    raise UsageError(f"{name}: {text!r} is no text")


def _can_be_handed_on(text: str) -> bool:
    """Whether it has a form in the system's own bytes."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def each(one: Callable[[T, str], R], values: Iterable[T], name: str) -> tuple[R, ...]:
    """Several values, each of them as `one` has it.

    Raises:
        UsageError: they are none, or it is one text, whose letters are not meant.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UsageError(f"{name}: {values!r} is no list", hint="give a list or a tuple")
    return tuple(one(value, name) for value in values)


def choice(kind: type[E], value: E | str, name: str) -> E:
    """A member of an enum, or the one of that value.

    Raises:
        UsageError: there is none.
    """
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(str(member.value) for member in kind)
        raise UsageError(f"{name}: {value!r} is none of {known}") from error


def seconds(value: float | None, name: str) -> float:
    """Seconds to wait; None for 0.

    Raises:
        UsageError: it is no such number.
    """
    if value is None:
        return 0.0
    # An int may be more than any float.
    if _is_number(value, int | float) and 0 <= value <= sys.float_info.max:
        return float(value)
    raise UsageError(f"{name}: {_shown(value)} is no number of seconds")


def deadline_of(timeout_s: float | None) -> Deadline:
    """The deadline for everything that follows, starting now.

    Raises:
        UsageError: `timeout_s` is no time.
    """
    return settings.deadline(None if timeout_s is None else seconds(timeout_s, "timeout_s"))


def whole(value: int | None, name: str) -> int | None:
    """A whole number from 0 up, if there is one.

    Raises:
        UsageError: it is something else.
    """
    if value is None or (_is_number(value, int) and value >= 0):
        return value
    raise UsageError(f"{name}: {_shown(value)} is no whole number from 0 up")


def _shown(value: object) -> str:
    # Python writes no int of more than some thousand digits.
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an int of {value.bit_length()} bits"
    return repr(value)


def _is_number(value: object, kind: type | UnionType) -> bool:
    """Whether it is of that kind; a bool is an int to Python, and as a number it is a mistake."""
    return isinstance(value, kind) and not isinstance(value, bool)
