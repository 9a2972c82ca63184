"""Ways to root: su in its dialects, adb root and its undoing, and what is said where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kheaders_adb
from kheaders_adb.device.su import SuCommand
from kheaders_adb.device.superuser import SU_WAIT_S
from kheaders_adb.errors import KheadersError, ModuleRefusedError, PrivilegeError
from kheaders_adb.model import Privilege, SourceKind, Staged

from .cases import READ
from .client import pull, store_problems
from .devices import AdbdRestart, Device, Headers, Su
from .faults import Action, wait_until
from .server import Server


class Pull:
    """A pull with a privilege option, remembering what it told the user."""

    def __init__(self, server: Server, store: Path) -> None:
        self._server = server
        self.store = store
        self.said: list[str] = []

    def __call__(self, timeout_s: float = 30.0, **options: Any) -> Staged:
        return pull(
            self._server.port,
            self.store,
            serial=None,
            timeout_s=timeout_s,
            on_note=self.said.append,
            on_change=self.said.append,
            **options,
        )


@pytest.fixture
def pulled(server: Server, tmp_path: Path) -> Pull:
    return Pull(server, tmp_path / "store")


def user_device(server: Server, **options: Any) -> Device:
    """A device whose adbd is the shell user."""
    return server.add_device("PHONE", uid=2000, **({"debuggable": False} | options))


@pytest.mark.parametrize("su", [Su.AOSP, Su.MAGISK])
@pytest.mark.parametrize("headers", [Headers.BUILT_IN, Headers.MODULE, Headers.PROC])
def test_su_in_its_dialects(server: Server, pulled: Pull, su: Su, headers: Headers) -> None:
    device = user_device(server, su=su, headers=headers)
    staged = pulled()
    assert staged.archive.sha256 == device.kernel.archive_sha256
    assert staged.kernel.build_id == device.kernel.build_id  # read by root
    assert not server.services("^sync:|^(un)?root:")
    assert "kheaders " not in device.loaded_modules
    assert device.leftovers() == []


@pytest.mark.parametrize("su", [Su.AOSP, Su.MAGISK])
def test_a_module_pushed_through_su(server: Server, pulled: Pull, su: Su, tmp_path: Path) -> None:
    device = user_device(server, su=su, headers=Headers.ABSENT)
    module = tmp_path / "it's a $module.ko"
    module.write_bytes(device.kernel.module)
    staged = pulled(module=module)
    assert staged.archive.sha256 == device.kernel.archive_sha256
    assert staged.source.kind is SourceKind.MODULE_LOADED
    assert "kheaders " not in device.loaded_modules
    assert device.leftovers() == []


def test_adb_root_is_announced_and_undone(server: Server, pulled: Pull) -> None:
    device = user_device(server, debuggable=True)
    staged = pulled()
    assert staged.archive.sha256 == device.kernel.archive_sha256
    assert server.services("^(un)?root:") == ["root:", "unroot:"]
    assert device.uid == 2000
    assert any("ends other adb sessions" in note for note in pulled.said), pulled.said


def test_adb_root_is_kept_where_asked(server: Server, pulled: Pull) -> None:
    device = user_device(server, debuggable=True)
    pulled(keep_root=True)
    assert device.uid == 0
    assert server.services("^(un)?root:") == ["root:"]


def test_adb_root_is_undone_after_an_error(server: Server, pulled: Pull) -> None:
    device = user_device(server, debuggable=True)
    server.inject(Action.CLOSE, READ, 70_000)
    with pytest.raises(KheadersError) as caught:
        pulled()
    assert caught.value.exit_code == 7
    assert device.uid == 2000


def test_adb_root_comes_after_a_su_that_denies(server: Server, pulled: Pull) -> None:
    device = user_device(server, debuggable=True, su=Su.DENIED)
    staged = pulled()
    assert staged.archive.sha256 == device.kernel.archive_sha256
    assert device.uid == 2000


def test_a_device_that_does_not_come_back_from_adb_root(server: Server, pulled: Pull) -> None:
    device = user_device(server, debuggable=True)
    device.adbd_restart = AdbdRestart(away_s=4.0)
    with pytest.raises(KheadersError) as caught:
        pulled(timeout_s=1.5)
    assert caught.value.exit_code in (3, 7)
    assert "PHONE" in str(caught.value)
    assert wait_until(lambda: device.present, 20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "only root may read it"),
        ({"su": Su.DENIED}, "Permission denied"),
        ({"headers": Headers.MODULE, "su": Su.DENIED, "readable": False}, "Permission denied"),
    ],
)
def test_without_root_it_says_which_ways_were_tried(
    server: Server, pulled: Pull, options: dict[str, Any], said: str
) -> None:
    readable = options.pop("readable", True)
    device = user_device(server, **options)
    if not readable:
        (device.root / "vendor/lib/modules/kheaders.ko").chmod(0o000)
    with pytest.raises(PrivilegeError) as caught:
        pulled()
    assert said in f"{caught.value} {caught.value.hint}"
    assert not server.services("^root:")
    assert store_problems(pulled.store, {}) == []


def test_a_readable_module_is_carved_without_root(server: Server, pulled: Pull) -> None:
    device = user_device(server, headers=Headers.MODULE)
    staged = pulled()
    assert staged.archive.sha256 == device.kernel.archive_sha256
    assert staged.source.kind is SourceKind.MODULE_CARVED
    assert staged.kernel.build_id is None
    assert not server.services("insmod")
    assert any("carved" in note for note in staged.notes), staged.notes


def test_privilege_none_asks_for_nothing(server: Server, pulled: Pull) -> None:
    user_device(server, debuggable=True, su=Su.MAGISK)
    with pytest.raises(PrivilegeError):
        pulled(privilege=Privilege.NONE)
    assert not server.services("^root:|^shell.*:su ")


def test_a_su_that_nobody_answers_ends_with_the_timeout(server: Server, pulled: Pull) -> None:
    user_device(server, su=Su.HANG)
    with pytest.raises(KheadersError) as caught:
        pulled(timeout_s=3.0)
    assert caught.value.exit_code in (4, 7)
    assert any(
        "dialog" in text for text in (*pulled.said, str(caught.value), caught.value.hint or "")
    )


@pytest.mark.campaign
def test_a_su_that_nobody_answers_ends_before_the_timeout(server: Server, pulled: Pull) -> None:
    """However much time there is: nobody stands by an unattended device."""
    user_device(server, su=Su.HANG)
    with pytest.raises(PrivilegeError) as caught:
        pulled(timeout_s=3 * SU_WAIT_S, privilege=Privilege.SU)
    assert caught.value.seen == f"su did not answer within {SU_WAIT_S:g} s"


OTHER_SUS = [
    ("kp", Su.MAGISK, "kp"),
    ("suu", Su.AOSP, "suu"),
    ("sudo", Su.SUDO, "sudo"),
    ("/system_ext/bin/su", Su.MAGISK, "/system_ext/bin/su"),
    ("/debug_ramdisk/su", Su.AOSP, "/debug_ramdisk/su"),
    ("kp", Su.MAGISK, "kp -mm"),
    ("suu", Su.AOSP, "suu 0"),
    ("sudo", Su.SUDO, "sudo -u root"),
]


@pytest.mark.parametrize(("name", "su", "text"), OTHER_SUS)
def test_a_su_under_another_name(
    server: Server, pulled: Pull, name: str, su: Su, text: str
) -> None:
    device = user_device(server, su=su, su_name=name, headers=Headers.MODULE)
    staged = pulled(su=SuCommand.parse(text))
    assert staged.archive.sha256 == device.kernel.archive_sha256
    assert staged.source.kind is SourceKind.MODULE_LOADED
    assert not server.services("^shell.*:su |^(un)?root:")
    assert device.leftovers() == []


@pytest.mark.parametrize("where", ["option", "environment", "another command", "api"])
def test_where_a_su_can_be_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    user_device(server, su=Su.MAGISK, su_name="kp")
    for name in [name for name in os.environ if name.startswith(("ANDROID_", "ADB_", "KHEADERS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{server.port}")
    monkeypatch.setenv("KHEADERS_ADB_STORE", str(tmp_path / "store"))
    if where in ("environment", "another command"):
        monkeypatch.setenv("KHEADERS_ADB_SU_COMMAND", "kp -mm")
    else:
        # What is said in so many words comes before the environment, which is not even read.
        monkeypatch.setenv("KHEADERS_ADB_SU_COMMAND", "nonsense; id")
    if where == "api":
        kheaders_adb.ensure("PHONE", su_command="kp -mm")
    else:
        arguments = {
            "option": ["pull", "--su-command", "kp -mm"],
            "environment": ["pull"],
            "another command": ["push"],
        }[where]
        command = [sys.executable, "-m", "kheaders_adb", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
    assert server.services("^shell.*:kp -mm -c ")


def test_a_su_that_is_named_is_the_only_one(server: Server, pulled: Pull) -> None:
    user_device(server, su=Su.MAGISK)
    with pytest.raises(PrivilegeError) as caught:
        pulled(su=SuCommand.parse("kp"))
    assert "kp gives no root (" in caught.value.seen
    assert "not found" in caught.value.seen
    assert not server.services("^shell.*:su ")


def test_sudo_never_waits_for_a_password(server: Server, pulled: Pull) -> None:
    user_device(server, su=Su.SUDO_ASKS, su_name="sudo")
    with pytest.raises(PrivilegeError, match="sudo: a password is required") as caught:
        pulled(su=SuCommand.parse("sudo"), privilege=Privilege.SU)
    assert "--su-command" in (caught.value.hint or "")


MANAGERS = {
    "com.topjohnwu.magisk": "Magisk is on the device: allow its dialog, or in its app switch on Superuser",
    "me.weishu.kernelsu": "KernelSU hides su from apps that it does not allow: in the app, Superuser",
    "me.bmax.apatch": "APatch hides su from apps that it does not allow: in the app, Superuser",
}


@pytest.mark.parametrize("package", MANAGERS)
@pytest.mark.parametrize("privilege", [Privilege.AUTO, Privilege.SU])
@pytest.mark.parametrize("headers", [Headers.BUILT_IN, Headers.MODULE])
def test_where_su_is_hidden_the_app_that_hides_it_is_named(
    server: Server, pulled: Pull, package: str, privilege: Privilege, headers: Headers
) -> None:
    device = user_device(server, headers=headers)
    (device.root / "vendor/lib/modules").mkdir(parents=True, exist_ok=True)
    for module in (device.root / "vendor/lib/modules").iterdir():
        module.chmod(0o000)
    device.set_state_file("packages", f"com.android.shell\n{package}\n")
    with pytest.raises(PrivilegeError) as caught:
        pulled(privilege=privilege)
    hint = caught.value.hint or ""
    assert MANAGERS[package] in hint
    assert "Shell (com.android.shell)" in hint
    assert "then run this again; otherwise " in hint
    others = {name.partition(" ")[0] for name in MANAGERS.values()}
    others.discard(MANAGERS[package].partition(" ")[0])
    assert not [name for name in others if name in f"{caught.value} {hint}"]


def test_a_su_that_refuses_says_itself_whose_it_is(server: Server, pulled: Pull) -> None:
    """Magisk's app may be hidden under another name."""
    user_device(server, su=Su.DENIED)
    with pytest.raises(PrivilegeError, match="su gives no root") as caught:
        pulled()
    assert "Magisk is on the device" in (caught.value.hint or "")


