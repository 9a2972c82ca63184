"""What one device is like: the values that `Device` is made of."""

from __future__ import annotations

import enum
from dataclasses import dataclass

ARCHIVE_PATH = "/sys/kernel/kheaders.tar.xz"
SHELL_V2_FEATURES = (
    "shell_v2",
    "cmd",
    "stat_v2",
    "ls_v2",
    "fixed_push_mkdir",
    "abb",
    "sendrecv_v2",
)


class State(enum.StrEnum):
    """A device's state as ``adb devices`` shows it."""

    DEVICE = "device"
    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    AUTHORIZING = "authorizing"
    CONNECTING = "connecting"
    RECOVERY = "recovery"
    SIDELOAD = "sideload"
    BOOTLOADER = "bootloader"
    NO_PERMISSIONS = "no permissions"


class Headers(enum.Enum):
    """Where the device has its archive at first."""

    BUILT_IN = "built in"
    PROC = "proc"  # vendor backports: /proc/kheaders.tar.xz
    MODULE = "module"  # kheaders.ko in /vendor/lib/modules
    ABSENT = "absent"


class Dialect(enum.StrEnum):
    """Whose insmod and rmmod the device has."""

    TOYBOX = "toybox"
    BUSYBOX = "busybox"
    KMOD = "kmod"


class Su(enum.StrEnum):
    """What su does, where there is one."""

    AOSP = "aosp"
    MAGISK = "magisk"
    SUDO = "sudo"
    SUDO_ASKS = "sudo asks"  # it wants a password first
    DENIED = "denied"
    HANG = "hang"


class SuQuirk(enum.StrEnum):
    """What else is wrong with a su that grants root."""

    PTY = "pty"  # runs its command on a pty of its own: LF becomes CRLF, stderr comes out of stdout
    NEEDS_TTY = "needs tty"  # refuses where its stdin is no terminal
    SECOND_HANGS = "second hangs"  # the first call is answered, the second never, later ones again


class Adbd(enum.Enum):
    """Which adbd answers, whatever features the server was told of."""

    MODERN = "7"  # Android 7 and newer
    ANDROID_5 = "5.1"  # also Yocto's: "exec:", but no second version of anything
    ANDROID_4 = "4.2"  # also Buildroot's: no "exec:" either

    @property
    def is_modern(self) -> bool:
        """Whether it has the shell protocol, with pipes for commands, and the second version of sync."""
        return self is Adbd.MODERN

    @property
    def has_exec(self) -> bool:
        """Whether it knows "exec:"."""
        return self is not Adbd.ANDROID_4

    @property
    def max_payload_bytes(self) -> int:
        """The longest packet that it takes: MAX_PAYLOAD of adb.h, MAX_PAYLOAD_V1 before Android 7."""
        return 1 << 20 if self is Adbd.MODERN else 4096

    @property
    def sdk(self) -> int:
        """ro.build.version.sdk."""
        return {Adbd.MODERN: 34, Adbd.ANDROID_5: 22, Adbd.ANDROID_4: 17}[self]


class Oversized(enum.Enum):
    """What becomes of a service whose name, with its NUL, is longer than adbd's packets."""

    SERVER_DIES = (
        "server dies"  # connect_to_remote(): fatal("destination oversized"), later CHECK_LE
    )
    REFUSED = "refused"  # FAIL "closed"
    TRUNCATED = "truncated"  # adbd sees the beginning


class HangUp(enum.Enum):
    """When the connection that asked for ``root:`` ends, if adbd grants it."""

    AT_ONCE = "at once"  # before even the service is accepted
    AFTER_OKAY = "after OKAY"
    AFTER_TEXT = "after the text"


@dataclass(frozen=True, slots=True)
class AdbdRestart:
    """How adbd goes and comes back after ``root:`` and ``unroot:``.

    Attributes:
        hangs_up: what the client that asked for it still gets.
        lingers_s: how long the old transport stays listed, and adbd answers as who it was.
        lingers_as: the state in which it does; in another one than "device" nothing is answered.
        away_s: how long the device is then not listed.
        returns: whether it comes back at all, under a new transport id.
        changes_user: whether it comes back as who was asked for.
    """

    hangs_up: HangUp = HangUp.AFTER_TEXT
    lingers_s: float = 0.0
    lingers_as: State = State.DEVICE
    away_s: float = 0.1
    returns: bool = True
    changes_user: bool = True


@dataclass(frozen=True, slots=True)
class Late:
    """The first services of each connection are answered late, as by a phone that still boots."""

    answers: int = 1
    delay_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Banner:
    """What the shell's profile prints before a command's own output, a line on each stream that has one."""

    stdout: str = ""
    stderr: str = ""


class SyncAccess(enum.Enum):
    """What the sync service may do, whatever the shell may."""

    AS_ADBD = "as adbd"  # what adbd's own user may
    DENIED = "denied"  # stat works, but nothing can be opened: FAIL "Permission denied"
    CLOSED = "closed"  # adbd refuses the service itself


class Disk(enum.StrEnum):
    """What is wrong with the file system below a folder; `disk.c` lets the tools' system calls fail."""

    READ_ONLY = "read-only"  # EROFS
    FULL = "full"  # folders and empty files can be made, but not a byte can be written: ENOSPC
    NO_INODES = "no inodes"  # nothing can be made either: ENOSPC


class Packing(enum.Enum):
    """How a module is packed on the device, by its suffix."""

    NONE = ""
    GZ = ".gz"
    XZ = ".xz"
    ZST = ".zst"


@dataclass(frozen=True, slots=True)
class InsmodRefusal:
    """How insmod fails: errno, its text as strerror() has it, and the kernel's line in dmesg if any."""

    errno: int
    text: str
    dmesg: str | None = None
