"""Every way in which a kernel refuses kheaders.ko, as the user reads it: golden messages.

The texts of the tools and the kernel are those that were measured on kernels built for this project
(toybox, busybox) or read in kernel and kmod sources (signatures, kmod).  ``KHEADERS_UPDATE_GOLDEN=1`` writes
the golden file anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from kheaders_adb.errors import KheadersError, ModuleRefusedError
from kheaders_adb.model import SourceKind, Via

from .client import pull
from .devices import ARCHIVE_PATH, Device, Dialect, Headers, InsmodRefusal
from .kernel import Kernel
from .server import Server

GOLDEN = Path(__file__).parent / "golden" / "insmod.txt"
_ENOEXEC = (8, "Exec format error")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: what the tool is told by the kernel, and what the kernel logs."""

    name: str
    refusal: InsmodRefusal


ROWS = (
    Row("already loaded, without an archive", InsmodRefusal(17, "File exists")),
    Row(
        "vermagic",
        InsmodRefusal(
            *_ENOEXEC,
            "kheaders: version magic '6.1.0-other SMP mod_unload aarch64' should be"
            " '6.1.75-android14-11 SMP preempt mod_unload aarch64'",
        ),
    ),
    Row(
        "symbol checksums",
        InsmodRefusal(*_ENOEXEC, "kheaders: disagrees about version of symbol module_layout"),
    ),
    Row("no symbol checksums", InsmodRefusal(*_ENOEXEC)),
    Row("architecture", InsmodRefusal(*_ENOEXEC, "Invalid architecture in ELF header: 62")),
    Row("truncated", InsmodRefusal(*_ENOEXEC, "Invalid ELF section header overflow")),
    Row(
        "unknown symbol",
        InsmodRefusal(2, "No such file or directory", "kheaders: Unknown symbol x (err -2)"),
    ),
    Row("forbidden to root", InsmodRefusal(1, "Operation not permitted")),
    Row("signature needed", InsmodRefusal(126, "Required key not available")),
    Row(
        "signature of another key",
        InsmodRefusal(
            129, "Key was rejected by service", "Loading of module with unavailable key is rejected"
        ),
    ),
    Row(
        "no memory",
        InsmodRefusal(12, "Cannot allocate memory", "vmap allocation for size 4034560 failed"),
    ),
    Row(
        "another size of struct module",
        InsmodRefusal(
            *_ENOEXEC,
            "module kheaders: .gnu.linkonce.this_module section size must match the kernel's built struct"
            " module size at run time",
        ),
    ),
    Row(
        "another toolchain",
        InsmodRefusal(*_ENOEXEC, "module kheaders: unsupported RELA relocation: 311"),
    ),
    Row(
        "BTF",
        InsmodRefusal(22, "Invalid argument", "failed to validate module [kheaders] BTF: -22"),
    ),
    Row(
        "a format for a reason nobody knows",
        InsmodRefusal(*_ENOEXEC, "module kheaders: words that nobody knows yet"),
    ),
    Row("a text nobody knows", InsmodRefusal(71, "Protocol error")),
)


def device_that_refuses(server: Server, row: Row, dialect: Dialect) -> Device:
    """A root device with kheaders.ko in its vendor folder, which its kernel refuses."""
    device = server.add_device("PHONE", headers=Headers.MODULE, dialect=dialect)
    device.refuse_insmod(row.refusal)
    return device


def message(error: KheadersError) -> str:
    """What the user gets to see."""
    return f"exit {error.exit_code}\n{error}\nhint: {error.hint}\n"


def golden() -> dict[str, str]:
    """The golden messages by title."""
    parts = GOLDEN.read_text().split("== ")[1:] if GOLDEN.exists() else []
    return dict(part.split("\n", 1) for part in parts)


def compare(title: str, text: str) -> None:
    """Compare with the golden message, or write it."""
    known = golden()
    if os.environ.get("KHEADERS_UPDATE_GOLDEN") == "1":
        known[title] = text + "\n"
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("".join(f"== {name}\n{known[name]}" for name in sorted(known)))
    assert known.get(title) == text + "\n"


