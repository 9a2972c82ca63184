"""``devices``: every device, and how it stands with its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kheaders_adb import settings
from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice, Target
from kheaders_adb.errors import KheadersError
from kheaders_adb.steps import StepKind

if TYPE_CHECKING:
    from kheaders_adb.adb.deadline import Deadline
    from kheaders_adb.adb.listing import DeviceEntry
    from kheaders_adb.adb.select import Selection
    from kheaders_adb.adb.server import AdbServer
    from kheaders_adb.store import Store

_PROBE_TIMEOUT_S = 15.0
_MAX_AT_ONCE = 16


def devices(target: Target, store: StoreChoice, output: Output) -> None:
    """List the devices: model, kernel, where its headers are, root or not, staged or not.

    With -s, -d, -e or -t only those that fit; $ANDROID_SERIAL leaves none out, as in `adb devices`.
    ROOT tells whether the device's shell is root's already; `doctor` tells how `pull` would become root.
    """
    from kheaders_adb.adb.select import USABLE_STATES
    from kheaders_adb.cli.render import or_dash
    from kheaders_adb.cli.tables import Cell, Tone, put_table
    from kheaders_adb.parallel import in_parallel

    console = Console.standard(output)
    server = target.adb_server(console.say)
    # Of the flags alone: this is where one looks for what to put into ANDROID_SERIAL.
    selection = settings.selection(
        serial=target.serial,
        usb=target.usb,
        tcp=target.tcp,
        transport_id=target.transport_id,
        environ={},
    )
    deadline = target.deadline()
    trees = store.open()
    with console.doing(StepKind.ASK):
        entries = _meant(server.devices(deadline), selection)
        rows = in_parallel(
            lambda entry: _row(server, entry, trees, deadline), entries, at_once=_MAX_AT_ONCE
        )
    if output.json:
        console.document({"devices": rows})
        return
    if not rows:
        console.say("no devices; plug one in with USB debugging on, or `adb connect HOST:PORT`")
        return
    columns = ("serial", "state", "model", "release", "machine", "headers", "root", "staged")
    tones: dict[tuple[str, object], Tone] = {("state", state): Tone.GOOD for state in USABLE_STATES}
    tones |= {
        ("headers", "absent"): Tone.BAD,
        ("root", True): Tone.GOOD,
        ("staged", True): Tone.GOOD,
    }
    cells = [
        [
            Cell(
                or_dash(_yes_no(row[name])),
                tones.get((name, row[name]), Tone.BAD if name == "state" else None),
            )
            for name in columns
        ]
        for row in rows
    ]
    titles = [name.upper() for name in columns]
    put_table(console, titles, cells, folded=("STATE", "MODEL", "RELEASE"))
    for row in rows:
        if row["error"]:
            console.warn(f"{row['serial']}: {row['error']}")


def _row(server: AdbServer, entry: DeviceEntry, trees: Store, deadline: Deadline) -> dict[str, Any]:
    from kheaders_adb.adb.select import USABLE_STATES
    from kheaders_adb.device.device import Device
    from kheaders_adb.device.probe import probe
    from kheaders_adb.pipeline.options import Options
    from kheaders_adb.pipeline.staged import look

    row: dict[str, Any] = {
        "serial": entry.serial,
        "state": entry.state,
        "transport_id": entry.transport_id,
        "model": entry.model,
        "release": None,
        "machine": None,
        "headers": None,
        "root": None,
        "staged": None,
        "kernel": None,
        "error": None,
    }
    if entry.state not in USABLE_STATES:
        return row
    device = Device(server, entry, deadline.sooner(_PROBE_TIMEOUT_S))
    try:
        device.prepare()
        about = probe(device)
        record = look(trees, about, device, Options()).record
    except KheadersError as error:
        # One broken device must not hide the others; its row says what is wrong.
        return row | {"error": f"{error.step}: {error.seen}" if error.step else error.seen}
    return row | {
        "release": about.identity.release,
        "machine": about.identity.machine,
        "headers": about.place.value,
        "root": about.is_root,
        "staged": record is not None,
        "kernel": about.identity.key,
    }


def _meant(
    entries: tuple[DeviceEntry, ...], selection: Selection
) -> tuple[DeviceEntry, ...] | list[DeviceEntry]:
    """The devices to list.

    Raises:
        NoDeviceError: some were asked for, and none is there.
    """
    from kheaders_adb.adb.select import Selection, choose, fitting_ones

    fitting = fitting_ones(entries, selection)
    if not fitting and selection != Selection():
        choose(entries, selection)  # which says so as every command does
    return fitting


def _yes_no(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
