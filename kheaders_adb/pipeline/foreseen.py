"""What a pull would do on a device, for one who only wants to know: nothing there is changed, no su is asked.

It is told from one probe and the store.  What only trying can tell (whether a su grants root, whether an
archive belongs to its kernel) is left open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kheaders_adb.device.advice import Setting, setting_of
from kheaders_adb.device.device import Device
from kheaders_adb.device.privilege import Prospects, prospects
from kheaders_adb.device.probe import Probe
from kheaders_adb.device.su import SuCommand
from kheaders_adb.device.superuser import name_managers
from kheaders_adb.errors import PrivilegeError
from kheaders_adb.model import Privilege, Via
from kheaders_adb.pipeline.absence import absence_error
from kheaders_adb.pipeline.options import Options
from kheaders_adb.pipeline.source import cannot_load, require_modules
from kheaders_adb.pipeline.staged import look
from kheaders_adb.store.store import Store


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a pull without options would do.

    Attributes:
        would: it, as in "read /sys/kernel/kheaders.tar.xz".
        is_staged: whether the store holds it all.
        hinges_on: the ways to root of which one has to be granted, or it comes to nothing; None where it goes
            without.
    """

    would: str
    is_staged: bool = False
    hinges_on: Prospects | None = None


def foresee(
    device: Device, about: Probe, store: Store | None, *, su: SuCommand | None = None
) -> Foreseen:
    """What a pull would do on `device`.

    Args:
        device: the device; read from only.
        about: what it said of itself.
        store: where trees are staged; None where that is not to be had.
        su: the only su that a pull would try, or None for the one that the probe saw.

    Raises:
        NoHeadersError: whatever it did, it would not get the headers; PrivilegeError says more.
        StoreError: the store cannot be read.
        TransferError, DeadlineError: the conversation broke off.
    """
    if store is not None and look(store, about, device, Options()).record is not None:
        return Foreseen("use what is staged", is_staged=True)
    if shown := next((file for file in about.archives if file.readable), None):
        return Foreseen(f"read {shown.path}")
    if about.is_root:
        return Foreseen(_from_module(device, about))
    ways = prospects(about, Privilege.AUTO, su)
    if ways:
        return _as_root(device, about, ways)
    try:
        return Foreseen(_from_module(device, replace(about, refusals=ways.refusals)))
    except PrivilegeError as error:
        name_managers(error, device, SuCommand())
        raise


def _as_root(device: Device, about: Probe, ways: Prospects) -> Foreseen:
    first = _becoming_root(ways)
    if about.archives:
        return Foreseen(f"{first}, then read {about.archives[0].path}", hinges_on=ways)
    if about.modules:
        then = _from_module(device, replace(about, uid=0))
        is_carved_else = any(file.readable for file in about.modules)
        return Foreseen(f"{first}, then {then}", hinges_on=None if is_carved_else else ways)
    error = absence_error(device.serial, about)
    if setting_of(about) is Setting.OFF:
        raise error
    return Foreseen(f"{first}, then look again: {error.seen}", hinges_on=ways)


def _becoming_root(ways: Prospects) -> str:
    words = []
    if ways.su is not None:
        words.append(f"ask {ways.su} for root")
    if ways.restarts_adbd:
        words.append("restart adbd as root (undone afterwards)")
    return ", else ".join(words)


def _from_module(device: Device, about: Probe) -> str:
    """What is done with the modules on the device by the user of a probe."""
    module = require_modules(device.serial, about, Via.AUTO)[0]
    if cannot_load(about) is None:
        return f"load {module.path}, read the headers and unload it"
    device.shell.require_binary()
    return f"carve the headers out of {module.path}"
