"""The one path from a device to a staged tree: probe, source, transfer, match, stage.

The command line, fleets and the Python API all come through `ensure`.  What only a cold pull needs is in
`cold` and is imported when it comes to that: a warm pull is one round trip and no decompressor.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kheaders_adb.device.device import Device
from kheaders_adb.device.lease import sweep
from kheaders_adb.device.outcome import ArchiveGoneError
from kheaders_adb.device.privilege import raised
from kheaders_adb.device.probe import Probe, probe
from kheaders_adb.model import Privilege, Staged, Via
from kheaders_adb.pipeline.options import Options
from kheaders_adb.pipeline.staged import find_staged
from kheaders_adb.store.store import Store

if TYPE_CHECKING:
    from kheaders_adb.pipeline.cold import Fetched

_ATTEMPTS = 5


def ensure(device: Device, store: Store, options: Options | None = None) -> Staged:
    """The headers of the kernel that `device` runs, staged in `store`.

    Where they are staged already, this takes one round trip on the device and moves no archive.

    Args:
        device: the device, selected; its deadline bounds everything.
        store: where trees are staged.
        options: how to get them.

    Returns:
        The staged tree with the verdict that it is trusted for.

    Raises:
        NoHeadersError: this kernel gives none; PrivilegeError, ModuleRefusedError say more.
        MismatchError: what it gives does not belong to it, and neither option above covers that.
        ArchiveError: the archive is damaged or unsafe.
        TransferError: the conversation broke off; nothing was staged, trying again may help.
        StoreError: the store or its disk failed.

    Guarantees:
        A tree is published complete or not at all.  A module that this loaded is unloaded again, unless
        another run is reading from it.
    """
    options = options or Options()
    started_s = time.monotonic()
    store = store.within(lambda: device.deadline.remaining_s)
    about = probe(device)
    timing_s = {"probe": time.monotonic() - started_s}
    record = None if options.refresh else find_staged(store, about, device.serial, options)
    cached = record is not None
    notes: tuple[str, ...] = ()
    if record is None or about.leftovers:
        with raised(
            device,
            about,
            _privilege_for(about, options, staged=cached),
            keep_root=options.keep_root,
            say=options.on_note,
        ) as root:
            about = replace(root.about, refusals=root.refusals)
            if about.leftovers:
                # A killed run cannot clean up after itself; the next one does it, warm or not.
                notes = sweep(device, about.work)
                about = replace(probe(device), refusals=root.refusals)
            if record is None and not options.refresh:
                record = find_staged(store, about, device.serial, options)
                cached = record is not None
            if record is None:
                fetched = _fetch(device, about, store, options, timing_s)
                record, cached, notes = fetched.record, fetched.cached, notes + fetched.notes
    timing_s["total"] = time.monotonic() - started_s
    return Staged(
        serial=device.serial,
        kernel=replace(record.identity, boot_id=about.identity.boot_id),
        source=record.source,
        archive=record.archive,
        verdict=record.verdict,
        tree=store.tree_path(record.tree),
        cached=cached,
        device_round_trips=device.round_trips,
        timing_s=timing_s,
        notes=notes + store.take_notes(),
    )


def _privilege_for(about: Probe, options: Options, *, staged: bool) -> Privilege:
    """Which way to root is worth its cost here."""
    if staged:
        # Only a dead run's remains are at stake; `adb root` would end the sessions of living ones.
        return Privilege.SU if about.has_su else Privilege.NONE
    carves = options.via is Via.CARVE and (
        options.module is not None or any(file.readable for file in about.modules)
    )
    if options.privilege is Privilege.AUTO and (
        carves or any(archive.readable for archive in about.archives)
    ):
        return Privilege.NONE
    return options.privilege


def _fetch(
    device: Device, about: Probe, store: Store, options: Options, timing_s: dict[str, float]
) -> Fetched:
    from kheaders_adb.pipeline.cold import fetch

    for _ in range(_ATTEMPTS - 1):
        try:
            return fetch(device, about, store, options, timing_s)
        except ArchiveGoneError:
            # Another run had the module loaded when this one probed.  It has to be loaded anew.
            about = replace(probe(device), refusals=about.refusals)
    return fetch(device, about, store, options, timing_s)
