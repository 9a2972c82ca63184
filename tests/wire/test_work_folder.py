"""The folder on the device: what is put there is nobody else's, whoever was there first."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

import pytest

from kheaders_adb.device.lease import read_script
from kheaders_adb.device.probe import WORK_NAME

from .client import pull
from .devices import OTHER_UID, Device, Headers
from .server import Server
from .test_hangup import started

WORK = PurePosixPath("/data/local/tmp", WORK_NAME)


@pytest.fixture
def phone(server: Server) -> Device:
    return server.add_device("PHONE", headers=Headers.ABSENT, umask=0)


def test_only_its_owner_may_read_or_write_what_is_put_there(phone: Device) -> None:
    """adbd's umask is 0; modules that anybody may write to are modules of anybody's."""
    module = phone.kernel.module
    script = read_script(run="0123", work=WORK, payload_bytes=len(module) + 1)
    with started(phone, script) as process:
        assert process.stdin is not None
        process.stdin.write(module)
        process.stdin.flush()
        folder = phone.host_path(str(WORK))
        while not (found := [path for path in folder.glob("put.*/*") if path.stat().st_size]):
            assert process.poll() is None
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (found[0], found[0].parent)}
        assert modes == {0o600, 0o700}
        # Others see who reads from the module, and change nothing.
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
        process.stdin.close()
        process.wait(30)
    assert phone.leftovers() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
@pytest.mark.parametrize("link", [False, True])
def test_a_folder_of_another_users_is_not_used(
    phone: Device, server: Server, tmp_path: Path, link: bool
) -> None:
    if link:
        phone.plant(str(WORK), link_to="/sdcard")
    else:
        phone.plant(str(WORK), uid=OTHER_UID)
    module = tmp_path / "kheaders.ko"
    module.write_bytes(phone.kernel.module)
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=20, module=module)
    assert staged.verdict.level == "exact"
    assert "kheaders " not in phone.loaded_modules
    assert phone.leftovers() == [WORK_NAME]
    assert not list(phone.host_path("/sdcard").iterdir())


def test_a_module_that_was_swapped_after_it_was_examined_is_not_inserted(phone: Device) -> None:
    phone.add_module("/vendor/lib/modules/kheaders.ko")
    script = read_script(
        run="0123",
        work=WORK,
        module=PurePosixPath("/vendor/lib/modules/kheaders.ko"),
        module_sha256="0" * 64,
    )
    with started(phone, script) as process:
        out, err = process.communicate(timeout=30)
    assert out == b""
    assert b"refused 99" in err
    assert b"another sha256: " in err
    assert "kheaders " not in phone.loaded_modules


def test_another_boot_than_the_one_meant_is_left_alone(phone: Device) -> None:
    script = read_script(run="0123", work=WORK, boot_id="another", payload_bytes=3)
    with started(phone, script) as process:
        out, err = process.communicate(b"abc", timeout=30)
    assert (out, err.decode()) == (b"", f"@0123 elsewhere {phone.boot_id}\n")
    assert phone.leftovers() == []


@pytest.mark.parametrize("text", [r"a\cb", r"a\nb", "-n", r"\\"])
def test_words_of_others_come_as_they_are(phone: Device, text: str) -> None:
    """Some shells' echo takes a backslash for its own, and an event was cut short or split."""
    phone.host_path("/dev/kmsg").unlink()
    phone.set_state_file("dmesg", f"{text}\n")
    phone.put("/vendor/lib/modules/kheaders.ko", b"no module")
    script = read_script(
        run="0123", work=WORK, module=PurePosixPath("/vendor/lib/modules/kheaders.ko")
    )
    with started(phone, script) as process:
        _, err = process.communicate(timeout=30)
    lines = err.decode().splitlines()
    assert f"@0123 before [    1.007919] {text}" in lines
    assert "@0123 refused 1" in lines
    assert lines[-1] == "@0123 end"
