"""Every kernel of the lab against every archive, and twins of both that lie: what match says of them.

``make matrix`` prints it.  Each kernel is booted once, to record what it says of itself.  The match is pure,
so the rest needs no device.  docs/matching.md has the table, and tests/lab/test_matrix.py holds both to it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fixtures.archives.rewrite import rewritten
from fixtures.lab import Device as LabDevice
from fixtures.lab import Lab
from fixtures.lab.errors import HostPackagesMissing, LabMissing
from fixtures.lab.kernels import CATALOGUE
from fixtures.lab.model import KernelImage
from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.archive.carve import carve
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import probe
from kheaders_adb.errors import ArchiveError
from kheaders_adb.kernel.autoconf import AUTOCONF
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.facts import FactCollector
from kheaders_adb.kernel.match import match
from kheaders_adb.model import ArchiveFacts, KernelIdentity, Level
from kheaders_adb.pipeline.ensure import ensure
from kheaders_adb.store import Store

REFUSED = "refused"
MISMATCH = Level.MISMATCH.value
_SHOWN = {MISMATCH: "·"}
_MAIN, _TWIN = "x86_64-module", "x86_64-twin"
_RELEASE = "include/generated/utsrelease.h"

Cells = dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Said:
    """What a kernel says of itself."""

    identity: KernelIdentity
    config: bytes | None


_SAME = frozenset({_MAIN, "x86_64-builtin"})
"""One source and one configuration: the second is the first, turned to IKHEADERS=y in its build folder."""
LIARS = (
    "with the twin's config.gz",
    "with another Linux's config.gz",
    "without config.gz",
    "uname -r spoofed",
)
"""x86_64-module as it looks where somebody changed what it says."""

# What nothing that is compared here can tell; docs/matching.md says what can.
LIMITS: dict[tuple[str, str], str] = {
    **{
        (twin, kernel): "exact"
        for twin in ("other source", "stale bounds.h")
        for kernel in sorted(_SAME)
    },
    (_TWIN, LIARS[0]): "exact",
    (_MAIN, LIARS[0]): MISMATCH,
    ("x86_64-builtin", LIARS[0]): MISMATCH,
}


def belongs(archive: str, kernel: str) -> bool:
    """Whether an archive is of the kernel that runs, whatever that says of itself."""
    return archive == kernel or (archive in _SAME and kernel in (*_SAME, *LIARS))


@dataclass(frozen=True, slots=True)
class Record:
    """What was read of the lab: kernels and archives, and why others are not among them."""

    kernels: Mapping[str, Said]
    archives: Mapping[str, bytes]
    left_out: tuple[LabMissing | HostPackagesMissing, ...]


def record(lab: Lab, scratch: Path) -> Record:
    """Boot each kernel that is there once, and collect the archives."""
    kernels: dict[str, Said] = {}
    archives: dict[str, bytes] = {}
    left_out = []
    for name, entry in CATALOGUE.items():
        try:
            image = lab.kernel(name)
            device = lab.boot(image) if entry.bootable else None
        except (LabMissing, HostPackagesMissing) as error:
            left_out.append(error)
            continue
        packed = archive_of(image)
        if device is not None:
            kernels[name] = ask(device)
            if packed is None and name != "x86_64-plain":  # which has none
                packed = read_from(device, scratch / name)
            lab.release(device)
        if packed is not None:
            archives[name] = packed
    return Record(kernels, archives, tuple(left_out))


def cells_of(recorded: Record) -> Cells:
    """The level of each archive for each kernel, those that lie among them."""
    return compare(with_liars(recorded.kernels), with_twins(recorded.archives))


def main() -> int:
    """Print the table of what there is."""
    with Lab() as lab, tempfile.TemporaryDirectory() as scratch:
        recorded = record(lab, Path(scratch))
    for error in recorded.left_out:
        print(f"left out: {error}", file=sys.stderr)
    print("\n".join(table(cells_of(recorded))))
    return 0


def ask(device: LabDevice) -> Said:
    """What a booted kernel says, by the probe of every pull."""
    about = probe(_device(device))
    return Said(about.identity, about.config)


def read_from(device: LabDevice, scratch: Path) -> bytes:
    """The archive that a booted kernel shows."""
    store = Store.open(scratch)
    staged = ensure(_device(device), store)
    return store.archive_path(staged.archive.sha256).read_bytes()


def archive_of(image: KernelImage) -> bytes | None:
    """The archive in a kernel's files; None where only the running kernel shows it."""
    if image.archive is not None:
        return image.archive.read_bytes()
    return None if image.kheaders_ko is None else carve(image.kheaders_ko.read_bytes()).archive


