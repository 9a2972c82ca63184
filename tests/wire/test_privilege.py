"""Ways to root: su in its dialects, adb root and its undoing, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.errors import KheadersError, PrivilegeError
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


def test_a_warm_pull_asks_no_su(server: Server, pulled: Pull) -> None:
    user_device(server, su=Su.MAGISK)
    first = pulled()
    server.log.clear()
    second = pulled()
    assert (second.cached, second.device_round_trips) == (True, 1)
    assert second.tree == first.tree
    assert not server.services("^shell.*:su ")
