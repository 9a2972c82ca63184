"""The store as programs see it; what the commands for it do, as methods."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from kheaders_adb import settings, store
from kheaders_adb.api import arguments
from kheaders_adb.api.kept import Collected, Part, StagedKernel
from kheaders_adb.errors import UsageError
from kheaders_adb.pipeline.named import Named, judged_today, require_tree
from kheaders_adb.untrusted import host_file

if TYPE_CHECKING:
    from kheaders_adb.api.arguments import AdbutilsDevice, Server
    from kheaders_adb.device.device import Device
    from kheaders_adb.store.upkeep.verify import Verified


@dataclass(frozen=True, slots=True, init=False)
class Store:
    """A store of header trees on this host, by its folder.

    Only `import_`, and `ensure` with it, make a store that is not there; to all others it is an empty one.
    KERNEL is the same as on the command line: ``latest`` (the one last staged or found for a device; if
    there is none, imported), ``@SERIAL``, a release or its beginning if only one kernel has it, or at least 4
    digits of a key.

    Args:
        folder: its folder; None for ``$KHEADERS_ADB_STORE`` or the user's cache, as the command line has it.

    Attributes:
        folder: its folder, whole.

    Raises:
        UsageError: `folder` is no path, or starts from a working folder that has been removed.

    Guarantees:
        It holds nothing open: it may be used by several threads and processes at once, pickled and compared.
        Whatever is handed to its methods, they raise nothing but `KheadersError` on purpose.
    """

    folder: Path

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        named = settings.store_path(arguments.path_of(folder, "folder"))
        object.__setattr__(self, "folder", host_file.absolute(named, step="opening the store"))

    def __fspath__(self) -> str:
        """Its folder, so that it stands wherever that may."""
        return str(self.folder)

    def list(self) -> tuple[StagedKernel, ...]:
        """The staged kernels, the newest first.

        Files among the records that are no records are left out; `verify` names them.

        Raises:
            StoreError: the disk failed, or this is no store.
        """
        opened = self._open()
        pinned = opened.pinned()
        found = (judged_today(opened, record, to_use=False) for record in opened.records())
        return tuple(_told(opened, named, pinned) for named in found)

    def find(self, kernel: str = "latest") -> StagedKernel:
        """One staged kernel, and the verdict on its headers, whatever that is.

        Args:
            kernel: a KERNEL.

        Raises:
            UsageError: no kernel is meant, or several are.
            StoreError: its record is broken, the disk failed, or this is no store.
        """
        opened = self._open()
        record = opened.resolve(_kernel(kernel))
        return _told(opened, judged_today(opened, record, to_use=False), opened.pinned())

    def path(self, kernel: str = "latest") -> Path:
        """The tree of a staged kernel, to be used.

        Nothing keeps it from `gc`, or from somebody who removes the kernel, while it is used.

        Args:
            kernel: a KERNEL.

        Raises:
            UsageError: no kernel is meant, or several are.
            MismatchError, ArchiveError: judged by today's rules, the headers do not belong to the kernel or
                are refused; what was staged as a mismatch on demand is not.
            StoreError: the tree is not there, its record is broken, the disk failed, or this is no store.
        """
        opened = self._open()
        record = opened.resolve(_kernel(kernel))
        return require_tree(opened, judged_today(opened, record, to_use=True).record)

    def verify(self, kernel: str | None = None, *, repair: bool = False) -> Verified:
        """Compare staged trees, file by file, with the digests recorded when they were staged.

        Args:
            kernel: a KERNEL; None for everything in the store.
            repair: mend what is wrong from the stored archives, and take out what cannot be mended, so that
                the next pull stages it anew.

        Returns:
            What was looked at, what was wrong, and what was repaired.

        Raises:
            UsageError: no kernel is meant, or several are.
            StoreError: its record is broken, the disk failed, or this is no store.
        """
        from kheaders_adb.archive.reader import read_archive
        from kheaders_adb.store.upkeep import verify

        opened = self._open()
        records = None if kernel is None else [opened.resolve(_kernel(kernel))]
        return verify.verify(opened, records, repair_with=read_archive if repair else None)

    def gc(
        self,
        *,
        max_age_s: float | None = None,
        max_size_bytes: int | None = None,
        max_kernels: int | None = None,
        keep_latest: int = 0,
        dry_run: bool = False,
    ) -> Collected:
        """Remove kernels by age, size or number, those used least recently first.

        Without a limit only litter goes: what killed runs left, and what no kernel refers to.

        Args:
            max_age_s: remove what was not used for so many seconds.
            max_size_bytes: shrink the store to this size.
            max_kernels: keep at most so many kernels.
            keep_latest: keep so many of the newest of each device in any case.
            dry_run: only tell what would be removed.

        Raises:
            UsageError: a limit is no number from 0 up.
            StoreError: the disk failed, or this is no store.

        Guarantees:
            Kernels that are pinned or in use stay, and so does what a running pull is about to record.
        """
        from kheaders_adb.store.upkeep.gc import Policy, collect

        policy = Policy(
            max_age_s=None if max_age_s is None else arguments.seconds(max_age_s, "max_age_s"),
            max_size_bytes=arguments.whole(max_size_bytes, "max_size_bytes"),
            max_kernels=arguments.whole(max_kernels, "max_kernels"),
            keep_latest_per_device=arguments.whole(keep_latest, "keep_latest") or 0,
        )
        opened = self._open()
        done = collect(opened, policy, dry_run=dry_run)
        return Collected(
            # None of them is pinned, and of what is gone nothing can be judged again.
            removed=tuple(_told(opened, Named(record), ()) for record in done.removed),
            kept=done.kept,
            litter=done.litter,
            freed_bytes=done.freed_bytes,
            broken=tuple(found.path for found in done.broken),
        )

    def export(self, kernel: str, output: str | Path, *, what: Part | str = Part.ARCHIVE) -> Path:
        """Copy a kernel's archive, its tree or its configuration out of the store.

        Args:
            kernel: a KERNEL.
            output: the file, which must not be there; for a tree a folder, which is new or empty.
            what: ``archive``, byte for byte as it was read; ``tree``, as ordinary writable files; or
                ``config``, packed as ``/proc/config.gz`` is.

        Returns:
            `output`.

        Raises:
            UsageError: no kernel is meant, or several are; or `output` is there already, or cannot be made.
            MismatchError, ArchiveError: of a tree, as for `path`.
            StoreError: what is wanted is missing or damaged, a disk failed, or this is no store.

        Guarantees:
            `output` appears complete and checked against its sha256, or not at all.
        """
        from kheaders_adb.store.upkeep.export import export_archive, export_config, export_tree

        part = arguments.choice(Part, what, "what")
        target = arguments.required_path(output, "output")
        opened = self._open()
        record = opened.resolve(_kernel(kernel))
        record = judged_today(opened, record, to_use=part is Part.TREE).record
        match part:
            case Part.ARCHIVE:
                export_archive(opened, record, target)
            case Part.TREE:
                export_tree(opened, record, target)
            case Part.CONFIG:
                export_config(opened, record, target)
            case _:
                assert_never(part)
        return target

    def import_(
        self,
        file: str | Path,
        *,
        device: str | AdbutilsDevice | Device | None = None,
        server: Server | None = None,
        config: str | Path | None = None,
        release: str | None = None,
        allow_mismatch: bool = False,
        repair_config: bool = False,
        timeout_s: float | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> StagedKernel:
        """Stage an archive that is already on this host.

        It is matched with the kernel that a device runs, else with `config` and `release`; without any of
        them its verdict is ``unmatched``.

        Args:
            file: a kheaders.tar.xz.
            device: a device that runs its kernel, as for `ensure`; None for none.
            server: the device's adb server, as for `ensure`.
            config: the kernel's configuration, a file, plain or gzipped.
            release: the kernel's release.
            allow_mismatch: stage it even if it does not fit, marked as such.
            repair_config: where only the configuration differs, stage it with autoconf.h regenerated.
            timeout_s: seconds for what the device is asked; None for two minutes.
            on_note: told, in sentences, what should be known.

        Returns:
            The kernel that it is staged for.

        Raises:
            UsageError: a file is not there or of another kind, or two kernels are named.
            MismatchError: the archive does not belong to that kernel.
            ArchiveError: it is damaged or unsafe.
            DeviceError, TransferError: of the device.
            StoreError: the disk failed, or this is no store.
        """
        from kheaders_adb.importing.claim import claim_of
        from kheaders_adb.importing.from_archive import import_archive, require_archive
        from kheaders_adb.pipeline.options import Tolerance

        if device is None and server is not None:
            raise UsageError(
                "the server is for a device, and none is named",
                hint="name the device, or leave the server out",
            )
        archive = arguments.required_path(file, "file")
        # Before anything else: a mistake in its name makes no store.
        require_archive(archive)
        with arguments.finding(device, server, timeout_s) as (find, _):
            claim, serial = claim_of(
                None if device is None else find,
                arguments.path_of(config, "config"),
                arguments.text_of(release, "release"),
            )
        opened = store.Store.open(self.folder)
        record = import_archive(
            archive,
            opened,
            claim,
            serial=serial,
            tolerance=Tolerance.of(allow_mismatch=allow_mismatch, repair_config=repair_config),
            on_note=on_note,
        )
        # Read again, since it counts as used now.
        record = opened.find_kernel(record.key) or record
        return _told(opened, Named(record), opened.pinned())

    def _open(self) -> store.Store:
        return store.Store.open(self.folder, create=False)


def _kernel(kernel: str) -> str:
    return arguments.text_of(kernel, "kernel") or ""


def _told(opened: store.Store, named: Named, pinned: Collection[str]) -> StagedKernel:
    record = named.record
    return StagedKernel(
        key=record.key,
        kernel=record.identity,
        verdict=record.verdict,
        source=record.source,
        archive=record.archive,
        tree=opened.tree_path(record.tree),
        serial=record.serial,
        staged_at=record.staged_at,
        last_used_at=record.last_used_at,
        pinned=record.key in pinned,
        unjudged=None if named.error is None else str(named.error),
    )
