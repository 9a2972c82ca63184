"""Headers for one device, and for all that are connected."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, Unpack

from kheaders_adb import settings
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import USABLE_STATES, Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.api import arguments
from kheaders_adb.api.arguments import AdbutilsDevice, Server
from kheaders_adb.api.result import Outcome, Staged
from kheaders_adb.device.device import Device
from kheaders_adb.errors import KheadersError, UsageError
from kheaders_adb.model import Privilege, Via
from kheaders_adb.parallel import in_parallel
from kheaders_adb.pipeline.options import Options, Tolerance
from kheaders_adb.pipeline.retry import ensure_patiently
from kheaders_adb.store import Store
from kheaders_adb.untrusted.text import harmless


class Wanted(TypedDict, total=False):
    """What `ensure` and `ensure_all` both take: how headers are to be got."""

    store: str | os.PathLike[str] | None
    module: str | Path | None
    via: Via | str
    allow_mismatch: bool
    repair_config: bool
    refresh: bool
    privilege: Privilege | str
    su_command: str | None
    keep_root: bool
    wait_s: float | None
    timeout_s: float | None
    on_change: Callable[[str], None] | None


def ensure(
    device: str | AdbutilsDevice | Device | None = None,
    *,
    server: Server | None = None,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **wanted: Unpack[Wanted],
) -> Staged:
    """The headers of the kernel that a device runs, staged on this host.

    Args:
        device: a serial, an ``adbutils.AdbDevice``, whose server is used, or a `Device`, whose connection is
            used and whose deadline counts too; None for ``$ANDROID_SERIAL`` or the only device.
        server: the adb server: (host, port), or a socket as for ``adb -L``; None for that of the environment.
        on_note: told, in sentences, of what takes a while.
        on_progress: called with the bytes that have come and the size of the whole (0 if unknown).
        store: a `Store`, or the folder of one; None for ``$KHEADERS_ADB_STORE`` or the user's cache.
        module: a kheaders.ko, or a folder of them, to use where the kernel shows no headers.
        via, allow_mismatch, repair_config, refresh, keep_root: as the options of ``pull``.
        privilege: how root may be got where it is needed; ``Privilege.NONE`` never changes the device's
            adbd and asks no su.
        su_command: the only su to try, as with ``pull``; None for ``$KHEADERS_ADB_SU_COMMAND``, if set.
        wait_s: for how many seconds to wait for the device, and to try again after a lost transfer.
        timeout_s: seconds for all of it; None for two minutes.
        on_change: told, in sentences, of what is changed on the device before it is (``adb root``, which ends
            other sessions; a module that is loaded) and of what could not be undone; None for a warning of
            the logger ``kheaders_adb``, which Python shows on stderr unless that is set up otherwise.

    Returns:
        The staged tree, and the verdict that it is trusted for.

    Raises:
        UsageError: what is wanted makes no sense.
        DeviceError: there is no such device, several are meant, or it cannot be used in its state.
        NoHeadersError: its kernel gives no headers, or not to this user.
        MismatchError: those that were found do not belong to it.
        ArchiveError: their archive is damaged or unsafe.
        TransferError: the connection broke, the time is over, or the device rebooted.
        StoreError: the disk failed, or there is no store.

    Guarantees:
        May be called from several threads at once, for different devices.
    """
    run = _Run.of(**wanted)
    told = dataclasses.replace(run.options, on_note=on_note, on_progress=on_progress)
    with arguments.finding(device, server, run.timeout_s) as (find, deadline):
        return run(find, told, deadline)


def ensure_all(
    *,
    server: Server | None = None,
    at_once: int = 8,
    on_note: Callable[[str, str], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    **wanted: Unpack[Wanted],
) -> list[Outcome]:
    """The headers of every connected device's kernel, several devices at a time.

    Devices that cannot be used in their state (offline, unauthorized, …) are left out; `on_note` is told.

    Args:
        server: as for `ensure`.
        at_once: how many devices at most are worked on at the same time.
        on_note, on_progress: as for `ensure`, with the device's serial before the rest.  They are called in
            several threads, and so is ``on_change``, whose sentences name the device.
        wanted: as for `ensure`; ``timeout_s`` is for each device, from when it is begun with.

    Returns:
        For each device, in the order of its serial, what is staged or why nothing is.

    Raises:
        UsageError: what is wanted makes no sense for any device.
        KheadersError: the server cannot be asked which devices there are, or there is no store.

    Guarantees:
        When the program is stopped meanwhile (Ctrl-C), no other device is begun with, and what is begun
        with comes to its end first, so that what it changed on devices is undone.
    """
    if not isinstance(at_once, int) or at_once < 1:
        raise UsageError(f"at_once: {at_once!r} is no number of devices")
    run = _Run.of(**wanted)
    adb = arguments.adb_server(server)
    selections = _selections(adb, run.deadline(), on_note)

    def one(chosen: tuple[str, Selection]) -> Outcome:
        serial, selection = chosen
        deadline = run.deadline()
        told = dataclasses.replace(
            run.options,
            on_note=functools.partial(on_note, serial) if on_note else None,
            on_progress=functools.partial(on_progress, serial) if on_progress else None,
        )
        try:
            staged = run(functools.partial(Device.select, adb, selection, deadline), told, deadline)
        except UsageError:
            raise
        except KheadersError as error:
            return Outcome(serial, error=error)
        return Outcome(serial, staged)

    return in_parallel(one, selections, at_once=at_once, stop=threading.Event())


def usable_serials(*, server: Server | None = None, timeout_s: float | None = None) -> list[str]:
    """The serials of the connected devices that can be used in their state, sorted.

    Raises:
        KheadersError: the server cannot be asked, or not in time.
    """
    found = _selections(arguments.adb_server(server), arguments.deadline_of(timeout_s), None)
    return [serial for serial, _ in found]


def _selections(
    server: AdbServer, deadline: Deadline, on_note: Callable[[str, str], None] | None
) -> list[tuple[str, Selection]]:
    entries = sorted(server.devices(deadline), key=lambda entry: entry.serial)
    serials = Counter(entry.serial for entry in entries)
    usable = []
    for entry in entries:
        if entry.state in USABLE_STATES:
            # A serial survives a reconnection, and is no name where two units have the same.
            is_name = serials[entry.serial] == 1 or entry.transport_id is None
            selection = (
                Selection(serial=entry.serial)
                if is_name
                else Selection(transport_id=entry.transport_id)
            )
            usable.append((entry.serial, selection))
        elif on_note is not None:
            on_note(entry.serial, f"left out: it is in state {entry.state!r}")
    return usable


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """What is wanted of every device alike."""

    store: Store
    options: Options
    wait_s: float
    timeout_s: float | None

    @classmethod
    def of(
        cls,
        *,
        store: str | os.PathLike[str] | None = None,
        module: str | Path | None = None,
        via: Via | str = Via.AUTO,
        allow_mismatch: bool = False,
        repair_config: bool = False,
        refresh: bool = False,
        privilege: Privilege | str = Privilege.AUTO,
        su_command: str | None = None,
        keep_root: bool = False,
        wait_s: float | None = None,
        timeout_s: float | None = None,
        on_change: Callable[[str], None] | None = None,
    ) -> _Run:
        """What `Wanted` says, with its defaults; an argument of another name is a TypeError, as ever."""
        arguments.deadline_of(timeout_s)
        options = Options(
            module=arguments.path_of(module, "module"),
            via=arguments.choice(Via, via, "via"),
            tolerance=Tolerance.of(allow_mismatch=allow_mismatch, repair_config=repair_config),
            refresh=refresh,
            privilege=arguments.choice(Privilege, privilege, "privilege"),
            keep_root=keep_root,
            on_change=on_change or _warn,
            su=settings.su_command(arguments.text_of(su_command, "su_command")),
        )
        patience_s = arguments.seconds(wait_s, "wait_s")
        opened = settings.open_store(arguments.path_of(store, "store"))
        return cls(opened, options, patience_s, timeout_s)

    def deadline(self) -> Deadline:
        """The deadline of one device, starting now."""
        return arguments.deadline_of(self.timeout_s)

    def __call__(self, find: Callable[[], Device], options: Options, deadline: Deadline) -> Staged:
        staged, _ = ensure_patiently(
            find, self.store, options, deadline=deadline, wait_s=self.wait_s
        )
        fields = {item.name: getattr(staged, item.name) for item in dataclasses.fields(staged)}
        return Staged(**fields, store=self.store.root)


def _warn(text: str) -> None:
    # It names serials and quotes devices: neither a format nor a terminal's commands.
    logging.getLogger("kheaders_adb").warning("%s", harmless(text))