@pytest.mark.parametrize("packages", [None, "com.android.shell\n"])
def test_what_was_not_seen_is_not_claimed(
    server: Server, pulled: Pull, packages: str | None
) -> None:
    device = user_device(server)
    if packages is not None:
        device.set_state_file("packages", packages)
    with pytest.raises(PrivilegeError) as caught:
        pulled()
    said = f"{caught.value} {caught.value.hint}"
    assert "this shell sees no su" in said
    assert not [name for name in ("Magisk", "KernelSU", "APatch") if name in said]


def test_whom_to_ask_is_looked_up_only_where_that_is_told(server: Server, pulled: Pull) -> None:
    device = user_device(server, su=Su.DENIED, headers=Headers.MODULE)
    pulled()  # carved
    assert not server.services("pm list packages")
    device.put("/vendor/lib/modules/kheaders.ko", b"", 0o000)
    for way in (Privilege.NONE, Privilege.ADBD):
        with pytest.raises(PrivilegeError):
            pulled(privilege=way, refresh=True)
    assert not server.services("pm list packages")


def test_a_warm_pull_asks_no_su(server: Server, pulled: Pull) -> None:
    user_device(server, su=Su.MAGISK)
    first = pulled()
    server.log.clear()
    second = pulled()
    assert (second.cached, second.device_round_trips) == (True, 1)
    assert second.tree == first.tree
    assert not server.services("^shell.*:su ")


