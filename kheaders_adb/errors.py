"""Every error of the library, each with the exit code that the command line gives for it.

::

    KheadersError                     1  (a bug, if it is ever this class itself)
    ├── UsageError                    2  the request makes no sense
    ├── DeviceError                   3  no device to talk to
    │   ├── AdbServerError               the adb server cannot be reached or started
    │   ├── NoDeviceError                nothing matches the selection
    │   ├── AmbiguousDeviceError         several devices match it
    │   ├── UnauthorizedError            the phone has not accepted this host's key
    │   └── OfflineError                 the device is there but does not answer
    ├── NoHeadersError                4  this kernel gives no headers
    │   ├── PrivilegeError               they are there, for root only
    │   └── ModuleRefusedError           the kernel refused kheaders.ko
    ├── MismatchError                 5  the headers do not belong to the running kernel
    ├── ArchiveError                  6  the archive cannot be used
    │   ├── CorruptArchiveError          it is damaged or cut short
    │   └── UnsafeArchiveError           it holds something that must not be extracted
    ├── TransferError                 7  the transfer was lost; repeating it may help (retryable)
    │   ├── DeadlineError                the time given for it ran out
    │   └── DeviceChangedError           the device rebooted or was swapped meanwhile
    ├── StoreError                    8  the store or its disk
    ├── CompileError                  9  clang failed
    └── PartialError                 10  some devices of several failed

An error says four things: *device* (its serial, where there is one), *step* (what was being done),
*seen* (what happened) and *hint* (what to do next).  Nothing else is raised on purpose by this
package: foreign exceptions are wrapped at the edge where they appear, with ``raise … from``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

if TYPE_CHECKING:
    from kheaders_adb.model import Verdict


class Context(TypedDict, total=False):
    """What an error says beside what was seen; see `KheadersError`."""

    step: str | None
    device: str | None
    hint: str | None


class KheadersError(Exception):
    """Base of all errors of this package.

    Args:
        seen: what was observed, as a sentence fragment without a full stop.
        step: what was being done, as in "reading /sys/kernel/kheaders.tar.xz".
        device: the serial of the device concerned, or None.
        hint: the next thing for the user to do, or None for the class's own.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str | None] = None

    def __init__(
        self,
        seen: str,
        *,
        step: str | None = None,
        device: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(seen)
        self.seen = seen
        self.step = step
        self.device = device
        self.hint = hint if hint is not None else self.default_hint

    def __str__(self) -> str:
        """``device: step: seen``, leaving out what is not known."""
        return ": ".join(part for part in (self.device, self.step, self.seen) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, whose own way calls the class with `seen` alone, which not every class takes."""
        return _like, (type(self), self.args), vars(self)


def _like(kind: type[KheadersError], args: tuple[Any, ...]) -> KheadersError:
    return kind.__new__(kind, *args)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kernel that may have been meant.

    Attributes:
        key: its key, all of it.
        release: ``uname -r``.
        machine: ``uname -m``.
        serial: the device that its headers were staged for, if any.
    """

    key: str
    release: str
    machine: str
    serial: str | None = None


class UsageError(KheadersError):
    """The request makes no sense: contradictory options, an unknown kernel, a file that is not there.

    Attributes:
        candidates: where a kernel was named that is none, or several: those that may have been meant.
    """

    exit_code = 2

    def __init__(
        self, seen: str, *, candidates: Sequence[Candidate] = (), **context: Unpack[Context]
    ) -> None:
        super().__init__(seen, **context)
        self.candidates = tuple(candidates)


class DeviceError(KheadersError):
    """There is no device to talk to."""

    exit_code = 3


class AdbServerError(DeviceError):
    """The adb server cannot be reached, cannot be started, or does not speak adb."""

    default_hint = (
        "see whether `adb devices` works on this host, and check -H, -P, -L and adb's variables"
    )


class NoDeviceError(DeviceError):
    """No device matches the selection."""


class AmbiguousDeviceError(DeviceError):
    """Several devices match the selection."""


class UnauthorizedError(DeviceError):
    """The device has not accepted this host's adb key."""

    default_hint = "unlock the device and accept the 'Allow USB debugging?' dialog, then try again"


class OfflineError(DeviceError):
    """The device is listed but does not answer, or is in a state without a shell."""


class NoHeadersError(KheadersError):
    """This kernel gives no headers."""

    exit_code = 4


class PrivilegeError(NoHeadersError):
    """The headers may be there, but not for this user of the device."""


class ModuleRefusedError(NoHeadersError):
    """The kernel refused to load kheaders.ko, or it cannot be loaded at all.

    Attributes:
        doubts_build: whether the kernel's reason says that the module is of another build: then its archive
            is not this kernel's either.
        doubts_folder: whether it may be for the folder into which the module was brought.
    """

    doubts_build: bool = False
    doubts_folder: bool = False


class MismatchError(KheadersError):
    """The headers do not belong to the running kernel.

    Attributes:
        verdict: the checks behind it, or None where none could be run.
    """

    exit_code = 5

    def __init__(
        self,
        seen: str,
        *,
        verdict: Verdict | None = None,
        **context: Unpack[Context],
    ) -> None:
        super().__init__(seen, **context)
        self.verdict = verdict


class ArchiveError(KheadersError):
    """The archive cannot be used."""

    exit_code = 6


class CorruptArchiveError(ArchiveError):
    """The archive is damaged, cut short, or not an archive of kernel headers at all.

    Attributes:
        rule: the name of the rule that it breaks, as in "xz-truncated", or None.
    """

    def __init__(
        self,
        seen: str,
        *,
        rule: str | None = None,
        **context: Unpack[Context],
    ) -> None:
        super().__init__(seen, **context)
        self.rule = rule


class UnsafeArchiveError(ArchiveError):
    """The archive holds something that must not be extracted.

    Attributes:
        rule: the name of the rule that it breaks, as in "path-escapes".
        member: the offending member's name, made printable, or None.
    """

    default_hint = (
        "no kernel's build writes such an archive; do not unpack it by other means before you know where it "
        "comes from"
    )

    def __init__(
        self,
        seen: str,
        *,
        rule: str,
        member: str | None = None,
        **context: Unpack[Context],
    ) -> None:
        super().__init__(seen, **context)
        self.rule = rule
        self.member = member


class TransferError(KheadersError):
    """A conversation with the device broke off; nothing was staged."""

    exit_code = 7
    retryable = True
    default_hint = "check the cable or network and run the same command again"


class DeadlineError(TransferError):
    """The time given for the operation ran out."""

    default_hint = "check that the device answers `adb shell`, or allow more with --timeout"


class DeviceChangedError(TransferError):
    """The device rebooted, or another one took its place, while it was being read."""

    default_hint = "make sure that it is the device that you mean, then run the same command again"


class StoreError(KheadersError):
    """The store or its disk does not do what it must; the store is unchanged."""

    exit_code = 8


class CompileError(KheadersError):
    """clang could not compile the program, or no usable clang was found."""

    exit_code = 9


class PartialError(KheadersError):
    """Some devices of several failed."""

    exit_code = 10
