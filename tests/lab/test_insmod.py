"""Every refusal of a kheaders.ko that a booted kernel can be brought to, as the user reads it: a golden file.

What is refused is the kernel's own module with one thing wrong.  What is wrong with a signature is in
test_refusals.py; rows that need another tool (kmod) are in tests/wire/test_insmod.py.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from fixtures.lab import Device, Lab
from fixtures.lab.model import Userland
from kheaders_adb.device.insmod import explain_insmod
from tests.lab.cli import User, is_empty
from tests.lab.conftest import kheaders_of
from tests.unit.golden import check_golden

Boot = Callable[..., Device]

KERNEL = "x86_64-module"
FOLDER = "/vendor/lib/modules"
GUEST_MODULE = f"{FOLDER}/kheaders.ko"
BY_HAND = "/data/local/tmp/by-hand.ko"


def patched(module: bytes, section: str, old: bytes, new: bytes) -> bytes:
    """The module with bytes of one section replaced by as many others."""
    found = ELFFile(io.BytesIO(module)).get_section_by_name(section)
    assert found is not None
    assert len(old) == len(new)
    content = found.data()
    assert content.count(old) == 1
    start = found["sh_offset"]
    return module[:start] + content.replace(old, new) + module[start + len(content) :]


def wrong_vermagic(module: bytes) -> bytes:
    # Not the release: with MODVERSIONS the kernel does not look at that.
    return patched(module, ".modinfo", b" SMP mod_unload ", b" UP! mod_unload ")


def wrong_checksum(module: bytes) -> bytes:
    found = ELFFile(io.BytesIO(module)).get_section_by_name("__versions")
    assert found is not None
    versions = found.data()
    (entry,) = (
        versions[at : at + 64]
        for at in range(0, len(versions), 64)
        if versions[at + 8 : at + 64].rstrip(b"\0") == b"module_layout"
    )
    return patched(
        module, "__versions", entry, bytes(byte ^ 0xFF for byte in entry[:4]) + entry[4:]
    )


def no_checksums(module: bytes) -> bytes:
    return patched(module, ".shstrtab", b"\0__versions\0", b"\0_no_sums__\0")


def cut_short(module: bytes) -> bytes:
    return module[: len(module) // 2]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "vermagic": wrong_vermagic,
    "symbol checksums": wrong_checksum,
    "no symbol checksums": no_checksums,
    "truncated": cut_short,
}


def general(text: str, device: Device) -> str:
    """What depends on the day's kernel and port, by a name."""
    return text.replace(device.serial, "SERIAL").replace(device.kernel.release, "RELEASE")


@pytest.mark.parametrize("userland", list(Userland), ids=lambda userland: userland.value)
def test_a_module_that_the_kernel_refuses_is_explained(
    userland: Userland, boot: Boot, lab: Lab, tmp_path: Path
) -> None:
    device = boot(KERNEL, userland=userland)
    user = User(device, tmp_path / "store")
    own = kheaders_of(KERNEL, lab).read_bytes()
    rows = {name: breaks(own) for name, breaks in BROKEN.items()}
    rows["architecture"] = kheaders_of("arm64-module", lab).read_bytes()
    said = []
    try:
        for name, content in rows.items():
            give(device, content, GUEST_MODULE)
            done = user.run("pull", "--via", "load")
            assert done.code == 4, (name, done.err)
            assert done.out == ""
            assert user.traces() == "", name
            said.append(f"# {name}\n{general(done.err, device)}")
    finally:
        device.root_shell(f"rm -f {GUEST_MODULE}")
    assert is_empty(user.store)
    check_golden(f"insmod-{userland.value}.txt", "\n".join(said))


def give(device: Device, content: bytes, path: str) -> None:
    """Put a file where only root may."""
    made = device.work / "given"
    made.write_bytes(content)
    device.push(made, "/data/local/tmp/given")
    moved = device.root_shell(f"mkdir -p {FOLDER} && mv /data/local/tmp/given {path}")
    assert moved.returncode == 0, moved.stderr


def test_where_loading_is_switched_off_the_module_is_carved(
    fresh: Boot, lab: Lab, tmp_path: Path
) -> None:
    device = fresh(KERNEL, device_modules={GUEST_MODULE: kheaders_of(KERNEL, lab)})
    user = User(device, tmp_path)
    switched = device.root_shell("echo 1 >/proc/sys/kernel/modules_disabled")
    assert switched.returncode == 0, switched.stderr
    insisted = user.run("pull", "--via", "load")
    assert insisted.code == 4
    assert "kernel.modules_disabled=1" in insisted.err
    done = user.run("pull", "--json")
    assert done.code == 0, done.err
    assert done.document["source"] == {"kind": "module-carved", "path": GUEST_MODULE}
    assert "kernel.modules_disabled=1" in done.err
    # And what the kernel answers whoever tries it all the same.
    assert cause(device, f"insmod {GUEST_MODULE}", modules_disabled=True) == "disabled"


def cause(device: Device, command: str, *, modules_disabled: bool = False) -> str:
    """What is made of the device's own words on a command."""
    done = device.shell(f"u=$(id -u); {command} 2>&1; echo; echo uid $u")
    text, _, uid = done.stdout.rpartition("uid ")
    log = re.sub(r"^\[[^]]*\] ", "", device.root_shell("dmesg | tail -n 2").stdout, flags=re.M)
    return explain_insmod(text, log, modules_disabled=modules_disabled, uid=int(uid)).cause


@pytest.mark.parametrize("userland", list(Userland), ids=lambda userland: userland.value)
def test_what_insmod_says_of_a_module_that_is_not_there(userland: Userland, boot: Boot) -> None:
    device = boot(KERNEL, userland=userland)
    device.root_shell("dmesg -c")
    assert cause(device, f"insmod {FOLDER}/none.ko") == "missing"


@pytest.mark.parametrize("userland", list(Userland), ids=lambda userland: userland.value)
def test_what_insmod_says_to_others_than_root(userland: Userland, boot: Boot, lab: Lab) -> None:
    device = boot(KERNEL, "user", userland=userland)
    device.push(kheaders_of(KERNEL, lab), BY_HAND)
    try:
        assert cause(device, f"insmod {BY_HAND}") == "not-root"
    finally:
        device.root_shell(f"rm {BY_HAND}")


@pytest.mark.parametrize("userland", list(Userland), ids=lambda userland: userland.value)
@pytest.mark.parametrize("kernel", [KERNEL, "x86_64-builtin"])
def test_what_insmod_says_where_kheaders_is_already(
    kernel: str, userland: Userland, boot: Boot, lab: Lab
) -> None:
    device = boot(kernel, userland=userland)
    device.push(kheaders_of(KERNEL, lab), BY_HAND)
    try:
        if kernel == KERNEL:
            assert device.root_shell(f"insmod {BY_HAND}").returncode == 0
        assert cause(device, f"insmod {BY_HAND}") == "loaded"
    finally:
        device.root_shell(f"rmmod kheaders; rm {BY_HAND}")


def test_what_was_loaded_by_others_stays_loaded(boot: Boot, lab: Lab, tmp_path: Path) -> None:
    device = boot(KERNEL)
    user = User(device, tmp_path)
    device.push(kheaders_of(KERNEL, lab), BY_HAND)
    device.root_shell(f"insmod {BY_HAND}; rm {BY_HAND}")
    try:
        before = user.traces()
        assert before.startswith("kheaders ")
        done = user.run("pull", "--json")
        assert done.code == 0, done.err
        assert done.document["source"]["kind"] == "sysfs"
        assert user.traces() == before
    finally:
        device.root_shell("rmmod kheaders")
