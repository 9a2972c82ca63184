"""Becoming root on a device: by su, or by restarting adbd as root, undone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import Probe, probe
from kheaders_adb.device.restart import adbd_as_root, root_of_others
from kheaders_adb.device.su import SuCommand
from kheaders_adb.device.superuser import Say, become_root, name_managers
from kheaders_adb.errors import PrivilegeError
from kheaders_adb.model import Privilege
from kheaders_adb.store.changes import Changes

POWERLESS = "root by su, but its domain may not read it"
"""What is said of a su that gives uid 0 without what uid 0 may do elsewhere."""


@dataclass(frozen=True, slots=True)
class Raised:
    """How a device was left for the body of `raised`.

    Attributes:
        about: the probe, by root if that was to be had.
        refusals: why it was not, or is of no use, way by way; empty if it was.
    """

    about: Probe
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prospects:
    """Which ways to root are tried, in this order; none was yet.

    Attributes:
        su: the su that is asked first, or None.
        restarts_adbd: whether ``adb root`` is tried next.
        refusals: why what is left out is.
    """

    su: SuCommand | None
    restarts_adbd: bool
    refusals: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.su is not None or self.restarts_adbd


def prospects(about: Probe, wanted: Privilege, su: SuCommand | None = None) -> Prospects:
    """The ways to root that `wanted` allows where a probe says what this one does.  Pure.

    Args:
        about: the probe of a shell that is not root's.
        su: as for `raised`.
    """
    is_auto = wanted is Privilege.AUTO
    asks = wanted is Privilege.SU or (is_auto and (about.has_su or su is not None))
    restarts_adbd = wanted is Privilege.ADBD or (is_auto and about.debuggable)
    refusals: list[str] = []
    if is_auto and not asks:
        refusals.append("this shell sees no su")
    if is_auto and not restarts_adbd:
        refusals.append("adb root is for debuggable builds only")
    return Prospects(su or SuCommand() if asks else None, restarts_adbd, tuple(refusals))


@contextmanager
def raised(
    device: Device,
    about: Probe,
    wanted: Privilege,
    *,
    su: SuCommand | None = None,
    keep_root: bool = False,
    changes: Changes,
    say: Say | None = None,
    announce: Say | None = None,
) -> Iterator[Raised]:
    """Root on `device` for the body of the ``with``, as far as `wanted` allows and the device grants.

    Su comes before ``adb root``, which ends other sessions on the device, unless it gives a root that may not
    read the headers either.  An ``adb root`` made here is
    undone after the body, unless `keep_root`; so is one of another run that has ended meanwhile.

    Args:
        about: the probe made so far.
        su: the only su to try, whether the probe saw it or not; None for the one that it saw.
        changes: where an ``adb root`` is noted.
        say: told what is tried and waited for, in sentences.
        announce: told what is changed on the device, and what could not be undone.

    Raises:
        PrivilegeError: `wanted` names a way that does not work.
        TransferError, DeadlineError: the connection broke, or the device did not come back.
    """
    say, announce = say or _unheard, announce or _unheard
    with ExitStack() as undo:
        root: Raised | None = None

        def become_adbd_root() -> None:
            undo.enter_context(
                adbd_as_root(device, keep_root=keep_root, announce=announce, changes=changes)
            )

        try:
            if (
                about.is_root
                and device.su is None
                and not undo.enter_context(
                    root_of_others(device, keep_root=keep_root, announce=announce, changes=changes)
                )
            ):
                about = probe(device)
            root = _raise(device, about, wanted, su, say, become_adbd_root, undo)
            yield root
        except PrivilegeError as error:
            # Where a su was looked for in vain; adbd's refusal, if only that was wanted, is another matter.
            if wanted in (Privilege.AUTO, Privilege.SU) and (
                root is None or (root.refusals and not root.about.is_root)
            ):
                name_managers(error, device, su or SuCommand())
            raise


def _raise(
    device: Device,
    about: Probe,
    wanted: Privilege,
    su: SuCommand | None,
    say: Say,
    become_adbd_root: Callable[[], None],
    undo: ExitStack,
) -> Raised:
    if about.is_root or wanted is Privilege.NONE:
        return Raised(about)
    ways = prospects(about, wanted, su)
    refusals = list(ways.refusals)
    if ways.su is not None:
        undo.callback(setattr, device, "su", None)
        try:
            by_su = become_root(device, ways.su, say)
        except PrivilegeError as error:
            if wanted is Privilege.SU:
                raise
            refusals.insert(0, error.seen)
        else:
            if not by_su.is_powerless:
                return Raised(by_su)
            refusals.insert(0, POWERLESS)
            if wanted is Privilege.SU:
                return Raised(by_su, tuple(refusals))
            about = by_su
    if ways.restarts_adbd:
        through, device.su = device.su, None
        try:
            become_adbd_root()
        except PrivilegeError as error:
            if wanted is Privilege.ADBD:
                raise
            refusals.append(error.seen)
            device.su = through
        else:
            return Raised(probe(device))
    return Raised(about, tuple(refusals))


def _unheard(_: str) -> None:
    """What nobody wants to be told."""
