"""Options that many commands share, as groups.

A command takes a group as one parameter (``target: Target``); `command` turns the group's fields into
options of that command and of the program itself, so that both ``kheaders-adb -s X pull`` (adb's way) and
``kheaders-adb pull -s X`` work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from kheaders_adb import settings
from kheaders_adb.errors import UsageError

if TYPE_CHECKING:
    from kheaders_adb.adb.deadline import Deadline
    from kheaders_adb.adb.select import Selection
    from kheaders_adb.adb.server import AdbServer
    from kheaders_adb.store import Store

DEFAULT_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """Which device, behind which adb server: adb's own flags."""

    HEADING: ClassVar = "Device selection (as adb's)"

    serials: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--serial",
            metavar="SERIAL",
            help="The device with this serial ($ANDROID_SERIAL).",
        ),
    ] = None
    usb: Annotated[bool, typer.Option("-d", "--usb", help="The only USB device.")] = False
    tcp: Annotated[bool, typer.Option("-e", "--tcp", help="The only TCP device or emulator.")] = (
        False
    )
    transport_id: Annotated[
        int | None,
        typer.Option(
            "-t", "--transport-id", metavar="ID", help="The device with this transport id."
        ),
    ] = None
    host: Annotated[
        str | None,
        typer.Option(
            "-H", metavar="HOST", help="The adb server's host ($ANDROID_ADB_SERVER_ADDRESS)."
        ),
    ] = None
    port: Annotated[
        int | None,
        typer.Option(
            "-P", metavar="PORT", help="The adb server's port ($ANDROID_ADB_SERVER_PORT)."
        ),
    ] = None
    socket: Annotated[
        str | None,
        typer.Option("-L", metavar="SOCKET", help="The adb server's socket ($ADB_SERVER_SOCKET)."),
    ] = None
    wait_s: Annotated[
        float | None,
        typer.Option(
            "--wait",
            metavar="[=SECONDS]",
            help=f"Wait for the device, and try again after a lost transfer [default: {DEFAULT_WAIT_S:g}].",
        ),
    ] = None
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help=f"Give up after this time in all [default: {settings.DEFAULT_TIMEOUT_S:g}].",
        ),
    ] = None

    @property
    def serial(self) -> str | None:
        """The one serial given, if any.

        Raises:
            UsageError: several devices are named, and no command can mean more than one.
        """
        named = list(dict.fromkeys(self.serials or ()))
        if len(named) > 1:
            import shlex  # only for a mistake

            raise UsageError(
                f"several devices are named, by -s {' and by -s '.join(map(shlex.quote, named))}",
                hint="name one device, and run the command once for each",
            )
        return named[0] if named else None

    @property
    def names_one(self) -> bool:
        """Whether a flag chooses a device; also one with nothing in it, as of a variable that is not set."""
        return bool(self.serials) or self.usb or self.tcp or self.transport_id is not None

    def adb_server(self, on_start: Callable[[str], None]) -> AdbServer:
        """The adb server that the flags and variables mean; `on_start` is told if one is started."""
        return settings.adb_server(
            host=self.host, port=self.port, socket=self.socket, on_start=on_start
        )

    def selection(self) -> Selection:
        """The device that the flags and ``ANDROID_SERIAL`` mean."""
        return settings.selection(
            serial=self.serial, usb=self.usb, tcp=self.tcp, transport_id=self.transport_id
        )

    def deadline(self) -> Deadline:
        """The deadline for the whole command, starting now."""
        return settings.deadline(self.timeout_s)


@dataclass(frozen=True, slots=True)
class Output:
    """What is written, and how."""

    HEADING: ClassVar = "Output"

    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            help="Say nothing but errors, warnings, and what is changed on a device.",
        ),
    ] = False
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            show_default=False,
            help="Say how long each step took, on what grounds what is staged was used again, and which "
            "project file was read; -vv: every exchange with the adb server too.",
        ),
    ] = 0
    log_json: Annotated[
        Path | None,
        typer.Option(
            "--log-json",
            metavar="FILE",
            help="Write what -vv says to this file, a JSON object a line.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """Where trees are staged."""

    HEADING: ClassVar = "Store"

    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="DIR",
            help="The store ($KHEADERS_ADB_STORE; else the user's cache directory).",
        ),
    ] = None

    def path(self) -> Path:
        """Where the store is."""
        return settings.store_path(self.store)

    def open(self) -> Store:
        """The store, made if it is not there yet."""
        return settings.open_store(self.store)


_KERNEL = typer.Argument(
    metavar="[KERNEL]",
    help="A key prefix, a release or its beginning if unique, @SERIAL, or 'latest'.",
    show_default=False,
)
Kernel = Annotated[str, _KERNEL]
KernelIfNamed = Annotated[str | None, _KERNEL]