@pytest.mark.parametrize("dialect", list(Dialect), ids=str)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_refused_module_is_explained(
    server: Server, tmp_path: Path, row: Row, dialect: Dialect
) -> None:
    device = device_that_refuses(server, row, dialect)
    with pytest.raises(ModuleRefusedError) as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=20, via=Via.LOAD)
    compare(f"{row.name}, {dialect}", message(caught.value))
    assert device.leftovers() == []
    assert device.loaded_modules.count("kheaders") == 0


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "no kmsg"])
@pytest.mark.parametrize("printk_time", [True, False], ids=["stamps", "no stamps"])
def test_the_reason_is_told_each_time(
    server: Server, tmp_path: Path, printk_time: bool, marked: bool
) -> None:
    """The kernel logs the same line again, and without stamps nothing but the place tells which is which."""
    device = server.add_device("PHONE", headers=Headers.MODULE, printk_time=printk_time)
    if not marked:
        device.host_path("/dev/kmsg").unlink()
    device.set_state_file("dmesg", "".join(f"usb {number}\n" for number in range(20)))

    def told() -> str:
        with pytest.raises(ModuleRefusedError) as caught:
            pull(server.port, tmp_path / "store", serial=None, timeout_s=20, via=Via.LOAD)
        return caught.value.seen

    vermagic, crc = (row.refusal for row in ROWS[1:3])
    for _ in range(3):
        device.refuse_insmod(vermagic)
        assert "version magic" in told()
    device.refuse_insmod(crc)
    assert "checksum of module_layout" in told()
    assert "checksum of module_layout" in told()


def test_modules_disabled(server: Server, tmp_path: Path) -> None:
    device = server.add_device("PHONE", headers=Headers.MODULE)
    # Without the newline that is there: mksh never gets to see it (device/probe.py).
    device.put("/proc/sys/kernel/modules_disabled", b"1")
    with pytest.raises(KheadersError) as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=20, via=Via.LOAD)
    compare("modules disabled, --via load", message(caught.value))
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert staged.source.kind is SourceKind.MODULE_CARVED
    assert any("kernel.modules_disabled=1" in note for note in staged.notes), staged.notes
    assert not server.services("insmod")


@pytest.mark.parametrize("dialect", list(Dialect), ids=str)
def test_a_truncated_push_is_explained(server: Server, tmp_path: Path, dialect: Dialect) -> None:
    device = server.add_device("PHONE", headers=Headers.ABSENT, dialect=dialect)
    device.limit_files(64)
    module = tmp_path / "kheaders.ko"
    module.write_bytes(device.kernel.module)
    with pytest.raises(KheadersError) as caught:
        pull(
            server.port,
            tmp_path / "store",
            serial=None,
            timeout_s=20,
            module=module,
            via=Via.LOAD,
        )
    assert "there is no room for kheaders.ko" in str(caught.value)
    assert caught.value.exit_code == 4
    assert device.leftovers() == []


def test_a_module_for_another_release_is_refused_before_it_is_pushed(
    server: Server, tmp_path: Path
) -> None:
    device = server.add_device("PHONE", headers=Headers.ABSENT)
    other = Kernel(release="6.1.75-android14-11-gffffffffffff")
    module = tmp_path / "kheaders.ko"
    module.write_bytes(other.module)
    device.register_module(other.module, other)
    with pytest.raises(KheadersError) as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=20, module=module)
    assert caught.value.exit_code == 5
    compare(
        "another release, refused on the host", message(caught.value).replace(str(tmp_path), "")
    )
    assert not server.services("insmod")


def test_a_module_that_loads_but_is_of_another_release_is_removed_again(
    server: Server, tmp_path: Path
) -> None:
    device = server.add_device("PHONE", headers=Headers.ABSENT)
    other = Kernel(release="6.1.75-android14-11-gffffffffffff")
    device.put("/vendor/lib/modules/kheaders.ko", device.register_module(other.module, other))
    with pytest.raises(KheadersError) as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert caught.value.exit_code == 5
    compare("another release, loaded silently on the device", message(caught.value))
    assert "kheaders " not in device.loaded_modules
    assert device.leftovers() == []
    assert not list((tmp_path / "store" / "trees").iterdir())


def test_a_module_that_cannot_be_unloaded_is_reported(server: Server, tmp_path: Path) -> None:
    device = server.add_device("PHONE", headers=Headers.MODULE)
    device.set_state_file("rmmod-refusal", "Resource temporarily unavailable")
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert staged.archive.sha256 == device.kernel.archive_sha256
    assert any("could not be unloaded" in note for note in staged.notes), staged.notes


def test_a_module_that_the_user_loaded_stays(server: Server, tmp_path: Path) -> None:
    device = server.add_device("PHONE", headers=Headers.BUILT_IN)
    (device.root / "sys/module/kheaders").mkdir()
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert staged.archive.sha256 == device.kernel.archive_sha256
    assert (device.root / ARCHIVE_PATH[1:]).exists()
    assert device.leftovers() == []