def with_liars(kernels: Mapping[str, Said]) -> dict[str, Said]:
    """The kernels, and what x86_64-module may say where somebody changed it."""
    found = dict(kernels)
    if (honest := kernels.get(_MAIN)) is None or honest.config is None:
        return found
    twin = b"".join(
        (
            honest.config.replace(b"# CONFIG_TASKSTATS is not set\n", b"CONFIG_TASKSTATS=y\n"),
            b"CONFIG_TASK_DELAY_ACCT=y\n# CONFIG_TASK_XACCT is not set\nCONFIG_SCHED_INFO=y\n",
        )
    )
    other = honest.config.replace(b" 6.1.", b" 6.6.", 1)
    unknown = replace(honest.identity, config_sha256=None)
    spoofed = replace(honest.identity, release="6.6.30")
    changed = (Said(honest.identity, twin), Said(honest.identity, other), Said(unknown, None))
    found |= zip(LIARS, (*changed, Said(spoofed, honest.config)), strict=True)
    return found


def with_twins(archives: Mapping[str, bytes]) -> dict[str, ArchiveFacts | None]:
    """What the archives say, and what twins of x86_64-module's say; None for one that is refused."""
    made: dict[str, bytes] = dict(archives)
    if own := archives.get(_MAIN):
        made["other source"] = _changed(
            own, "include/linux/sched.h", lambda text: text.replace(b"{", b"{\nlong other;\n", 1)
        )
        made["stale bounds.h"] = _changed(
            own,
            "include/generated/bounds.h",
            lambda text: re.sub(rb"(MAX_NR_ZONES) \d", rb"\1 9", text),
        )
        made["forged release"] = _changed(
            own, _RELEASE, lambda text: text.replace(b"-lab", b"-other")
        )
        made["odd autoconf.h"] = _changed(own, AUTOCONF, lambda text: text + b"#undef CONFIG_SMP\n")
    if foreign := archives.get("x86_64-foreign-release"):
        made["another's, under this release"] = _changed(
            foreign, _RELEASE, lambda text: text.replace(b"-other", b"-lab")
        )
    return {name: _facts(data) for name, data in made.items()}


def compare(kernels: Mapping[str, Said], archives: Mapping[str, ArchiveFacts | None]) -> Cells:
    """The level of each archive for each kernel."""
    cells = {}
    for kernel, said in kernels.items():
        config = None if said.config is None else parse_config(said.config)
        for archive, facts in archives.items():
            verdict = None if facts is None else match(said.identity, config, facts)
            cells[archive, kernel] = REFUSED if verdict is None else verdict.level.value
    return cells


def table(cells: Cells) -> list[str]:
    """The table as Markdown: a row an archive, a column a kernel."""
    kernels = list(dict.fromkeys(kernel for _, kernel in cells))
    rows = [("archive \\ kernel", *kernels), ("---",) * (len(kernels) + 1)]
    for archive in dict.fromkeys(archive for archive, _ in cells):
        levels = ((kernel, cells[archive, kernel]) for kernel in kernels)
        rows += [(archive, *(shown(level, archive, kernel) for kernel, level in levels))]
    return ["| " + " | ".join(row) + " |" for row in rows]


def shown(level: str, archive: str, kernel: str) -> str:
    """A level as the table has it: a dot for a mismatch, a star where it is not the truth."""
    limit = (archive, kernel) in LIMITS
    return _SHOWN.get(level, level) + ("*" if limit else "")


def _changed(archive: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    def at(path: str, content: bytes) -> bytes:
        if path != name:
            return content
        assert change(content) != content, f"{name} is not what this is made for"
        return change(content)

    return rewritten(archive, at)


def _facts(archive: bytes) -> ArchiveFacts | None:
    collector = FactCollector()
    try:
        for member, content in read_archive((archive,)):
            collector.add(member.path, content)
        return collector.facts()
    except ArchiveError:
        return None


def _device(device: LabDevice) -> Device:
    server = AdbServer(ServerAddress("127.0.0.1", device.adb_server_port), start=False)
    return Device.select(server, Selection(serial=device.serial), Deadline.after(120))


if __name__ == "__main__":
    sys.exit(main())
