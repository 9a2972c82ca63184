"""How headers are to be got, and which of them are good enough."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb.model import Level, Privilege, Verdict, Via

if TYPE_CHECKING:
    from kheaders_adb.device.su import SuCommand
    from kheaders_adb.steps import OnStep
    from kheaders_adb.untrusted.limits import Limits


class Tolerance(enum.Flag):
    """Which headers are taken although they do not belong to the kernel.

    ``REPAIRED``: where only the configuration differs and nothing else in the archive can depend on that,
    with autoconf.h regenerated.  ``MISMATCHED``: any, marked as such.  ``STAGED``: those that are staged so
    already, because somebody wanted them.  They add up: what can be repaired is repaired, what cannot is
    taken as it is, and it is said why.
    """

    NOTHING = 0
    REPAIRED = enum.auto()
    MISMATCHED = enum.auto()
    STAGED = enum.auto()

    @classmethod
    def of(cls, *, allow_mismatch: bool, repair_config: bool) -> Tolerance:
        """What ``--allow-mismatch`` and ``--repair-config`` mean."""
        return (cls.MISMATCHED if allow_mismatch else cls.NOTHING) | (
            cls.REPAIRED if repair_config else cls.NOTHING
        )

    def accepts(self, verdict: Verdict) -> bool:
        """Whether headers under this verdict are taken as they are."""
        return verdict.level is not Level.MISMATCH or Tolerance.MISMATCHED in self

    def accepts_staged(self, verdict: Verdict) -> bool:
        """Whether a tree that is staged under this verdict is used without reading its archive again.

        A repaired tree is one that somebody asked for, and nobody else.
        """
        if Tolerance.STAGED in self:
            return True
        if verdict.level is Level.REPAIRED:
            return Tolerance.REPAIRED in self
        if verdict.level is Level.MISMATCH and self.repairs(verdict):
            return False
        return self.accepts(verdict)

    def repairs(self, verdict: Verdict) -> bool:
        """Whether headers under this verdict are to be repaired, if that can be done."""
        return Tolerance.REPAIRED in self and verdict.is_repairable


@dataclass(frozen=True, slots=True)
class Options:
    """How headers are to be got.

    Attributes:
        module: a kheaders.ko on the host, or a folder of them, to use where the kernel shows no headers.
        via: which ways are allowed.
        tolerance: which headers are taken although they do not belong to the kernel.
        refresh: read the archive again even where it is staged.
        privilege: how root may be got where it is needed.
        su: the only su to try, whatever the device seems to have; None for the ``su`` that it shows.
        keep_root: leave adbd running as root if this restarted it so.
        limits: caps for the archive; None for the defaults.
        on_note: told, in sentences, of what takes a while.
        on_change: told, in sentences, of what is changed on the device before it is, of what could not be
            undone, and of what a run that was killed has left changed.
        on_progress: called with the bytes that have come and the size of the whole (0 if unknown).
        on_step: told of each step as it begins and when it is over.
    """

    module: Path | None = None
    via: Via = Via.AUTO
    tolerance: Tolerance = Tolerance.NOTHING
    refresh: bool = False
    privilege: Privilege = Privilege.AUTO
    su: SuCommand | None = None
    keep_root: bool = False
    limits: Limits | None = None
    on_note: Callable[[str], None] | None = None
    on_change: Callable[[str], None] | None = None
    on_progress: Callable[[int, int], None] | None = None
    on_step: OnStep | None = None