# KernelSU Next #65: uid 0, in a domain that may read no more than the shell.
POWERLESS_SU = """#!/bin/sh
[ "$1" = -c ] || exit 1
FAKE_UID=0
USER_ID=0
export FAKE_UID USER_ID
exec sh -c "$2"
"""


def powerless_device(server: Server, **options: Any) -> Device:
    device = user_device(server, su=Su.MAGISK, **options)
    device.put_tool("su", POWERLESS_SU)
    return device


@pytest.mark.parametrize("privilege", [Privilege.AUTO, Privilege.SU])
def test_a_su_whose_root_may_read_nothing(
    server: Server, pulled: Pull, privilege: Privilege
) -> None:
    powerless_device(server)
    with pytest.raises(PrivilegeError) as caught:
        pulled(privilege=privilege)
    error = caught.value
    assert "not even root may read it (root by su, but its domain may not read it" in error.seen
    assert ("adb root is for debuggable builds only" in error.seen) is (privilege is Privilege.AUTO)
    assert error.hint is not None
    assert '--su-command "su -mm"' in error.hint
    assert "the app that manages root" in error.hint
    assert "rooted device" not in error.hint
    assert "hides su" not in error.hint, "it has given it"


@pytest.mark.parametrize("headers", [Headers.BUILT_IN, Headers.MODULE])
def test_adb_root_is_tried_behind_a_su_whose_root_may_read_nothing(
    server: Server, pulled: Pull, headers: Headers
) -> None:
    device = powerless_device(server, debuggable=True, headers=headers)
    if headers is Headers.MODULE:
        hide_module(device)
        with pytest.raises(KheadersError, match=MODULE_PATH):
            pulled()  # on this fake, adbd's root may not read it either
    else:
        assert pulled().archive.sha256 == device.kernel.archive_sha256
    assert any("restarting adbd as root" in said for said in pulled.said)
    wait_until(lambda: device.is_settled and device.uid == 2000)


def test_a_module_that_root_may_not_open(server: Server, pulled: Pull) -> None:
    """That is no refusal of the kernel's: insmod was not run."""
    device = powerless_device(server, headers=Headers.MODULE)
    hide_module(device)
    with pytest.raises(
        ModuleRefusedError, match="this shell cannot open the module file"
    ) as caught:
        pulled()
    assert "Permission denied" in caught.value.seen
    assert '--su-command "su -mm"' in (caught.value.hint or "")
    assert device.leftovers() == []


MODULE_PATH = "/vendor/lib/modules/kheaders.ko"


def hide_module(device: Device) -> None:
    device.host_path(MODULE_PATH).chmod(0)
