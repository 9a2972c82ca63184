"""What is staged is used again only on evidence read now: by devices that lie, and modules that are given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.errors import MismatchError, PrivilegeError
from kheaders_adb.model import Grounds, Level, Privilege

from .client import pull
from .devices import ARCHIVE_PATH, Headers, Su, SuQuirk
from .kernel import Kernel
from .server import Server

KERNEL = Kernel()
# Other source under the same configuration, release and builder.
REBUILT = replace(KERNEL, seed=2)


def test_a_device_that_copies_anothers_identity_does_not_give_it_its_headers(
    server: Server, tmp_path: Path
) -> None:
    liar = server.add_device("LIAR", kernel=KERNEL)
    liar.put(ARCHIVE_PATH, REBUILT.archive, 0o444)
    honest = server.add_device("HONEST", kernel=KERNEL)
    store = tmp_path / "store"
    theirs = pull(server.port, store, serial="LIAR", timeout_s=20)
    assert theirs.archive.sha256 == REBUILT.archive_sha256
    staged = pull(server.port, store, serial="HONEST", timeout_s=20)
    assert theirs.kernel.key == staged.kernel.key
    assert staged.archive.sha256 == honest.kernel.archive_sha256
    assert staged.reuse is not None
    assert "another archive" in staged.reuse.reason


def test_nor_one_that_took_its_serial(server: Server, tmp_path: Path) -> None:
    liar = server.add_device("SAME", kernel=KERNEL)
    liar.put(ARCHIVE_PATH, REBUILT.archive, 0o444)
    pull(server.port, tmp_path / "store", serial="SAME", timeout_s=20)
    liar.unplug()
    honest = server.add_device("SAME", kernel=KERNEL)
    staged = pull(server.port, tmp_path / "store", serial="SAME", timeout_s=20)
    assert staged.archive.sha256 == honest.kernel.archive_sha256


def test_after_a_boot_the_devices_own_digest_is_asked(server: Server, tmp_path: Path) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL)
    pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    warm = pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert warm.reuse is not None
    assert (warm.reuse.grounds, warm.device_round_trips) == (Grounds.BUILD_ID, 1)
    phone.reboot()
    after = pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert after.reuse is not None
    assert (after.cached, after.reuse.grounds) == (True, Grounds.DIGEST)


def test_a_devices_word_holds_for_the_boot(server: Server, tmp_path: Path) -> None:
    server.add_device("FIRST", kernel=KERNEL)
    second = server.add_device("SECOND", kernel=KERNEL)
    store = tmp_path / "store"
    pull(server.port, store, serial="FIRST", timeout_s=20)
    told = [pull(server.port, store, serial="SECOND", timeout_s=20) for _ in range(2)]
    assert [one.device_round_trips for one in told] == [2, 1]
    second.reboot()
    told.append(pull(server.port, store, serial="SECOND", timeout_s=20))
    assert told[-1].device_round_trips == 2
    assert {one.reuse.grounds for one in told if one.reuse} == {Grounds.DIGEST}


def test_a_module_given_is_compared_with_what_is_staged(server: Server, tmp_path: Path) -> None:
    server.add_device("PHONE", kernel=KERNEL, headers=Headers.ABSENT)
    right, wrong = tmp_path / "right.ko", tmp_path / "wrong.ko"
    right.write_bytes(KERNEL.module)
    wrong.write_bytes(replace(KERNEL, extra=(("KASAN", "y"),)).module)
    store = tmp_path / "store"
    first = pull(server.port, store, serial=None, timeout_s=20, module=right)
    again = pull(server.port, store, serial=None, timeout_s=20, module=right)
    assert (first.cached, again.cached) == (False, True)
    with pytest.raises(MismatchError):
        pull(server.port, store, serial=None, timeout_s=20, module=wrong)


def test_a_su_on_a_terminal_is_refused_by_name(server: Server, tmp_path: Path) -> None:
    """It turns LF into CR LF; without base64 what is read through it is damaged."""
    server.add_device(
        "PHONE",
        uid=2000,
        debuggable=False,
        su=Su.MAGISK,
        su_quirk=SuQuirk.PTY,
        without=("base64",),
    )
    with pytest.raises(PrivilegeError) as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=20)
    assert "runs commands on a terminal" in str(caught.value)


def test_where_adb_root_is_granted_that_is_taken_instead(server: Server, tmp_path: Path) -> None:
    phone = server.add_device(
        "PHONE",
        uid=2000,
        debuggable=True,
        su=Su.MAGISK,
        su_quirk=SuQuirk.PTY,
        without=("base64",),
    )
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
    assert (staged.verdict.level, staged.archive.sha256) == (
        Level.EXACT,
        phone.kernel.archive_sha256,
    )
    assert phone.uid == 2000


@pytest.mark.parametrize("su", [None, Su.DENIED, Su.MAGISK])
@pytest.mark.parametrize("privilege", [Privilege.AUTO, Privilege.NONE])
def test_what_the_shell_left_is_removed_by_the_shell(
    server: Server, tmp_path: Path, su: Su | None, privilege: Privilege
) -> None:
    phone = server.add_device("PHONE", uid=2000, debuggable=False, su=su, shell_reads_archive=True)
    pull(server.port, tmp_path / "store", serial=None, timeout_s=20, privilege=privilege)
    folder = "/data/local/tmp/kheaders-adb.2000"
    phone.plant(folder, mode=0o755)
    phone.plant(f"{folder}/lease.{phone.boot_id}.1.987654321.gone")
    warm = pull(server.port, tmp_path / "store", serial=None, timeout_s=20, privilege=privilege)
    assert warm.cached
    assert phone.leftovers() == []


@pytest.mark.parametrize("su", [Su.DENIED, Su.HANG, None])
@pytest.mark.parametrize("privilege", [Privilege.AUTO, Privilege.NONE])
def test_what_root_left_never_fails_a_warm_pull(
    server: Server, tmp_path: Path, su: Su | None, privilege: Privilege
) -> None:
    phone = server.add_device("PHONE", uid=2000, debuggable=False, su=su, shell_reads_archive=True)
    pull(server.port, tmp_path / "store", serial=None, timeout_s=20, privilege=privilege)
    phone.plant(f"/data/local/tmp/kheaders-adb/lease.{phone.boot_id}.1.987654321.gone")
    warm = pull(server.port, tmp_path / "store", serial=None, timeout_s=20, privilege=privilege)
    assert warm.cached
    asked = su is not None and privilege is Privilege.AUTO
    assert any("stays there for now" in note for note in warm.notes) is asked, warm.notes
