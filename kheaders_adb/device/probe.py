"""Everything worth knowing about a device's kernel, in one shell round trip.

The script (``scripts/probe.sh``) asks by feature, never by version.  What comes back is taken apart by
`parse_probe`, which is pure.
"""

from __future__ import annotations

import enum
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from kheaders_adb.adb.beginning import TRY_SHELL
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.sync import FileFailedError, receive_file
from kheaders_adb.adb.wire import ServiceFailedError, Wire
from kheaders_adb.device.device import Device
from kheaders_adb.device.script import compose
from kheaders_adb.errors import PrivilegeError, TransferError
from kheaders_adb.kernel.config import split_config
from kheaders_adb.kernel.notes import parse_build_id
from kheaders_adb.model import KernelIdentity, SourceKind
from kheaders_adb.untrusted.text import one_line

ARCHIVE_PATHS = {
    # f7b101d33046 moved it from /proc to /sys before 5.2; vendor backports kept /proc.
    PurePosixPath("/sys/kernel/kheaders.tar.xz"): SourceKind.SYSFS,
    PurePosixPath("/proc/kheaders.tar.xz"): SourceKind.PROC,
}
MODULE_DIRECTORIES = (
    # In order of likelihood on Android; the last ones are other Linux systems'.
    "/system_dlkm/lib/modules",
    "/system/lib/modules",
    "/vendor_dlkm/lib/modules",
    "/vendor/lib/modules",
    "/odm_dlkm/lib/modules",
    "/odm/lib/modules",
    "/lib/modules",
    "/usr/lib/modules",
)
WORK_NAME = "kheaders-adb"
WORK_PLACES = ("/data/local/tmp", "/tmp", "/dev")  # noqa: S108 - a folder of others' is not used
"""Where the work folder may be: Android's place, a recovery's, root's last resort where disks are full."""

_WORK = re.compile(rf"/.*/{WORK_NAME}(\.[0-9]+)?")
_BOOT_ID_PATH = PurePosixPath("/proc/sys/kernel/random/boot_id")
_BINARY_PATHS = (PurePosixPath("/proc/config.gz"), PurePosixPath("/sys/kernel/notes"))
_MAX_BINARY_BYTES = 1024 * 1024
_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class HeadersPlace(enum.StrEnum):
    """Where a device's headers are, in one word."""

    BUILT_IN = "built-in"
    LOADED = "loaded"
    MODULE = "module"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class DeviceFile:
    """A file on the device.

    Attributes:
        path: where it is.
        readable: whether the user of the probe may read it.
    """

    path: PurePosixPath
    readable: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """What one round trip told.

    Attributes:
        identity: the running kernel.
        config: the decompressed ``/proc/config.gz``, or None.
        uid: the effective user id of the shell.
        archives: the archive files that exist.
        modules: the kheaders.ko files that exist, in order of likelihood.
        module_loaded: whether a module "kheaders" is loaded.
        modules_disabled: ``kernel.modules_disabled``; None if unknown.
        works: the folders for temporary files of this tool on the device that this user could make, the
            best one first.
        leftovers: what lies in these and in other users'.
        has_su: whether a ``su`` is on the PATH (asked only when not root).
        debuggable: whether ``adb root`` may work (asked only when not root).
        refusals: why root was not to be had, once that was tried; the probe itself does not know.
        alters_bytes: whether what the shell writes is altered on its way, as by a su on a terminal.
    """

    identity: KernelIdentity
    config: bytes | None
    uid: int | None
    archives: tuple[DeviceFile, ...]
    modules: tuple[DeviceFile, ...]
    module_loaded: bool
    modules_disabled: bool | None
    works: tuple[PurePosixPath, ...]
    leftovers: tuple[str, ...]
    has_su: bool
    debuggable: bool
    refusals: tuple[str, ...] = ()
    alters_bytes: bool = False

    @property
    def work(self) -> PurePosixPath:
        """The work folder; where none can be made, what is said of that names the usual one."""
        return self.works[0] if self.works else PurePosixPath(WORK_PLACES[0], WORK_NAME)

    @property
    def is_root(self) -> bool:
        """Whether the probe ran as root."""
        return self.uid == 0

    @property
    def is_powerless(self) -> bool:
        """Whether root sees the headers and may read none of them: SELinux may give a su such a domain."""
        files = (*self.archives, *self.modules)
        return self.is_root and bool(files) and not any(file.readable for file in files)

    @property
    def place(self) -> HeadersPlace:
        """Where the headers are."""
        if self.archives:
            return HeadersPlace.LOADED if self.module_loaded else HeadersPlace.BUILT_IN
        return HeadersPlace.MODULE if self.modules else HeadersPlace.ABSENT


class ProbeFailedError(TransferError):
    """The device's shell did not run the probe.

    Attributes:
        said: what it said instead, on one line.
    """

    def __init__(self, seen: str, *, said: str, step: str, device: str) -> None:
        super().__init__(seen, step=step, device=device, hint=TRY_SHELL)
        self.said = said


