"""The shared options' meaning, in the library's values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb import environment
from kheaders_adb.cli.groups import StoreChoice, Target

if TYPE_CHECKING:
    from kheaders_adb.device.adb import AdbServer
    from kheaders_adb.device.deadline import Deadline
    from kheaders_adb.device.select import Selection
    from kheaders_adb.store import Store


def adb_server(target: Target) -> AdbServer:
    """The adb server that the flags and variables mean."""
    return environment.adb_server(host=target.host, port=target.port, socket=target.socket)


def selection(target: Target) -> Selection:
    """The device that the flags and ``ANDROID_SERIAL`` mean."""
    return environment.selection(
        serial=target.serial,
        usb=target.usb,
        tcp=target.tcp,
        transport_id=target.transport_id,
    )


def deadline(target: Target) -> Deadline:
    """The deadline for the whole command, starting now."""
    return environment.deadline(target.timeout_s)


def store_path(choice: StoreChoice) -> Path:
    """Where the store is."""
    return environment.store_path(choice.store)


def open_store(choice: StoreChoice) -> Store:
    """The store, made if it is not there yet."""
    return environment.open_store(choice.store)
