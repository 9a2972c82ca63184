"""What ``doctor`` finds at the adb server and its devices, and what `pull` would do there."""

from __future__ import annotations

import dataclasses
import enum
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kheaders_adb import settings
from kheaders_adb.errors import DeadlineError, KheadersError

if TYPE_CHECKING:
    from kheaders_adb.adb.deadline import Deadline
    from kheaders_adb.adb.listing import DeviceEntry
    from kheaders_adb.adb.select import Selection
    from kheaders_adb.adb.server import AdbServer
    from kheaders_adb.device.su import SuCommand
    from kheaders_adb.store import Store

_ANSWER_S = 5.0
"""How long an adb server may take to say who it is: one that was just started takes up to three seconds."""
_DEVICE_S = 10.0
_MAX_AT_ONCE = 16
_ASKED_SU = "allow the shell in the app that manages root on the device"
_ASKED_ADBD = "see that rooted debugging is on in its developer options, if it has that switch"


class Health(enum.StrEnum):
    """How an examined thing is: fine, perhaps or for some commands in the way, or in the way of `pull`."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing examined.

    Attributes:
        name: what.
        health: how it is.
        seen: what was found.
        remedy: what to do, or None.
        exit_code: that of the error which `pull` would end with; 0 if none.
    """

    name: str
    health: Health
    seen: str
    remedy: str | None = None
    exit_code: int = 0

    @classmethod
    def failed(cls, name: str, error: KheadersError, about: str = "") -> Finding:
        """What an error says that `pull` would end with as well; `about` stands before it."""
        return cls(name, Health.FAIL, about + error.seen, error.hint, error.exit_code)

    def as_warning(self) -> Finding:
        """The same where `pull` does without: another device, or a disk that need not be written."""
        if self.health is not Health.FAIL:
            return self
        return dataclasses.replace(self, health=Health.WARN, exit_code=0)


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found.

    Attributes:
        findings: in the order in which `pull` would come upon them.
        is_staged: whether `pull` would find everything in the store, and so write nothing.
    """

    findings: tuple[Finding, ...]
    is_staged: bool = False


def examine_server(
    server: AdbServer, selection: Selection, store: Store | None, deadline: Deadline
) -> Checkup:
    """Look at the adb server and the devices that may be meant; nothing is started or changed.

    Args:
        server: the server.
        selection: which device `pull` would be for.
        store: where trees are staged, or None.
        deadline: bounds all of it.
    """
    from kheaders_adb.adb.start import adb_binary
    from kheaders_adb.adb.wire import ServerRefusedError

    name = "adb server"
    # Looked at, not started: a doctor that changes things cannot be trusted.
    server = dataclasses.replace(server, start=False)
    try:
        version = server.version(deadline.sooner(_ANSWER_S))
        entries = server.devices(deadline.sooner(_DEVICE_S))
    except ServerRefusedError as error:
        if not server.address.is_local or server.address.path is not None:
            return Checkup((Finding.failed(name, error),))
        try:
            binary = adb_binary(deadline.sooner(_DEVICE_S))
        except KheadersError as missing:
            return Checkup((Finding.failed(name, missing),))
        return Checkup(
            (
                Finding(
                    name,
                    Health.WARN,
                    f"none at {server.address}, so no devices are seen; pull would start {binary}",
                    "run `adb start-server`, then this again",
                ),
            )
        )
    except KheadersError as error:
        return Checkup((Finding.failed(name, error),))
    found = Finding(name, Health.OK, f"version 1.0.{version} at {server.address}")
    devices = _examine_devices(server, entries, selection, store, deadline)
    return dataclasses.replace(devices, findings=(found, *devices.findings))


def _examine_devices(
    server: AdbServer,
    entries: tuple[DeviceEntry, ...],
    selection: Selection,
    store: Store | None,
    deadline: Deadline,
) -> Checkup:
    from kheaders_adb.adb.select import choose, fitting_ones
    from kheaders_adb.parallel import in_parallel

    findings: list[Finding] = []
    try:
        meant: str | None = choose(entries, selection).serial
    except KheadersError as error:
        # One that cannot be used as it is has a line of its own.
        meant = error.device
        if meant is None:
            findings.append(Finding.failed("devices", error))
    fitting = fitting_ones(entries, selection)
    examine = functools.partial(_examine, server, store, settings.su_command(), deadline)
    examined = in_parallel(examine, fitting, at_once=_MAX_AT_ONCE)
    is_staged = False
    for entry, (finding, staged) in zip(fitting, examined, strict=True):
        is_meant = entry.serial == meant
        findings.append(finding if is_meant else finding.as_warning())
        is_staged = is_staged or (is_meant and staged)
    return Checkup(tuple(findings), is_staged)


def _examine(
    server: AdbServer,
    store: Store | None,
    su: SuCommand | None,
    deadline: Deadline,
    entry: DeviceEntry,
) -> tuple[Finding, bool]:
    """A device's line, and whether its headers are staged; it takes no longer than a device may."""
    from kheaders_adb.adb.select import check_usable
    from kheaders_adb.device.device import Device
    from kheaders_adb.device.peer import confirm
    from kheaders_adb.device.probe import probe
    from kheaders_adb.pipeline.foreseen import foresee

    device = Device(server, entry, deadline.sooner(_DEVICE_S))
    try:
        check_usable(entry)
        device.prepare()
        about = probe(device)
        confirm(device)
        foreseen = foresee(device, about, store, su=su)
    except KheadersError as error:
        if isinstance(error, DeadlineError):
            error.hint = (
                f"see whether `adb shell` works on it; `pull` waits longer than {_DEVICE_S:g} s"
            )
        return Finding.failed("device", error, f"{entry.serial}: "), False
    said = ", ".join(filter(None, (entry.state, device.shell.note)))
    seen = f"{entry.serial}: {said}; pull would {foreseen.would}"
    if (ways := foreseen.hinges_on) is not None:
        asked = ((_ASKED_SU, ways.su is not None), (_ASKED_ADBD, ways.restarts_adbd))
        granted = [advice for advice, is_asked in asked if is_asked]
        remedy = f"whether root is granted is seen only then: {', or '.join(granted)}"
        return Finding("device", Health.WARN, seen, remedy), False
    return Finding("device", Health.OK, seen), foreseen.is_staged
