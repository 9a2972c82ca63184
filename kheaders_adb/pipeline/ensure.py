"""The one path from a device to a staged tree: probe, source, transfer, match, stage.

The command line, fleets and the Python API all come through `ensure`.  What only a cold pull needs is in
`cold` and is imported when it comes to that: a warm pull is one round trip and no decompressor.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from kheaders_adb.device.device import Device
from kheaders_adb.device.lease import sweep_all
from kheaders_adb.device.outcome import ArchiveGoneError
from kheaders_adb.device.peer import confirm
from kheaders_adb.device.privilege import raised
from kheaders_adb.device.probe import WORK_NAME, Probe, probe
from kheaders_adb.errors import KheadersError, StoreError
from kheaders_adb.model import Grounds, Privilege, Reuse, Staged, Via
from kheaders_adb.pipeline.left import tell_left
from kheaders_adb.pipeline.options import Options
from kheaders_adb.pipeline.staged import Found, find_staged
from kheaders_adb.steps import StepKind, Steps
from kheaders_adb.store.store import Store

if TYPE_CHECKING:
    from kheaders_adb.pipeline.cold import Fetched

_ATTEMPTS = 8
_CLEANING_S = 5.0
"""How long a warm pull may take to clean up after others."""
_NOT_LOOKED = Found(None, Reuse(Grounds.NONE, "it was asked to read the archive again (--refresh)"))


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
    with Steps(options.on_step, device.serial) as steps:
        return _ensure(device, store.within(lambda: device.deadline.remaining_s), options, steps)


def _ensure(device: Device, store: Store, options: Options, steps: Steps) -> Staged:
    started_s = time.monotonic()
    steps.begin(StepKind.PROBE)
    about = probe(device)
    confirm(device)
    if options.on_change is not None:
        try:
            for line in tell_left(store.changes, device, about):
                options.on_change(line)
        except StoreError as error:
            options.on_change(f"what killed runs may have left is not known: {error.seen}")
    store.seen(device.serial, about.identity)
    found = _NOT_LOOKED if options.refresh else find_staged(store, about, device, options)
    cached = found.record is not None
    # What the shell itself left is for the shell to remove: root keeps out of its folder.
    notes = sweep_all(device, about)
    if found.record is not None:
        notes += _cleaned(device, about, store, options, steps)
    if (record := found.record) is None:
        from kheaders_adb.store.scratch import require_writable

        require_writable(store.root)  # before anything is changed on the device
        wanted = _privilege_for(about, options)
        if wanted is not Privilege.NONE and not about.is_root:
            steps.begin(StepKind.ROOT)
        with (
            raised(
                device,
                about,
                wanted,
                su=options.su,
                keep_root=options.keep_root,
                changes=store.changes,
                say=options.on_note,
                announce=options.on_change,
            ) as root,
            steps,  # whose last one is over before root is given back
        ):
            about = replace(root.about, refusals=root.refusals)
            if about.leftovers:
                # A killed run cannot clean up after itself; the next one does it.
                notes += sweep_all(device, about)
                about = replace(probe(device), refusals=root.refusals)
            if not options.refresh:
                found = find_staged(store, about, device, options)
                record, cached = found.record, found.record is not None
            if record is None:
                fetched = _fetch(device, about, store, options, steps)
                record, cached, notes = fetched.record, fetched.cached, notes + fetched.notes
                if fetched.reuse is not None:
                    found = replace(found, reuse=fetched.reuse)
    steps.end()
    return Staged(
        serial=device.serial,
        kernel=replace(record.identity, boot_id=about.identity.boot_id),
        source=record.source,
        archive=record.archive,
        verdict=record.verdict,
        tree=store.tree_path(record.tree),
        cached=cached,
        device_round_trips=device.round_trips,
        timing_s={**steps.timing_s, "total": time.monotonic() - started_s},
        notes=notes + store.take_notes(),
        reuse=found.reuse,
    )


def _cleaned(
    device: Device, about: Probe, store: Store, options: Options, steps: Steps
) -> tuple[str, ...]:
    """Remove what killed runs of root's left, if su is there; what is staged is served all the same.

    ``adb root`` would end the sessions of living runs.
    """
    theirs = [path for path in about.leftovers if PurePosixPath(path).parent.name == WORK_NAME]
    may_ask = options.privilege in (Privilege.AUTO, Privilege.SU) and (about.has_su or options.su)
    if about.is_root or not theirs or not may_ask:
        return ()
    steps.begin(StepKind.UNDO)
    deadline = device.deadline
    device.deadline = deadline.sooner(_CLEANING_S)
    try:
        with raised(device, about, Privilege.SU, su=options.su, changes=store.changes) as root:
            return sweep_all(device, root.about)
    except KheadersError as error:
        return (f"what a killed run left on the device stays there for now: {error.seen}",)
    finally:
        device.deadline = deadline


def _privilege_for(about: Probe, options: Options) -> Privilege:
    """Which way to root is worth its cost here."""
    carves = options.via is Via.CARVE and (
        options.module is not None or any(file.readable for file in about.modules)
    )
    if options.privilege is Privilege.AUTO and (
        carves or any(archive.readable for archive in about.archives)
    ):
        return Privilege.NONE
    return options.privilege


def _fetch(device: Device, about: Probe, store: Store, options: Options, steps: Steps) -> Fetched:
    from kheaders_adb.pipeline.cold import fetch

    for _ in range(_ATTEMPTS - 1):
        try:
            return fetch(device, about, store, options, steps)
        except ArchiveGoneError:
            # Another run had the module loaded when this one probed.  It has to be loaded anew.
            steps.begin(StepKind.PROBE)
            about = replace(probe(device), refusals=about.refusals)
    return fetch(device, about, store, options, steps)
