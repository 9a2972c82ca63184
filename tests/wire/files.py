"""The folders that stand for a device's file system, and the tools that run in them.

A command that a client sends is run by the host's ``sh`` after its absolute paths have been turned into
the device's folder; PATH holds nothing but the tools of a small Android and, for what must lie (id,
uname, insmod, su, …), the scripts of ``device_bin``.  So the client's own shell code is under test, not
an imitation of it.

A device has two such folders: ``root`` is what root sees; ``user`` is what the shell user sees, where
unreadable files have mode 000.  Commands run under one unprivileged host user in both, so that mode 000
means something even if the tests run as root.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from .kernel import Kernel, packed
from .protocol import raw_bytes
from .tools import TOOLS, own, shim, toolbox
from .traits import (
    ARCHIVE_PATH,
    Adbd,
    Banner,
    Dialect,
    Disk,
    Headers,
    InsmodRefusal,
    Packing,
    Su,
    SuQuirk,
)

_TOP_FOLDERS = (
    "bin",
    "data",
    "debug_ramdisk",
    "dev",
    "lib/modules",
    "odm",
    "odm_dlkm",
    "proc",
    "sbin",
    "sdcard",
    "sys",
    "system",
    "system_dlkm",
    "system_ext",
    "tmp",
    "usr",
    "vendor",
    "vendor_dlkm",
)
_DISK_VARIABLES = {
    "FAKE_READ_ONLY": Disk.READ_ONLY,
    "FAKE_FULL": Disk.FULL,
    "FAKE_NO_INODES": Disk.NO_INODES,
}
# Processes are the host's, so /proc/$$, /proc/123 and /proc/self/fd stay what they are.
_PATHS = re.compile(
    r"(?<![\w.*?\]})/-])/(?!proc/(?:\$|\d|self/fd/)|dev/(?:null|zero|full|tty))(?=(?:"
    + "|".join(_TOP_FOLDERS)
    + r""")(?:[/\s"':;)|&<>]|$))"""
)


class DeviceFiles:
    """The file system, shell and tools of one device; `Device` says the rest.

    Args:
        home: an empty folder of its own.
        kernel: the kernel it runs.
        headers: where its archive is.
        uid: whom adbd runs as: 0 or 2000.
        debuggable: ``ro.debuggable``: whether ``adb root`` is granted.
        adbd: which adbd it is.
        su: what its su does; None: it has none.
        su_name: what its su is called in PATH, or its path outside of PATH.
        su_quirk: what else is wrong with it.
        dialect: whose insmod it has.
        without: tools that it lacks, such as "sha256sum" before API 26.
        printk_time: whether the lines of its kernel log have stamps.
        shell_reads_archive: the shell user may read the archive and the notes, as on a lenient build.
        banner: what its shell prints before every command's output.
        umask: adbd's, which commands and pushed folders inherit; real ones have 0, the host's is the default.
        disks: folders whose file system is read-only or full.
    """

    def __init__(
        self,
        home: Path,
        *,
        kernel: Kernel | None = None,
        headers: Headers = Headers.BUILT_IN,
        uid: int = 0,
        debuggable: bool = True,
        adbd: Adbd = Adbd.MODERN,
        su: Su | None = None,
        su_name: str = "su",
        su_quirk: SuQuirk | None = None,
        dialect: Dialect = Dialect.TOYBOX,
        without: tuple[str, ...] = (),
        printk_time: bool = True,
        shell_reads_archive: bool = False,
        banner: Banner = Banner(),  # noqa: B008 - frozen
        umask: int | None = None,
        disks: Mapping[str, Disk] | None = None,
    ) -> None:
        self.home = home
        self.kernel = kernel if kernel is not None else Kernel()
        self.headers = headers
        self.uid = uid
        self.debuggable = debuggable
        self.adbd = adbd
        self.shell_reads_archive = shell_reads_archive
        self.banner = banner
        self.umask = umask
        self.disks = dict(disks or {})
        self._blocks: int | None = None
        self._binaries = toolbox(home.parent, su_name if su is not None else "/", without)
        self._lay_out(dialect, printk_time=printk_time)
        if su is not None:
            self._place_su(su, su_name, su_quirk)
        self._boot()

    @property
    def boot_id(self) -> str:
        """The running boot's id."""
        return (self.root / "proc/sys/kernel/random/boot_id").read_text().strip()

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

    def put_tool(self, name: str, script: str) -> None:
        """Give it a tool of its own in place of what all devices have, which is called ``real-…`` then."""
        folder = self.home / "bin"
        if self._binaries != folder:
            folder.mkdir()
            for tool in self._binaries.iterdir():
                (folder / tool.name).symlink_to(tool)
            self._binaries = folder
            (self.root / "system/bin").unlink()
            (self.root / "system/bin").symlink_to(folder)
        (folder / name).rename(folder / f"real-{name}")
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)

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

    def add_module(
        self,
        path: str,
        kernel: Kernel | None = None,
        packing: Packing = Packing.NONE,
        *,
        crcs_agree: bool = True,
    ) -> bytes:
        """Put a kheaders.ko on the device, packed or not; returns the file.

        As for the kernel, what is packed is no module: insmod says ENOEXEC.

        Args:
            path: where, with the suffix of `packing` if it is to be found by name.
            kernel: whose module; None: the one of the kernel that runs.
            crcs_agree: whether MODVERSIONS lets the kernel take it, as it may take a foreign one.
        """
        whose = kernel if kernel is not None else self.kernel
        file = packed(self.register_module(whose.module, whose), packing)
        if not crcs_agree:
            self.set_state_file(f"modules/{hashlib.sha256(whose.module).hexdigest()}/disagrees", "")
        self.put(path, file)
        return file

    def plant(
        self,
        path: str,
        content: bytes | None = None,
        *,
        link_to: str = "",
        mode: int = 0o777,
        uid: int | None = None,
    ) -> Path:
        """Put what another user left into the way: a file, a link, or without either a folder.

        Args:
            content: of a file.
            link_to: the device path to which a symbolic link leads.
            mode: of the file or folder.
            uid: whose it is, such as `OTHER_UID`; None: of the user that commands run as, like all else.
        """
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if link_to:
            place.symlink_to(self.root / link_to.lstrip("/"))
        elif content is not None:
            place.write_bytes(content)
            place.chmod(mode)
        else:
            place.mkdir()
            place.chmod(mode)
        if uid is None:
            own(place)
        else:
            os.chown(place, uid, uid, follow_symlinks=False)
        return place

    def disk_of(self, place: Path) -> Disk | None:
        """What is wrong with the file system on which a host path of the device lies."""
        real = place.parent.resolve() / place.name
        for folder, disk in self.disks.items():
            if real.is_relative_to(self.root / folder.lstrip("/")):
                return disk
        return None

    def set_state_file(self, name: str, text: str) -> None:
        """Change what a lying tool reads."""
        path = self.files_state / name
        path.write_bytes(raw_bytes(text))
        own(path)

    def register_module(self, module: bytes, kernel: Kernel) -> bytes:
        """Let insmod accept a module as one that holds ``kernel``'s archive; returns the module."""
        folder = self.files_state / "modules" / hashlib.sha256(module).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "release").write_bytes(raw_bytes(kernel.release + "\n"))
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
        self._blocks = blocks

    @property
    def loaded_modules(self) -> str:
        """/proc/modules."""
        return (self.root / "proc/modules").read_text()

    @property
    def kernel_log(self) -> str:
        """What dmesg shows, without stamps."""
        return (self.files_state / "dmesg").read_text()

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
        prologue = "" if self._blocks is None else f"ulimit -f {self._blocks}; "
        for text, stream in ((self.banner.stdout, 1), (self.banner.stderr, 2)):
            prologue += f"printf '%s\\n' {shlex.quote(text)} >&{stream}; " if text else ""
        return prologue + _PATHS.sub(f"{self.view}/", command)

    def environment(self) -> Mapping[str, str]:
        """The environment of a command."""
        faulty = {
            name: ":".join(
                str(self.root / folder.lstrip("/"))
                for folder, disk in self.disks.items()
                if disk is kind
            )
            for name, kind in _DISK_VARIABLES.items()
        }
        return {
            **({"LD_PRELOAD": str(shim(self.home.parent, "disk")), **faulty} if self.disks else {}),
            "PATH": str(self._binaries),
            "FAKE_UID": str(self.uid),
            "FAKE_STATE": str(self.files_state),
            "FAKE_ROOT": str(self.home / "root"),
            "FAKE_USER": str(self.home / "user"),
            "ANDROID_ROOT": "/system",
            "HOME": "/",
            "LC_ALL": "C",
        }

    def _lay_out(self, dialect: Dialect, *, printk_time: bool) -> None:
        for folder in (*_TOP_FOLDERS, "data/local/tmp", "system/lib/modules", "vendor/lib/modules"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "system/bin").symlink_to(self._binaries)
        (self.home / "user").mkdir()
        for name in {folder.partition("/")[0] for folder in _TOP_FOLDERS} - {"proc", "sys"}:
            (self.home / "user" / name).symlink_to(self.root / name)
        self.files_state.mkdir()
        (self.files_state / "modules").mkdir()
        (self.root / "dev/kmsg").symlink_to(self.files_state / "dmesg")
        if not printk_time:
            (self.files_state / "no-printk-time").touch()
        self._own(self.home)
        properties = {
            "ro.debuggable": str(int(self.debuggable)),
            "ro.product.model": "Fake",
            "ro.build.version.sdk": str(self.adbd.sdk),
            "ro.product.cpu.abi": {"aarch64": "arm64-v8a"}.get(self.kernel.machine, "x86_64"),
        }
        self.set_state_file(
            "props", "".join(f"{name}={value}\n" for name, value in properties.items())
        )
        self.set_state_file("insmod-dialect", dialect.value)
        self.set_state_file("modversions", "")

    def _place_su(self, su: Su, name: str, quirk: SuQuirk | None) -> None:
        self.set_state_file("su", su.value)
        self.set_state_file("su-quirk", "" if quirk is None else quirk.value)
        if quirk is SuQuirk.PTY:
            script = shutil.which("script")
            if script is None:
                raise RuntimeError("a su on a pty needs script(1): apt install bsdutils")
            (self.files_state / "on-pty").symlink_to(script)
        if "/" in name:
            self.put(name, (TOOLS / "su").read_bytes(), 0o755)

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
        self.set_state_file("dmesg", "Booting Linux on physical CPU 0x0\n")
        for folder in ("sys/kernel", "sys/module", "proc/sys/kernel/random"):
            (self.root / folder).mkdir(parents=True)
        self.put(
            "/proc/sys/kernel/random/boot_id",
            f"{uuid.UUID(bytes=secrets.token_bytes(16))}\n".encode(),
        )
        self.put("/proc/version", raw_bytes(f"{kernel.banner}\n"))
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
