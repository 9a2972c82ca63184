"""From what a user says and what the environment holds to the library's values.

The command line and `api` come here for every variable that chooses a device, a server, a store or a
compiler; nothing below reads the environment.  What belongs to the terminal alone is read in `cli.console`.
Imports are inside the functions, so that finding the store does not cost the imports of a device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb.errors import UsageError

if TYPE_CHECKING:
    from kheaders_adb.adb.deadline import Deadline
    from kheaders_adb.adb.select import Selection
    from kheaders_adb.adb.server import AdbServer
    from kheaders_adb.device.su import SuCommand
    from kheaders_adb.project import Project
    from kheaders_adb.store import Store

DEFAULT_TIMEOUT_S = 120.0
IDLE_TIMEOUT_S = 30.0
"""How long a device may be silent: longer than any command of ours takes, shorter than patience."""


def adb_server(
    *,
    host: str | None = None,
    port: int | None = None,
    socket: str | None = None,
    on_start: Callable[[str], None] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> AdbServer:
    """The adb server that ``-H``, ``-P``, ``-L`` and adb's own variables mean; `on_start` as it has it."""
    from kheaders_adb.adb.address import resolve_address
    from kheaders_adb.adb.server import AdbServer

    address = resolve_address(host=host, port=port, socket=socket, environ=environ)
    return AdbServer(address, on_start=on_start)


def selection(
    *,
    serial: str | None = None,
    usb: bool = False,
    tcp: bool = False,
    transport_id: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Selection:
    """The device that ``-s``, ``-d``, ``-e``, ``-t`` and ``ANDROID_SERIAL`` mean."""
    from kheaders_adb.adb.select import resolve_selection

    chosen = resolve_selection(
        serial=serial, usb=usb, tcp=tcp, transport_id=transport_id, environ=environ
    )
    if chosen.serial is None:
        return chosen
    return replace(chosen, serial=text_of_bytes(chosen.serial))


def text_of_bytes(text: str) -> str:
    """What a user has written, in the form that serials have (`adb.listing`), whatever the locale is."""
    try:
        return os.fsencode(text).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # of a program's own making
        return text


def serial_of_environment(environ: Mapping[str, str] = os.environ) -> str | None:
    """The serial that ``ANDROID_SERIAL`` names."""
    return environ.get("ANDROID_SERIAL") or None


def deadline(timeout_s: float | None = None) -> Deadline:
    """The deadline for everything that follows, starting now.

    Raises:
        UsageError: `timeout_s` is not a time.
    """
    from kheaders_adb.adb.deadline import Deadline

    if timeout_s is None:
        timeout_s = DEFAULT_TIMEOUT_S
    if not 0 < timeout_s < 1e6:
        raise UsageError("--timeout wants a number of seconds above 0")
    return Deadline.after(timeout_s, idle_s=min(timeout_s, IDLE_TIMEOUT_S))


def patience_s(wait_s: float | None) -> float:
    """For how long to wait for a device.

    Raises:
        UsageError: `wait_s` is not a time.
    """
    if wait_s is None:
        return 0.0
    if not 0 <= wait_s < 1e6:
        raise UsageError("--wait wants a number of seconds, 0 or more")
    return wait_s


def su_command(
    text: str | None = None, environ: Mapping[str, str] = os.environ
) -> SuCommand | None:
    """The su that ``--su-command`` or ``$KHEADERS_ADB_SU_COMMAND`` names; None for the device's own.

    Raises:
        UsageError: it is no name of a program with plain arguments.
    """
    variable = "KHEADERS_ADB_SU_COMMAND"
    source = "--su-command" if text is not None else f"${variable}"
    given = text if text is not None else environ.get(variable)
    if text is None and not given:
        return None
    from kheaders_adb.device.su import SuCommand

    return SuCommand.parse(given or "", source)


def store_path(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the store is: `path`, ``$KHEADERS_ADB_STORE``, or the user's cache directory."""
    if path is not None:
        return path
    if named := environ.get("KHEADERS_ADB_STORE"):
        return Path(named)
    import platformdirs

    return platformdirs.user_cache_path("kheaders-adb")


def links_path() -> Path:
    """Where links to other packages' headers are kept, for compilers: a store may be read-only."""
    import platformdirs

    return platformdirs.user_cache_path("kheaders-adb-links")


def clang(environ: Mapping[str, str] = os.environ) -> str | None:
    """The clang that the user has chosen with ``$CLANG``."""
    return environ.get("CLANG") or None


def project(folder: Path, on_ignored: Callable[[str], None]) -> Project:
    """The project that a folder is in, by its ``.kheaders.toml``; the search ends at the home folder.

    Raises:
        UsageError: that file is wrong.
    """
    from kheaders_adb.project import Project, find_project

    try:
        start = Path(os.path.realpath(folder))
    except OSError:  # the folder that one is in has been removed
        return Project()
    home = Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111 - Path's raises without a home
    return find_project(start, home, os.geteuid(), on_ignored)


def open_store(path: Path | None = None) -> Store:
    """The store, made if it is not there yet.

    Raises:
        StoreError: it cannot be made, or is of a newer format.
    """
    from kheaders_adb.store import Store

    return Store.open(store_path(path))
