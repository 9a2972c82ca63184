"""Fake devices: folders that stand for a device's file system, and a real shell that runs in them.

A command that a client sends is run by the host's ``sh`` after its absolute paths have been turned into
the device's folder; PATH holds nothing but the tools of a small Android and, for what must lie (id,
uname, insmod, su, …), the scripts of ``device_bin``.  So the client's own shell code is under test, not
an imitation of it.

A device has two such folders: ``root`` is what root sees; ``user`` is what the shell user sees, where
unreadable files have mode 000.  Commands run under one unprivileged host user in both, so that mode 000
means something even if the tests run as root.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import os
import re
import secrets
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .faults import Channel
from .kernel import Kernel

TOOLS = Path(__file__).parent / "device_bin"
RUNS_AS_UID = 2000 if os.geteuid() == 0 else os.geteuid()

_HOST_TOOLS = """
    awk base64 basename cat chmod cmp cp cut date dd dirname du echo env expr false find grep gzip head kill
    ln ls md5sum mkdir mktemp mv nohup od printf readlink realpath rm rmdir sed seq sh sha256sum sleep sort
    stat sync tail tar tee test timeout touch tr true uniq wc xargs zcat
"""
_TOP_FOLDERS = (
    "bin",
    "data",
    "lib/modules",
    "odm",
    "odm_dlkm",
    "proc",
    "sbin",
    "sdcard",
    "sys",
    "system",
    "system_dlkm",
    "tmp",
    "usr",
    "vendor",
    "vendor_dlkm",
)
# Processes are the host's, so /proc/$$ and /proc/123 stay what they are.
_PATHS = re.compile(
    r"(?<![\w.*?\]})/-])/(?!proc/(?:\$|\d))(?=(?:"
    + "|".join(_TOP_FOLDERS)
    + r""")(?:[/\s"':;)|&<>]|$))"""
)

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
    DENIED = "denied"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class InsmodRefusal:
    """How insmod fails: errno, its text as strerror() has it, and the kernel's line in dmesg if any."""

    errno: int
    text: str
    dmesg: str | None = None


class Device:
    """One fake device.

    Args:
        home: an empty folder of its own.
        serial: its serial number.
        next_transport_id: hands out the server's transport ids, one for each (re)connection.
        kernel: the kernel it runs.
        headers: where its archive is.
        uid: whom adbd runs as: 0 or 2000.
        debuggable: ``ro.debuggable``: whether ``adb root`` is granted.
        su: what its su does; None: it has none.
        features: adbd's features; without ``shell_v2`` it is a device before API 24.
        dialect: whose insmod it has.
        usb: connected by USB (a devpath), else by TCP.
        state: its state at first.
        without: tools that it lacks, such as "sha256sum" before API 26.
        shell_reads_archive: the shell user may read the archive and the notes, as on a lenient build.
        on_change: called when what ``adb devices`` shows of it has changed.
    """

    def __init__(
        self,
        home: Path,
        *,
        serial: str,
        next_transport_id: Callable[[], int],
        kernel: Kernel | None = None,
        headers: Headers = Headers.BUILT_IN,
        uid: int = 0,
        debuggable: bool = True,
        su: Su | None = None,
        features: tuple[str, ...] = SHELL_V2_FEATURES,
        dialect: Dialect = Dialect.TOYBOX,
        usb: bool = True,
        state: State = State.DEVICE,
        without: tuple[str, ...] = (),
        shell_reads_archive: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.serial = serial
        self._next_transport_id = next_transport_id
        self.transport_id = next_transport_id()
        self.present = True
        self.kernel = kernel if kernel is not None else Kernel()
        self.uid = uid
        self.features = features
        self.usb = usb
        self.debuggable = debuggable
        self.headers = headers
        self.shell_reads_archive = shell_reads_archive
        self.root_restart_s = 0.1
        self.home = home
        self._state = state
        self._prologue = ""
        self._on_change = on_change
        self._channels: set[Channel] = set()
        self.running: set[int] = set()  # process groups of shells; none of them outlives a reboot
        self._lock = threading.Lock()
        self._binaries = _toolbox(home.parent, su is not None, without)
        self._lay_out(su, dialect)
        self._boot()

    # --- what adb shows

    @property
    def state(self) -> State:
        """Its state."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        if state is not State.DEVICE:
            self.drop_connections()
        self._on_change()

    @property
    def crlf(self) -> bool:
        """Before the shell protocol every shell had a PTY, whose line discipline adds carriage returns."""
        return "shell_v2" not in self.features

    @property
    def boot_id(self) -> str:
        """The running boot's id."""
        return (self.root / "proc/sys/kernel/random/boot_id").read_text().strip()

    # --- its file system

    @property
    def root(self) -> Path:
        """The file system as root sees it."""
        return self.home / "root"

    @property
    def view(self) -> Path:
        """The file system as adbd sees it."""
        return self.root if self.uid == 0 else self.home / "user"

    @property
    def shell(self) -> Path:
        """Its shell."""
        return self._binaries / "sh"

    @property
    def files_state(self) -> Path:
        """What the lying tools read."""
        return self.home / "state"

    def host_path(self, path: str) -> Path:
        """A device path's place on the host, as adbd sees it."""
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        return self.view.joinpath(*parts)

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Put a file on the device."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)  # what is there may be read-only
        place.write_bytes(content)
        place.chmod(mode)
        self._own(place.parent)

    def set_state_file(self, name: str, text: str) -> None:
        """Change what a lying tool reads."""
        path = self.files_state / name
        path.write_text(text)
        own(path)

    def register_module(self, module: bytes, kernel: Kernel) -> bytes:
        """Let insmod accept a module as one that holds ``kernel``'s archive; returns the module."""
        folder = self.files_state / "modules" / hashlib.sha256(module).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "release").write_text(kernel.release + "\n")
        (folder / "archive.tar.xz").write_bytes(kernel.archive)
        self._own(folder)
        return module

    def refuse_insmod(self, refusal: InsmodRefusal | None) -> None:
        """Let every insmod fail in this way."""
        text = (
            "" if refusal is None else f"{refusal.errno}\n{refusal.text}\n{refusal.dmesg or ''}\n"
        )
        self.set_state_file("insmod-refusal", text)

    def limit_files(self, blocks: int) -> None:
        """Let no command write a file of more than so many blocks of 512 bytes, as on a full disk."""
        self._prologue = f"ulimit -f {blocks}; "

    @property
    def loaded_modules(self) -> str:
        """/proc/modules."""
        return (self.root / "proc/modules").read_text()

    def leftovers(self) -> list[str]:
        """What lies in /data/local/tmp, sorted."""
        place = self.root / "data/local/tmp"
        # os.walk, unlike rglob, does not mind that a script on the device is cleaning up meanwhile.
        return sorted(
            str((Path(here) / name).relative_to(place))
            for here, folders, files in os.walk(place)
            for name in (*folders, *files)
        )

    # --- what its shell needs

    def translate(self, command: str) -> str:
        """A command with its absolute paths turned into the device's folder."""
        return self._prologue + _PATHS.sub(f"{self.view}/", command)

    def environment(self) -> Mapping[str, str]:
        """The environment of a command."""
        return {
            "PATH": str(self._binaries),
            "FAKE_UID": str(self.uid),
            "FAKE_STATE": str(self.files_state),
            "FAKE_ROOT": str(self.home / "root"),
            "FAKE_USER": str(self.home / "user"),
            "ANDROID_ROOT": "/system",
            "HOME": "/",
            "LC_ALL": "C",
        }

    # --- what happens to it

    def attach(self, channel: Channel) -> None:
        """A connection talks to this device now."""
        with self._lock:
            self._channels.add(channel)

    def detach(self, channel: Channel) -> None:
        """The connection is over."""
        with self._lock:
            self._channels.discard(channel)

    def drop_connections(self, but: Channel | None = None) -> None:
        """End every conversation with this device, as when adbd ends."""
        with self._lock:
            channels = [channel for channel in self._channels if channel is not but]
        for channel in channels:
            channel.abort()

    def reboot(
        self, kernel: Kernel | None = None, *, down_s: float = 0.0, same_transport: bool = False
    ) -> None:
        """Start again, with another kernel if given; conversations end, nothing stays loaded.

        The device is gone for ``down_s`` and comes back under a new boot_id, and under a new transport id
        unless a relay in between hid its absence (``same_transport``).
        """
        self.present = False
        for group in tuple(self.running):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        self.drop_connections()
        self._on_change()
        if kernel is not None:
            self.kernel = kernel
        self._boot()
        time.sleep(down_s)
        if not same_transport:
            self.transport_id = self._next_transport_id()
        self.present = True
        self._on_change()

    def unplug(self) -> None:
        """The cable is pulled: gone from the list, every conversation ends."""
        self.present = False
        self.drop_connections()
        self._on_change()

    def restart_adbd(self, uid: int, *, but: Channel | None = None) -> None:
        """adbd ends and comes back as another user, after `root_restart_s`, under a new transport id."""
        self.drop_connections(but)
        self.present = False
        self._on_change()
        time.sleep(self.root_restart_s)
        self.uid = uid
        self.transport_id = self._next_transport_id()
        self.present = True
        self._on_change()

    # --- construction

    def _lay_out(self, su: Su | None, dialect: Dialect) -> None:
        for folder in (*_TOP_FOLDERS, "data/local/tmp", "system/lib/modules", "vendor/lib/modules"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "system/bin").symlink_to(self._binaries)
        (self.home / "user").mkdir()
        for name in {folder.partition("/")[0] for folder in _TOP_FOLDERS} - {"proc", "sys"}:
            (self.home / "user" / name).symlink_to(self.root / name)
        self.files_state.mkdir()
        (self.files_state / "modules").mkdir()
        self._own(self.home)
        properties = {
            "ro.debuggable": str(int(self.debuggable)),
            "ro.product.model": "Fake",
            "ro.build.version.sdk": "34" if "shell_v2" in self.features else "22",
            "ro.product.cpu.abi": {"aarch64": "arm64-v8a"}.get(self.kernel.machine, "x86_64"),
        }
        self.set_state_file(
            "props", "".join(f"{name}={value}\n" for name, value in properties.items())
        )
        self.set_state_file("insmod-dialect", dialect.value)
        self.set_state_file("modversions", "")
        if su is not None:
            self.set_state_file("su", su.value)

    def _boot(self) -> None:
        kernel = self.kernel
        for view in ("root", "user"):
            for folder in ("sys", "proc"):
                shutil.rmtree(self.home / view / folder, ignore_errors=True)
        for name, value in (
            ("release", kernel.release),
            ("version", kernel.version),
            ("machine", kernel.machine),
        ):
            self.set_state_file(name, value + "\n")
        self.set_state_file("dmesg", "[    0.000000] Booting Linux on physical CPU 0x0\n")
        for folder in ("sys/kernel", "sys/module", "proc/sys/kernel/random"):
            (self.root / folder).mkdir(parents=True)
        self.put(
            "/proc/sys/kernel/random/boot_id",
            f"{uuid.UUID(bytes=secrets.token_bytes(16))}\n".encode(),
        )
        self.put("/proc/version", f"{kernel.banner}\n".encode())
        self.put("/proc/config.gz", kernel.config_gz)
        self.put("/proc/self/status", b"Name:\tsh\nUid:\t0\t0\t0\t0\n")
        self.put("/proc/modules", b"bluetooth 815104 3 - Live 0x0000000000000000\n")
        self.put("/sys/kernel/notes", kernel.notes, 0o444)
        self.register_module(kernel.module, kernel)
        if self.headers is Headers.MODULE:
            self.put("/vendor/lib/modules/kheaders.ko", kernel.module)
        if self.headers is Headers.BUILT_IN:
            self.put(ARCHIVE_PATH, kernel.archive, 0o444)
        elif self.headers is Headers.PROC:
            self.put("/proc/kheaders.tar.xz", kernel.archive, 0o444)
        self._own(self.root)
        self._lay_out_user()

    def _lay_out_user(self) -> None:
        user = self.home / "user"
        (user / "proc/self").mkdir(parents=True)
        (user / "proc/self/status").write_text("Name:\tsh\nUid:\t2000\t2000\t2000\t2000\n")
        (user / "proc/sys").symlink_to(self.root / "proc/sys")
        (user / "sys/kernel").mkdir(parents=True)
        (user / "sys/module").symlink_to(self.root / "sys/module")
        for folder in ("proc", "sys/kernel"):
            for theirs in (self.root / folder).iterdir():
                if theirs.is_file():
                    self._show_user(theirs, user / folder / theirs.name)
        self._own(user / "proc")
        self._own(user / "sys")

    def _show_user(self, theirs: Path, ours: Path) -> None:
        """Let the shell user see a file of root's: the file itself, or its name alone."""
        if theirs.name in ("kheaders.tar.xz", "notes") and not self.shell_reads_archive:
            ours.touch()
            ours.chmod(0o000)
        else:
            os.link(theirs, ours)

    def _own(self, folder: Path) -> None:
        if os.geteuid() != 0:
            return
        for here, folders, files in os.walk(folder):
            for name in (".", *folders, *files):
                own(Path(here, name))


@functools.cache
def _host_tools() -> tuple[tuple[str, str], ...]:
    """The host's tools that a device has as well: name and path."""
    names = _HOST_TOOLS.split()
    return tuple((name, found) for name in names if (found := shutil.which(name)) is not None)


def _toolbox(place: Path, with_su: bool, without: tuple[str, ...]) -> Path:
    """The folder of tools below ``place``, shared by all devices that have the same ones."""
    folder = place / "-".join(["bin", *(["su"] if with_su else []), *without])
    if folder.is_dir():
        return folder
    folder.mkdir()
    for name, found in _host_tools():
        if name not in without:
            (folder / name).symlink_to(found)
    for script in TOOLS.iterdir():
        if script.name not in without and (script.name != "su" or with_su):
            # Copied, as the checkout may lie where only its owner can go.
            shutil.copy(script, folder)
            (folder / script.name).chmod(0o755)
    return folder


def own(path: Path) -> None:
    """Give a file to the user that commands run as."""
    if os.geteuid() == 0:
        os.chown(path, RUNS_AS_UID, RUNS_AS_UID, follow_symlinks=False)
