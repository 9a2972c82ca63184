"""A booted device whose adbd looks like an old one, through a real adb server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.lab import Device, Lab
from tests.lab.bridge import Age, Bridge
from tests.lab.cli import User
from tests.lab.conftest import kheaders_of

Boot = Callable[..., Device]

KERNEL = "x86_64-module"
GUEST_MODULE = "/vendor/lib/modules/kheaders.ko"
SAYS = {Age.FORGOTTEN: "", Age.ANDROID_5: "through exec:", Age.ANDROID_4: "through shell:"}


@pytest.mark.parametrize("kind", ["rooted", "user-su-magisk"])
@pytest.mark.parametrize("age", Age)
def test_a_module_is_loaded_read_and_unloaded(
    age: Age, kind: str, boot: Boot, lab: Lab, tmp_path: Path
) -> None:
    module = kheaders_of(KERNEL, lab)
    device = boot(KERNEL, kind, device_modules={GUEST_MODULE: module})
    before = device.root_shell("cat /proc/modules").stdout
    with Bridge(device, age) as bridge:
        user = User(device, tmp_path)
        done = user.run("pull", "--json", "-s", bridge.serial)
        assert done.code == 0, done.err
        pulled = done.document
        assert pulled["verdict"]["level"] == "exact"
        assert pulled["source"] == {"kind": "module-loaded", "path": GUEST_MODULE}
        notes = [note for note in pulled["notes"] if "without shell protocol 2" in note]
        assert [note for note in notes if SAYS[age] in note] == notes
        assert len(notes) == (age is not Age.FORGOTTEN)
        assert user.run("pull", "--json", "-s", bridge.serial).document["cached"]
        doctor = user.run("doctor", "-s", bridge.serial)
        assert SAYS[age] in doctor.out
    assert device.root_shell("cat /proc/modules").stdout == before
    assert user.traces() == ""
