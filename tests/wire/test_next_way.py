"""The first way that fails is not the end: the next one is taken, and what was skipped is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.device.probe import WORK_PLACES
from kheaders_adb.errors import MismatchError, ModuleRefusedError
from kheaders_adb.model import Level, SourceKind, Via

from .client import pull
from .devices import Disk, Headers, InsmodRefusal, SyncAccess
from .kernel import Kernel
from .server import Server

KERNEL = Kernel()
OTHERS = replace(KERNEL, release="6.1.99-android14-11", seed=2)


@pytest.mark.parametrize("access", [SyncAccess.DENIED, SyncAccess.CLOSED])
def test_where_adbds_file_service_is_closed_the_shell_reads(
    server: Server, tmp_path: Path, access: SyncAccess
) -> None:
    phone = server.add_device("PHONE", sync_access=access)
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert staged.archive.sha256 == phone.kernel.archive_sha256
    assert any(note.startswith("skipped, ") for note in staged.notes), staged.notes


def test_the_right_one_of_several_modules_is_found(server: Server, tmp_path: Path) -> None:
    """The first in order is another kernel's: it is seen to be so, and never inserted."""
    phone = server.add_device("PHONE", headers=Headers.ABSENT)
    phone.add_module("/vendor_dlkm/lib/modules/kheaders.ko", OTHERS)
    phone.add_module("/vendor/lib/modules/kheaders.ko")
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert (staged.verdict.level, staged.source.kind) == (Level.EXACT, SourceKind.MODULE_LOADED)
    assert staged.source.path == "/vendor/lib/modules/kheaders.ko"
    assert any("before it is inserted" in note for note in staged.notes), staged.notes


def test_where_none_fits_the_mismatch_is_told(server: Server, tmp_path: Path) -> None:
    phone = server.add_device("PHONE", headers=Headers.ABSENT)
    phone.add_module("/vendor_dlkm/lib/modules/kheaders.ko", OTHERS)
    phone.put("/vendor/lib/modules/kheaders.ko", b"no module")
    with pytest.raises(MismatchError) as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert any("tried as well" in note for note in caught.value.__notes__)
    assert "kheaders " not in phone.loaded_modules


@pytest.mark.parametrize("disk", list(Disk))
def test_where_one_folder_cannot_be_used_another_is(
    server: Server, tmp_path: Path, disk: Disk
) -> None:
    phone = server.add_device("PHONE", headers=Headers.ABSENT, disks={"/data": disk})
    module = tmp_path / "kheaders.ko"
    module.write_bytes(phone.kernel.module)
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=20, module=module)
    assert (staged.verdict.level, staged.source.kind) == (Level.EXACT, SourceKind.MODULE_LOADED)
    assert phone.leftovers() == []


REFUSED = InsmodRefusal(
    129, "Key was rejected by service", "Loading of unsigned module is rejected"
)
LOCKDOWN = InsmodRefusal(
    1,
    "Operation not permitted",
    "Lockdown: insmod: unsigned module loading is restricted; see man kernel_lockdown.7",
)
SELINUX = InsmodRefusal(
    13,
    "Permission denied",
    'audit: type=1400 audit(1700000000.1:33): avc:  denied  { module_load } for  pid=4 comm="insmod" '
    'path="/data/local/tmp/kheaders.ko" dev="dm-40" ino=3 scontext=u:r:su:s0 '
    "tcontext=u:object_r:shell_data_file:s0 tclass=system permissive=0",
)
ANOTHER = InsmodRefusal(
    8, "Exec format error", "kheaders: disagrees about version of symbol module_layout"
)


@pytest.mark.parametrize(
    ("refusal", "brought", "folders"),
    [
        (LOCKDOWN, True, 1),
        (LOCKDOWN, False, 1),
        (SELINUX, True, len(WORK_PLACES)),  # the label of what is brought is its folder's
        (SELINUX, False, 1),
    ],
    ids=["lockdown, brought", "lockdown", "selinux, brought", "selinux"],
)
def test_another_folder_is_tried_only_where_the_first_may_be_to_blame(
    server: Server, tmp_path: Path, refusal: InsmodRefusal, brought: bool, folders: int
) -> None:
    phone = server.add_device("PHONE", headers=Headers.ABSENT if brought else Headers.MODULE)
    phone.refuse_insmod(refusal)
    module = tmp_path / "kheaders.ko"
    module.write_bytes(phone.kernel.module)
    changes: list[str] = []
    staged = pull(
        server.port,
        tmp_path / "store",
        serial=None,
        timeout_s=20,
        module=module if brought else None,
        on_change=changes.append,
    )
    assert staged.source.kind is SourceKind.MODULE_CARVED
    assert phone.kernel_log.count(refusal.dmesg or "") == folders
    assert len(changes) == 1
    assert len([note for note in staged.notes if note.startswith("skipped, ")]) == 1, staged.notes


def test_a_module_that_is_refused_for_its_signature_is_carved(
    server: Server, tmp_path: Path
) -> None:
    phone = server.add_device("PHONE", headers=Headers.MODULE)
    phone.refuse_insmod(REFUSED)
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert (staged.verdict.level, staged.source.kind) == (Level.EXACT, SourceKind.MODULE_CARVED)
    with pytest.raises(ModuleRefusedError):
        pull(server.port, tmp_path / "another", serial=None, timeout_s=20, via=Via.LOAD)


def test_a_module_that_the_kernel_knows_to_be_anothers_is_not(
    server: Server, tmp_path: Path
) -> None:
    """Its configuration may agree; its checksums do not, so its headers are another build's."""
    phone = server.add_device("PHONE", headers=Headers.MODULE)
    phone.refuse_insmod(ANOTHER)
    with pytest.raises(ModuleRefusedError, match="checksum"):
        pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
