"""Small archives, and the shortest way of getting one into a store."""

from __future__ import annotations

import functools
import hashlib
import io
import lzma
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from kheaders_adb.archive.reader import read_archive
from kheaders_adb.model import (
    Archive,
    ArchiveFacts,
    Check,
    CheckStatus,
    HeaderSource,
    KernelIdentity,
    Level,
    Member,
    MemberKind,
    SourceKind,
    Verdict,
)
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.records import RULES

AUTOCONF = "include/generated/autoconf.h"
FACTS = ArchiveFacts(release="6.1.0", srcarch="x86", config={"SMP": "y", "HZ": "250"})


def headers(files: int = 40, *, variant: int = 0, changed: int = 3) -> dict[str, bytes | str]:
    """A small tree: path → content, or a symlink's target.

    Args:
        files: how many files.
        variant: trees of different variants differ in ``changed`` files.
        changed: how many.
    """
    tree: dict[str, bytes | str] = {}
    for index in range(files):
        own = variant if index < changed else 0
        text = f"/* header {index} of variant {own} */\n" * (1 + index * 37 % 150)
        tree[f"include/part{index % 7}/header{index}.h"] = text.encode()
    tree[AUTOCONF] = f"#define CONFIG_VARIANT {variant}\n".encode()
    tree["include/empty.h"] = b""
    tree["include/linked.h"] = "part0/header0.h"
    return tree


def pack(tree: dict[str, bytes | str]) -> bytes:
    """An archive of these files, as `gen_kheaders.sh` makes them."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folders = {""}
        for path in sorted(tree):
            parts = path.split("/")[:-1]
            for depth in range(len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder and folder not in folders:
                    info = tarfile.TarInfo(f"./{folder}")
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(info)
                folders.add(folder)
            content = tree[path]
            info = tarfile.TarInfo(f"./{path}")
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size, info.mode = len(content), 0o644
                archive.addfile(info, io.BytesIO(content))
    return lzma.compress(raw.getvalue(), check=lzma.CHECK_CRC64, preset=0)


@functools.cache
def packed(variant: int = 0, files: int = 40) -> bytes:
    """The archive of such a small tree."""
    return pack(headers(files, variant=variant))


def stage(
    store: Store,
    data: bytes,
    *,
    facts: ArchiveFacts = FACTS,
    replace: dict[str, bytes] | None = None,
    rules: int = RULES,
) -> tuple[Archive, str]:
    """Stage an archive; returns it and its tree's name."""
    with store.stage() as staging:

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(data), 65536):
                staging.write_archive(data[start : start + 65536])
                yield data[start : start + 65536]

        for member, content in read_archive(chunks(), on_omitted=staging.omit):
            staging.add(member, content)
        for path, content in (replace or {}).items():
            staging.replace(path, content)
        archive = staging.publish(facts, rules=rules)
        assert staging.tree is not None
        return archive, staging.tree


def identity(
    number: int = 0, *, release: str = "6.1.0", boot_id: str | None = "boot-1"
) -> KernelIdentity:
    """One of many kernels, known by its build-id."""
    return KernelIdentity(
        release=release,
        version="#1 SMP",
        machine="x86_64",
        banner=f"Linux version {release}",
        build_id=f"{number:040x}",
        config_sha256=None,
        boot_id=boot_id,
    )


def record(
    kernel: KernelIdentity,
    archive: Archive,
    tree: str,
    *,
    serial: str | None = "device-1",
    staged_at: float = 1000.0,
) -> KernelRecord:
    """A kernel's record."""
    return KernelRecord(
        identity=kernel,
        verdict=Verdict(Level.EXACT, (Check("release", CheckStatus.AGREE, "6.1.0", "6.1.0"),)),
        source=HeaderSource(SourceKind.SYSFS, "/sys/kernel/kheaders.tar.xz"),
        archive=archive,
        tree=tree,
        tool_version="0.1.0",
        serial=serial,
        staged_at=staged_at,
    )


def pull(
    store: Store,
    number: int = 0,
    *,
    data: bytes | None = None,
    variant: int = 0,
    serial: str | None = "device-1",
    staged_at: float = 1000.0,
) -> KernelRecord:
    """Stage and record a kernel."""
    archive, tree = stage(store, packed(variant) if data is None else data)
    made = record(identity(number), archive, tree, serial=serial, staged_at=staged_at)
    store.record(made)
    return made


def digest_of_folder(folder: Path, *, without: tuple[str, ...] = ("tmp", "locks", "sizes")) -> str:
    """A digest over every path, mode, target and content below a folder."""
    hashed = hashlib.sha256()
    for parent, folders, files in os.walk(folder):
        if Path(parent) == folder:
            folders[:] = [name for name in folders if name not in without]
        folders.sort()
        for name in sorted(files) + folders:
            path = Path(parent, name)
            hashed.update(f"{path.relative_to(folder)}\0{path.lstat().st_mode:o}\0".encode())
            if path.is_symlink():
                hashed.update(os.fsencode(path.readlink()))
            elif path.is_file():
                hashed.update(path.read_bytes())
    return hashed.hexdigest()


def litter(store: Store) -> list[str]:
    """What lies in the store's ``tmp``."""
    return sorted(path.name for path in (store.root / "tmp").iterdir())


def files_of(tree: Path) -> dict[str, bytes | str]:
    """What a tree on disk holds, in the form of :func:`headers`."""
    found: dict[str, bytes | str] = {}
    for parent, folders, files in os.walk(tree):
        for name in folders + files:
            path = Path(parent, name)
            relative = str(path.relative_to(tree))
            if path.is_symlink():
                found[relative] = str(path.readlink())
            elif path.is_file():
                found[relative] = path.read_bytes()
    return found


def file_member(path: str, content: bytes) -> Member:
    """A file as the reader yields it."""
    return Member(path, MemberKind.FILE, len(content))