def probe(device: Device, *, deadline: Deadline | None = None) -> Probe:
    """Ask `device` for everything at once.

    Args:
        deadline: a sooner one than the device's own.

    Raises:
        ProbeFailedError: the answer makes no sense.
        DeviceChangedError: it is another boot, or another device, than the last probe's.
        TransferError: the connection broke.
        DeadlineError: no answer in time.
    """
    step = "probing the device"
    mark = f"@{secrets.token_hex(8)}"
    # What a terminal would alter and nothing there can encode, adbd's own file service still gives whole.
    beside = None if device.shell.carries_binary else _read_beside(device, step, deadline)
    result = device.run(
        probe_script(mark), step=step, deadline=deadline, binary=device.shell.carries_binary
    )
    try:
        about = parse_probe(result.stdout, mark, beside)
    except ValueError as error:
        said = one_line(result.stderr.decode("utf-8", "replace"))[:200]
        raise ProbeFailedError(
            f"{error} ({said})" if said else str(error),
            said=said,
            step=step,
            device=device.serial,
        ) from error
    device.require_boot(about.identity.boot_id, step=step)
    return about


def _read_beside(device: Device, step: str, deadline: Deadline | None) -> bytes:
    """What the script's section of binary content holds, as far as adbd itself may read it."""
    found = b""
    for path in _BINARY_PATHS:
        try:
            # A failure ends the connection, so each file has its own; which boot answers there is read there.
            with device.open_service("sync:", step=step, deadline=deadline) as wire:
                boot_id = _receive(wire, _BOOT_ID_PATH)
                content = _receive(wire, path)
        except (PrivilegeError, FileFailedError, ServiceFailedError):
            continue
        device.require_boot(parse_boot_id(boot_id.decode("ascii", "replace")), step=step)
        found += content
    return found


def _receive(wire: Wire, path: PurePosixPath) -> bytes:
    content = b""
    for chunk in receive_file(wire, path):
        content += chunk
        if len(content) > _MAX_BINARY_BYTES:
            raise wire.lost(f"{path} has no end")
    return content


def probe_script(mark: str) -> str:
    """The script whose output `parse_probe` understands; `mark` starts each section."""
    modules = " ".join(
        f"{directory}{pattern}/kheaders.ko*"
        for directory in MODULE_DIRECTORIES
        for pattern in ("", "/*", "/*/kernel/kernel")
    )
    return compose(
        "probe",
        MARK=mark,
        ARCHIVES=" ".join(map(str, ARCHIVE_PATHS)),
        MODULES=modules,
        PLACES=" ".join(WORK_PLACES),
        NAME=WORK_NAME,
    )


def parse_probe(output: bytes, mark: str, binary: bytes | None = None) -> Probe:
    """Take the script's output apart.

    Args:
        output: what it wrote.
        mark: what starts its sections.
        binary: the content of its section "binary", where that came in another way.

    Raises:
        ValueError: it does not hold what the script always writes.
    """
    # A terminal writes CR LF for each LF, of binary content as well: that can be undone without a doubt.
    alters_bytes = b"\r\n" + mark.encode() in output
    if alters_bytes:
        output = output.replace(b"\r\n", b"\n")
    sections = _sections(output, mark.encode())
    if "end" not in sections:
        raise ValueError("the device's shell did not run the probe to its end")
    # The version holds blanks, in pairs before a day below ten: it is what stands before the machine.
    said = _text(sections, "uname")
    release, _, rest = said.partition("\n")
    version, _, machine = rest.rpartition(" ")
    if not version or "\n" in rest:
        raise ValueError(f"uname on the device said {' '.join(said.split()) or 'nothing'!r}")
    config, notes = split_config(sections.get("binary", b"") if binary is None else binary)
    uid = _text(sections, "uid")
    identity = KernelIdentity(
        release=release,
        version=version,
        machine=machine,
        banner=_text(sections, "banner") or None,
        build_id=parse_build_id(notes),
        config_sha256=sha256(config).hexdigest() if config is not None else None,
        boot_id=parse_boot_id(_text(sections, "boot_id")),
    )
    # Paths go back to the device as they came.
    files = _files(_text(sections, "files", "surrogateescape"))
    root = _text(sections, "root").split()
    disabled = _text(sections, "disabled")
    works = [PurePosixPath(line) for line in _text(sections, "work").splitlines()]
    return Probe(
        identity=identity,
        config=config,
        uid=int(uid) if uid.isascii() and uid.isdecimal() else None,
        archives=tuple(file for file in files if file.path in ARCHIVE_PATHS),
        modules=tuple(file for file in files if file.path not in ARCHIVE_PATHS),
        module_loaded=_text(sections, "loaded") == "1",
        modules_disabled=disabled == "1" if disabled else None,
        works=tuple(work for work in works if _WORK.fullmatch(str(work))),
        leftovers=tuple(_text(sections, "ours").splitlines()),
        has_su="su" in root,
        debuggable="1" in root,
        alters_bytes=alters_bytes,
    )


def parse_boot_id(text: str) -> str | None:
    """The boot_id in what a device said; None where that is none."""
    return text.strip() if _BOOT_ID.fullmatch(text.strip()) else None


def _sections(output: bytes, mark: bytes) -> dict[str, bytes]:
    found = {}
    for part in output.split(b"\n" + mark + b" ")[1:]:
        name, _, content = part.partition(b"\n")
        found[name.decode("ascii", "replace").strip()] = content
    return found


def _text(sections: dict[str, bytes], name: str, errors: str = "replace") -> str:
    return sections.get(name, b"").decode("utf-8", errors).strip()


def _files(listed: str) -> list[DeviceFile]:
    files = []
    for line in listed.split("\n"):
        access, _, path = line.partition(" ")
        if path.startswith("/"):
            files.append(DeviceFile(PurePosixPath(path), access == "r"))
    return files
