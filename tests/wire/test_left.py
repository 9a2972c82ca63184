"""What runs change is undone by the last of them; what a killed one has left, by whoever asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from kheaders_adb.model import Staged
from kheaders_adb.store import Store
from kheaders_adb.store.changes import ChangeKind

from .cases import READ
from .client import pull
from .devices import Device, Headers, Su
from .faults import Action, wait_until
from .server import Server
from .test_cli import Cli


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


def _phone(server: Server) -> Device:
    return server.add_device("PHONE", uid=2000)


def _pull(server: Server, store: Path, said: list[str], **options: bool) -> Staged:
    return pull(
        server.port,
        store,
        serial=None,
        timeout_s=30,
        on_change=said.append,
        refresh=True,
        **options,
    )


def _wait(gate: threading.Event) -> None:
    gate.wait(20)


def _are_reading(server: Server, count: int) -> bool:
    return len(server.services(READ)) == count


def test_who_finds_another_runs_root_is_not_cut_off_and_undoes_it(
    server: Server, tmp_path: Path
) -> None:
    phone = _phone(server)
    gates = [threading.Event() for _ in range(2)]
    said: list[list[str]] = [[], []]
    threads = []
    for gate, heard in zip(gates, said, strict=True):
        server.inject(Action.CALL, READ, 5_000, call=partial(_wait, gate))
        threads.append(threading.Thread(target=_pull, args=(server, tmp_path, heard)))
        threads[-1].start()
        assert wait_until(partial(_are_reading, server, len(threads)))
    for gate, thread, uid in zip(gates, threads, (0, 2000), strict=True):
        gate.set()
        thread.join()
        assert phone.uid == uid, said
    assert any("adbd stays root: another run relies on it" in line for line in said[0]), said
    assert server.services("^(un)?root:") == ["root:", "unroot:"]
    assert Store.open(tmp_path).changes.left() == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_undone_does_not_stop_that(
    server: Server, cli: Cli, number: signal.Signals
) -> None:
    phone = _phone(server)
    with cli.running("pull") as process:

        def is_undoing() -> None:
            server.inject(Action.CALL, "id -u", call=partial(process.send_signal, number))

        server.inject(Action.CALL, READ, 5_000, call=is_undoing)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert phone.uid == 2000, err
    assert Store.open(cli.store).changes.left() == ()


def test_root_that_the_user_made_stays(server: Server, tmp_path: Path) -> None:
    phone = server.add_device("PHONE", uid=0)
    said: list[str] = []
    _pull(server, tmp_path, said)
    assert (phone.uid, said) == (0, [])


def test_root_that_is_to_be_kept_is_undone_by_no_other_run(server: Server, tmp_path: Path) -> None:
    phone = _phone(server)
    store = Store.open(tmp_path)
    claim = store.changes.begin("PHONE", phone.boot_id, ChangeKind.ADBD_ROOT)
    phone.restart_adbd(0)
    assert wait_until(lambda: phone.is_settled)
    _pull(server, tmp_path, [], keep_root=True)
    assert not claim.is_last()
    assert phone.uid == 0


@pytest.mark.parametrize("words", [("pull",), ("pull", "-q")])
def test_what_a_killed_run_left_is_told_and_undone(
    server: Server,
    cli: Cli,
    words: tuple[str, ...],
) -> None:
    phone = _phone(server)
    fault = server.inject(Action.STALL, READ, 5_000)
    with cli.running(*words) as process:
        assert wait_until(lambda: fault.fired == 1)
        process.kill()
        _, err = process.communicate()
    assert "restarting adbd as root" in err
    assert phone.uid == 0
    looked = cli("doctor")
    assert "may have left adbd running as root" in looked.out
    assert "kheaders-adb doctor --undo -s PHONE" in looked.out
    told = cli(*words)
    assert "`kheaders-adb doctor --undo` undoes that" in told.err
    assert phone.uid == 0  # it may be somebody's by now; who wants it undone says so
    done = cli("doctor", "--undo", "-s", "PHONE")
    assert (done.code, done.out.split()) == (
        0,
        ["ok", "device", "PHONE:", "adbd", "runs", "as", "the", "shell's", "user", "again"],
    )
    assert phone.uid == 2000
    assert "undo" not in cli(*words).err
    assert "no killed run has left anything" in cli("doctor", "--undo").out


def test_a_reboot_has_undone_it(server: Server, cli: Cli) -> None:
    phone = server.add_device("PHONE", headers=Headers.MODULE)
    changes = Store.open(cli.store).changes
    for kind in ChangeKind:
        changes.begin("PHONE", phone.boot_id, kind).close()
    phone.reboot()
    assert wait_until(lambda: phone.is_settled)
    assert "undo" not in cli("pull").err
    assert changes.left() == ()


def test_undoing_needs_the_device(server: Server, cli: Cli) -> None:
    phone = _phone(server)
    changes = Store.open(cli.store).changes
    changes.begin("GONE", phone.boot_id, ChangeKind.ADBD_ROOT).close()
    done = cli("doctor", "--undo")
    assert done.code == 3
    assert "'GONE' is not connected" in done.out
    assert len(changes.left()) == 1


def _left_by_root(phone: Device, cli: Cli) -> Path:
    Store.open(cli.store).changes.begin("PHONE", phone.boot_id, ChangeKind.MODULE).close()
    work = phone.root / "data/local/tmp/kheaders-adb"
    lease = work / f"lease.{phone.boot_id}.1.987654321.gone"
    lease.mkdir(parents=True)
    phone._own(work)
    return lease


def test_undoing_needs_the_root_that_was_there(server: Server, cli: Cli) -> None:
    phone = server.add_device("PHONE", uid=2000, debuggable=False, su=Su.DENIED)
    lease = _left_by_root(phone, cli)
    done = cli("doctor", "--undo")
    assert done.code == 4
    assert "what is left is root's, and there is no root: su gives no root" in done.out
    assert lease.is_dir()
    phone.set_state_file("su", Su.MAGISK.value)
    assert cli("doctor", "--undo").code == 0
    assert not lease.exists()


def test_what_a_living_run_uses_is_not_undone(server: Server, cli: Cli) -> None:
    phone = server.add_device("PHONE")
    work = _left_by_root(phone, cli).parent
    start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    (work / f"lease.{phone.boot_id}.{os.getpid()}.{start}.lives").mkdir()
    done = cli("doctor", "--undo")
    assert done.code == 7
    assert "lives" in done.out
    assert len(Store.open(cli.store).changes.left()) == 1


def test_tests_tell_of_it_and_can_do_without(server: Server, cli: Cli, tmp_path: Path) -> None:
    phone = _phone(server)
    (tmp_path / "test_it.py").write_text("def test_it(kheaders):\n    print(kheaders.tree)\n")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    env = cli.env | {
        "ANDROID_ADB_SERVER_PORT": str(server.port),
        "KHEADERS_ADB_STORE": str(cli.store),
    }

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        whole = [*argv, f"--basetemp={tmp_path / 'of-the-test'}", *more]
        return subprocess.run(whole, cwd=tmp_path, env=env, capture_output=True, text=True)

    refused = run("--kheaders-privilege", "none")
    assert refused.returncode == 1
    assert server.services("^(un)?root:") == []
    done = run()
    assert done.returncode == 0, done.stdout
    assert "kheaders-adb: PHONE: restarting adbd as root" in done.stdout
    assert phone.uid == 2000
