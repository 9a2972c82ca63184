"""Every kind of device as it is in the field: each ends in a tree, or in the right reason why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.lab import Device
from tests.lab.cli import User

Boot = Callable[..., Device]

KERNEL = "x86_64-stock"
GUEST_MODULE = "/vendor/lib/modules/kheaders.ko"


def user_of(device: Device, store: Path) -> User:
    return User(device, store)


@pytest.mark.parametrize("kind", ["user-su-aosp", "user-su-magisk", "user-su-kernelsu"])
def test_su_in_each_dialect_loads_the_module_and_asks_once_a_boot(
    kind: str, boot: Boot, tmp_path: Path
) -> None:
    device = boot(KERNEL, kind)
    user = user_of(device, tmp_path)
    done = user.run("pull", "--json", "--module", str(device.kernel.kheaders_ko))
    assert done.code == 0, done.err
    pulled = done.document
    assert pulled["source"]["kind"] == "module-loaded"
    assert pulled["kernel"]["evidence"] == "build-id"
    assert user.traces() == ""
    # The boot_id, which anyone may read, is enough to find it again: no su, no dialog.
    again = user.run("pull", "--json").document
    assert (again["cached"], again["device_round_trips"]) == (True, 1)
    assert again["tree"] == pulled["tree"]


def test_adb_root_is_announced_and_undone(boot: Boot, tmp_path: Path) -> None:
    device = boot(KERNEL, "userdebug")
    user = user_of(device, tmp_path)
    done = user.run("pull", "--json", "--module", str(device.kernel.kheaders_ko))
    assert done.code == 0, done.err
    assert done.document["source"]["kind"] == "module-loaded"
    assert "restarting adbd as root; this ends other adb sessions" in done.err
    assert device.shell("id -u").stdout.strip() == "2000"
    assert user.traces() == ""


def test_adb_root_is_kept_on_request(fresh: Boot, tmp_path: Path) -> None:
    device = fresh(KERNEL, "userdebug")
    user = user_of(device, tmp_path)
    done = user.run(
        "pull", "--privilege", "adbd", "--keep-root", "--module", str(device.kernel.kheaders_ko)
    )
    assert done.code == 0, done.err
    assert device.shell("id -u").stdout.strip() == "0"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("user", "this shell sees no su; adb root is for debuggable builds only"),
        ("user-su-deny", "su gives no root (Permission denied)"),
        ("user-su-hang", "su did not answer within"),
    ],
)
def test_without_root_a_module_is_carved_and_said_so(
    kind: str, reason: str, boot: Boot, tmp_path: Path
) -> None:
    device = boot(KERNEL, kind)
    done = user_of(device, tmp_path).run(
        "pull", "--json", "--module", str(device.kernel.kheaders_ko)
    )
    assert done.code == 0, done.err
    assert done.document["source"]["kind"] == "module-carved"
    assert "carved instead of loaded: only root may load modules" in done.err
    assert reason in done.err
    if kind == "user-su-hang":
        assert "a dialog may be open on the device" in done.err


def test_without_root_a_readable_module_on_the_device_is_carved(
    fresh: Boot, tmp_path: Path
) -> None:
    module = fresh(KERNEL, "user").kernel.kheaders_ko
    device = fresh(KERNEL, "user", device_modules={GUEST_MODULE: module})
    done = user_of(device, tmp_path).run("pull", "--json")
    assert done.code == 0, done.err
    assert done.document["source"] == {"kind": "module-carved", "path": GUEST_MODULE}
    assert f"carved out of {GUEST_MODULE} instead of loading it" in done.err


def test_without_root_and_module_the_reason_is_given(boot: Boot, tmp_path: Path) -> None:
    done = user_of(boot(KERNEL, "user"), tmp_path).run("pull")
    assert done.code == 4
    assert "shows no headers" in done.err
    assert "--module FILE" in done.err


def test_an_archive_for_root_only(boot: Boot, tmp_path: Path) -> None:
    done = user_of(boot("x86_64-builtin", "user"), tmp_path).run("pull")
    assert done.code == 4
    assert "/sys/kernel/kheaders.tar.xz is there, but only root may read it" in done.err
    assert "this shell sees no su" in done.err


@pytest.mark.parametrize("way", ["su", "adbd"])
def test_a_way_to_root_that_is_not_there(way: str, boot: Boot, tmp_path: Path) -> None:
    device = boot(KERNEL, "user")
    done = user_of(device, tmp_path).run("pull", "--privilege", way)
    assert done.code == 4
    assert device.serial in done.err
    assert "hint:" in done.err
