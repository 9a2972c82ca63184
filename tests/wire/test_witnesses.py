"""Several devices, boots and files that say the same of a kernel: whose headers are used in the end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device as Reached
from kheaders_adb.store import Store
from kheaders_adb.store.changes import ChangeKind
from tests.capabilities import as_anybody

from .cases import READ, SCRIPT
from .client import pull
from .devices import ARCHIVE_PATH, AdbdRestart, Device, Headers
from .faults import Action, wait_until
from .kernel import Kernel
from .server import Server
from .test_cli import Cli

KERNEL = Kernel(headers=2)
REBUILT = replace(KERNEL, seed=2)  # the same release and configuration
OTHER = Kernel(seed=3, extra=(("KASAN", "y"),))
THIRD = Kernel(seed=7, release="6.7.0-third")


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


def tree_of(cli: Cli, *words: str) -> str:
    done = cli(*words)
    assert done.code == 0, done.err
    return done.out.strip().rpartition("/")[2]


def test_what_is_staged_for_a_device_is_not_another_ones(server: Server, cli: Cli) -> None:
    server.add_device("HONEST", kernel=KERNEL)
    assert tree_of(cli, "pull", "-s", "HONEST") == KERNEL.archive_sha256
    liar = server.add_device("LIAR", kernel=KERNEL)
    liar.put(ARCHIVE_PATH, REBUILT.archive, 0o444)
    assert tree_of(cli, "pull", "-s", "LIAR") == REBUILT.archive_sha256
    refused = cli("path", "@HONEST")
    assert (refused.code, "another one says the same of itself" in refused.err) == (2, True)
    assert cli("compile", "--kernel", "@HONEST", "x.c").code == 2
    assert tree_of(cli, "pull", "-s", "HONEST") == KERNEL.archive_sha256
    assert tree_of(cli, "path", "@HONEST") == KERNEL.archive_sha256


def test_twins_whose_build_id_cannot_be_read(server: Server, cli: Cli) -> None:
    for serial, kernel in (("ONE", KERNEL), ("TWO", REBUILT)):
        device = server.add_device(serial, kernel=kernel)
        device.host_path("/sys/kernel/notes").unlink()
        assert tree_of(cli, "pull", "-s", serial) == kernel.archive_sha256
    assert cli("path", "@ONE").code == 2
    assert tree_of(cli, "path", "@TWO") == REBUILT.archive_sha256


def test_a_kernel_that_could_not_be_pulled_is_not_the_one_before(server: Server, cli: Cli) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL)
    assert tree_of(cli, "pull") == KERNEL.archive_sha256
    phone.reboot(OTHER)
    phone.host_path(ARCHIVE_PATH).unlink()
    assert wait_until(lambda: phone.is_settled)
    assert cli("pull").code == 4
    refused = cli("path", "@PHONE")
    assert refused.code == 2
    assert "nothing is staged for the kernel that 'PHONE' was last seen running" in refused.err


def test_latest_is_what_was_pulled_last_whether_it_was_staged_then_or_before(
    server: Server, cli: Cli
) -> None:
    for serial, kernel in (("ONE", KERNEL), ("TWO", OTHER)):
        server.add_device(serial, kernel=kernel)
        assert tree_of(cli, "pull", "-s", serial) == kernel.archive_sha256
    assert tree_of(cli, "path", "latest") == OTHER.archive_sha256
    assert cli("devices").code == 0  # a look is no use
    assert tree_of(cli, "path", "latest") == OTHER.archive_sha256
    assert tree_of(cli, "pull", "-s", "ONE") == KERNEL.archive_sha256
    assert tree_of(cli, "path", "latest") == KERNEL.archive_sha256
    assert tree_of(cli, "path", "@TWO") == OTHER.archive_sha256  # nor is this
    assert tree_of(cli, "path", "latest") == KERNEL.archive_sha256


def test_latest_goes_back_to_what_was_used_before(server: Server, cli: Cli) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL)
    for kernel in (KERNEL, OTHER, KERNEL, THIRD):
        phone.reboot(kernel)
        assert wait_until(lambda: phone.is_settled)
        assert tree_of(cli, "pull") == kernel.archive_sha256
    assert cli("remove", "latest").code == 0
    assert tree_of(cli, "path", "latest") == KERNEL.archive_sha256


def test_a_pull_that_fails_leaves_latest_as_it_was(server: Server, cli: Cli) -> None:
    one = server.add_device("ONE", kernel=KERNEL)
    server.add_device("TWO", kernel=OTHER)
    for serial in ("ONE", "TWO", "ONE"):
        assert cli("pull", "-s", serial).code == 0
    one.reboot(THIRD)
    one.host_path(ARCHIVE_PATH).unlink()
    assert wait_until(lambda: one.is_settled)
    assert cli("pull", "-s", "ONE").code == 4
    assert tree_of(cli, "path", "latest") == KERNEL.archive_sha256


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
def test_the_kernel_last_used_is_compiled_against_and_it_is_said_which(
    server: Server, cli: Cli, tmp_path: Path
) -> None:
    """Pulled, or pulled again from what is staged, but not imported: that is for no device."""
    for serial, kernel in (("ONE", KERNEL), ("TWO", OTHER), ("TWIN", KERNEL)):
        server.add_device(serial, kernel=kernel)
    imported = tmp_path / "rebuilt.tar.xz"
    imported.write_bytes(replace(OTHER, seed=9, release="6.6.30-imported").archive)
    (tmp_path / "x.c").write_text("")
    steps = [
        (("pull", "-s", "ONE"), "of ONE"),
        (("pull", "-s", "TWO"), "of TWO"),
        (("import", str(imported)), "of TWO"),
        (("pull", "-s", "ONE"), "of ONE"),
        (("pull", "-s", "TWIN"), "of TWIN"),
        (("compdb", "-s", "TWO", "-o", str(tmp_path / "db"), str(tmp_path / "x.c")), "of TWO"),
    ]
    staged = set()
    before: dict[str, str] = {}
    for words, whose in steps:
        kernel = json.loads(cli(*words, "--json").out)["kernel"]
        staged.add(kernel["key"])
        before = before if words[0] == "import" else kernel
        shown = json.loads(cli("path", "--json").out)
        assert shown["kernel"]["key"] == before["key"]
        for command in (("compile", str(tmp_path / "x.c")), ("cflags",), ("env",)):
            done = cli(*command, "--json")
            used = json.loads(done.out)
            assert (used["kernel"]["key"], used["tree"]) == (before["key"], shown["tree"])
            assert f"using {before['release']} ({before['key'][:12]}, " in done.err
            assert f") {whose}\n" in done.err
            many = f"warning: {len(staged)} kernels are staged and none is named"
            assert (many in done.err) is (len(staged) > 1)


@pytest.mark.parametrize("notes", [True, False])
def test_what_the_kernel_shows_counts_more_than_what_was_imported(
    server: Server, cli: Cli, tmp_path: Path, notes: bool
) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL)
    if not notes:
        phone.host_path("/sys/kernel/notes").unlink()
    file = tmp_path / "other.tar.xz"
    file.write_bytes(REBUILT.archive)
    assert cli("import", str(file), "-s", "PHONE").code == 0
    assert tree_of(cli, "pull") == KERNEL.archive_sha256


def test_what_the_kernel_shows_counts_more_than_what_was_carved(
    server: Server, cli: Cli, tmp_path: Path
) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL, headers=Headers.MODULE)
    file = tmp_path / "kheaders.ko"
    file.write_bytes(REBUILT.module)
    carve = ("pull", "--module", str(file), "--via", "carve")
    assert tree_of(cli, *carve) == REBUILT.archive_sha256
    phone.put(ARCHIVE_PATH, KERNEL.archive, 0o444)
    assert tree_of(cli, "pull") == KERNEL.archive_sha256


def test_right_headers_are_not_replaced_by_wrong_ones(
    server: Server, cli: Cli, tmp_path: Path
) -> None:
    server.add_device("PHONE", kernel=KERNEL, headers=Headers.ABSENT)
    own, other = tmp_path / "own.ko", tmp_path / "other.ko"
    own.write_bytes(KERNEL.module)
    other.write_bytes(OTHER.module)
    assert tree_of(cli, "pull", "--module", str(own)) == KERNEL.archive_sha256
    refused = cli("pull", "--module", str(other), "--allow-mismatch")
    assert refused.code == 5
    assert "not its own and do not replace them" in refused.err
    assert tree_of(cli, "pull") == KERNEL.archive_sha256


def test_a_module_that_goes_away_is_loaded_again_in_the_open(
    server: Server, tmp_path: Path
) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL, headers=Headers.MODULE)
    there = AdbServer(ServerAddress("127.0.0.1", server.port), start=False)
    shell = Reached.select(there, Selection(), Deadline.after(20))
    shell.run("insmod /vendor/lib/modules/kheaders.ko", step="loading")
    assert "kheaders " in phone.loaded_modules
    noted: list[str] = []
    server.inject(Action.CALL, SCRIPT, call=lambda: _ended(shell.run("rmmod kheaders", step="x")))
    changes = tmp_path / "changes"
    server.inject(Action.CALL, READ, 100, call=lambda: noted.extend(map(str, changes.iterdir())))
    said: list[str] = []
    staged = pull(server.port, tmp_path, serial=None, timeout_s=20, on_change=said.append)
    assert staged.archive.sha256 == KERNEL.archive_sha256
    assert len(said) == len(noted) == 1
    assert "kheaders " not in phone.loaded_modules


def _ended(_: object) -> None:
    """Whatever came of it."""


def test_a_note_is_of_one_unit_and_of_no_namesake(server: Server, cli: Cli) -> None:
    serial = "0123456789ABCDEF"
    one = server.add_device(serial, kernel=KERNEL, devpath="usb:1-1")
    server.add_device(serial, kernel=KERNEL, devpath="usb:1-2", uid=2000)
    changes = Store.open(cli.store).changes
    changes.begin(serial, one.boot_id, ChangeKind.ADBD_ROOT, "1-1").close()
    changes.begin("model:Fake", "x", ChangeKind.ADBD_ROOT).close()
    assert "--undo" not in cli("pull", "-t", "2").err
    assert len(changes.left()) == 2
    done = cli("doctor", "--undo")
    assert done.code == 3
    assert "'model:Fake' is not connected" in done.out
    assert [change.serial for change in changes.left()] == ["model:Fake"]
    assert one.uid == 2000


def test_a_store_that_may_only_be_read_serves_with_notes_in_it(server: Server, cli: Cli) -> None:
    server.add_device("PHONE", kernel=KERNEL)
    assert cli("pull").code == 0
    changes = Store.open(cli.store).changes
    for serial in ("PHONE", "OTHER"):
        changes.begin(serial, "x", ChangeKind.ADBD_ROOT).close()
    (cli.store / "changes" / "PHONE.stray").mkdir()
    paths = [cli.store, *(path for path in cli.store.rglob("*") if not path.is_symlink())]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with as_anybody():
            staged = pull(server.port, cli.store, serial=None, timeout_s=20, on_change=print)
    finally:
        for path in paths:
            path.chmod(0o755)
    assert staged.cached


def test_root_that_may_not_read_a_module_is_told_so(server: Server, cli: Cli) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL, headers=Headers.MODULE)
    phone.host_path("/vendor/lib/modules/kheaders.ko").chmod(0)
    done = cli("pull", "--via", "carve")
    assert done.code == 4
    assert "cannot be read, not even as root" in done.err


def test_an_adb_root_that_was_granted_and_is_late_is_no_refusal(server: Server, cli: Cli) -> None:
    phone: Device = server.add_device(
        "PHONE", kernel=KERNEL, uid=2000, adbd_restart=AdbdRestart(changes_user=False)
    )
    done = cli("pull", "--timeout", "3")
    assert "refused" not in done.err
    assert "has not done so" in done.err
    assert len(Store.open(cli.store).changes.left("PHONE")) == 1
    assert phone.uid == 2000
