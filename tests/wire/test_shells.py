"""Devices without shell protocol 2: old ones, bridges that forget what theirs can, and su on a terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device
from kheaders_adb.device.push import push_tree
from kheaders_adb.errors import NoHeadersError, TransferError
from kheaders_adb.model import Level, Privilege, SourceKind

from .client import pull, store_problems
from .devices import Adbd, Headers, Su, SuQuirk, SyncAccess
from .faults import Action, wait_until
from .protocol import ShellId, shell_packet
from .server import Server

PEERS: dict[str, dict[str, Any]] = {
    "a bridge before a new adbd": {"features": (), "adbd": Adbd.MODERN},
    "a server that knows no features": {
        "features_failure": "unknown host service",
        "adbd": Adbd.MODERN,
    },
    "Android 5": {"features": (), "adbd": Adbd.ANDROID_5},
    "Android 4": {"features": (), "adbd": Adbd.ANDROID_4},
    "Android 4 without base64": {"features": (), "adbd": Adbd.ANDROID_4, "without": ("base64",)},
}
THROUGH = {"Android 5": "exec:", "Android 4": "shell:", "Android 4 without base64": "shell:"}
USER = {"uid": 2000, "debuggable": False}
PTY_SU = USER | {"su": Su.MAGISK, "su_quirk": SuQuirk.PTY}


@pytest.mark.parametrize("kind", [Headers.BUILT_IN, Headers.PROC, Headers.MODULE])
@pytest.mark.parametrize("peer", PEERS)
def test_a_pull(server: Server, tmp_path: Path, peer: str, kind: Headers) -> None:
    """Exact, from memory the second time, and a module that was loaded is unloaded."""
    phone = server.add_device("PHONE", headers=kind, **PEERS[peer])
    store = tmp_path / "store"
    staged = pull(server.port, store, serial=None, timeout_s=30)
    assert (staged.verdict.level, staged.archive.sha256) == (
        Level.EXACT,
        phone.kernel.archive_sha256,
    )
    loads = kind is Headers.MODULE
    assert (staged.source.kind is SourceKind.MODULE_LOADED) is loads
    assert "kheaders " not in phone.loaded_modules
    assert phone.leftovers() == []
    notes = [note for note in staged.notes if "without shell protocol 2" in note]
    assert [THROUGH[peer] in note for note in notes] == ([True] if peer in THROUGH else [])
    assert pull(server.port, store, serial=None, timeout_s=30).cached
    assert store_problems(store, {phone.kernel.archive_sha256: phone.kernel.archive}) == []


@pytest.mark.parametrize("access", [SyncAccess.DENIED, SyncAccess.CLOSED])
@pytest.mark.parametrize("peer", ["Android 5", "Android 4"])
def test_where_sync_gives_nothing_the_shell_does(
    server: Server, tmp_path: Path, peer: str, access: SyncAccess
) -> None:
    """Also binary content, also through a terminal."""
    phone = server.add_device("PHONE", sync_access=access, **PEERS[peer])
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
    assert (staged.verdict.level, staged.archive.sha256) == (
        Level.EXACT,
        phone.kernel.archive_sha256,
    )


@pytest.mark.parametrize("peer", PEERS)
def test_what_the_shells_user_may_read(server: Server, tmp_path: Path, peer: str) -> None:
    phone = server.add_device("PHONE", **USER, shell_reads_archive=True, **PEERS[peer])
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
    assert staged.archive.sha256 == phone.kernel.archive_sha256


@pytest.mark.parametrize("headers", [Headers.BUILT_IN, Headers.MODULE])
@pytest.mark.parametrize("quirk", [None, SuQuirk.PTY])
@pytest.mark.parametrize("peer", ["a bridge before a new adbd", "Android 5", "Android 4"])
def test_by_way_of_su(
    server: Server, tmp_path: Path, peer: str, quirk: SuQuirk | None, headers: Headers
) -> None:
    phone = server.add_device(
        "PHONE", **PTY_SU | {"su_quirk": quirk}, headers=headers, **PEERS[peer]
    )
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
    assert (staged.verdict.level, staged.archive.sha256) == (
        Level.EXACT,
        phone.kernel.archive_sha256,
    )
    assert any("terminal" in note for note in staged.notes) is (quirk is not None)
    assert phone.leftovers() == []


@pytest.mark.parametrize("peer", THROUGH)
def test_a_module_given_is_carved(server: Server, tmp_path: Path, peer: str) -> None:
    """Commands there have no input by which it could be brought."""
    phone = server.add_device("PHONE", headers=Headers.ABSENT, **PEERS[peer])
    module = tmp_path / "kheaders.ko"
    module.write_bytes(phone.kernel.module)
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=30, module=module)
    assert (staged.verdict.level, staged.source.kind) == (Level.EXACT, SourceKind.MODULE_CARVED)


@pytest.mark.parametrize("sync_access", [SyncAccess.AS_ADBD, SyncAccess.DENIED])
@pytest.mark.parametrize("script", ["probe", "read"])
@pytest.mark.parametrize("peer", ["Android 5", "Android 4"])
def test_a_cut_stream_is_never_taken_for_whole(
    server: Server, tmp_path: Path, peer: str, script: str, sync_access: SyncAccess
) -> None:
    phone = server.add_device("PHONE", sync_access=sync_access, **PEERS[peer])
    service = rf"^(exec|shell):# kheaders-adb {script}\n"
    server.plan.sent = []
    pull(server.port, tmp_path / "whole", serial=None, timeout_s=30)
    sent = next(len(data) for name, data in server.plan.sent if re.search(service, name))
    # Everything but line ends behind the last mark counts.
    offsets = {0, 5, 20, sent // 2, *range(sent - 40, sent - 4, 5), sent - 5}
    for offset in sorted(offset for offset in offsets if offset >= 0):
        server.inject(Action.CLOSE, service, offset)
        store = tmp_path / str(offset)
        with pytest.raises(TransferError):
            pull(server.port, store, serial=None, timeout_s=30)
        assert store_problems(store, {phone.kernel.archive_sha256: phone.kernel.archive}) == []
        server.plan.clear()


def test_nothing_binary_comes_through_a_terminal_without_base64(
    server: Server, tmp_path: Path
) -> None:
    server.add_device("PHONE", sync_access=SyncAccess.DENIED, **PEERS["Android 4 without base64"])
    with pytest.raises(NoHeadersError) as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
    told = "\n".join((str(caught.value), *caught.value.__notes__))
    assert "may be read by root only" in told
    assert "it has no base64" in told


def test_a_configuration_without_end_is_not_read_to_its_end(server: Server, tmp_path: Path) -> None:
    """adbd's file service sends it where the shell cannot: whatever the device says is small."""
    phone = server.add_device("PHONE", **PEERS["Android 4 without base64"])
    phone.put("/proc/config.gz", bytes(2 << 20))
    with pytest.raises(TransferError, match=r"/proc/config\.gz has no end"):
        pull(server.port, tmp_path / "store", serial=None, timeout_s=30)


SHELL_SERVICES = "^(shell|exec)"


def test_an_adbd_that_runs_nothing(server: Server, tmp_path: Path) -> None:
    server.add_device("PHONE", features=())
    server.inject(Action.REPLACE, SHELL_SERVICES, data=b"FAIL0006closed", repeat=True)
    with pytest.raises(
        NoHeadersError, match=r"no command whose end can be seen \(shell,v2,raw: closed; exec: "
    ):
        pull(server.port, tmp_path / "store", serial=None, timeout_s=30)


def test_an_adbd_that_speaks_otherwise(server: Server, tmp_path: Path) -> None:
    """What it says in its own shell protocol is not what was asked for; what has a mark is."""
    server.add_device("PHONE", features=(), adbd=Adbd.MODERN)
    packets = shell_packet(ShellId.STDOUT, b"base64\n") + shell_packet(ShellId.EXIT, b"\0")
    server.inject(Action.REPLACE, "^shell,v2", data=b"OKAY" + packets, repeat=True)
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
    assert any("through exec:" in note for note in staged.notes), staged.notes


def test_a_bridge_that_never_answers_what_it_does_not_know(server: Server, tmp_path: Path) -> None:
    server.add_device("PHONE", features=(), adbd=Adbd.MODERN)
    server.inject(Action.STALL, "^shell,v2", repeat=True)
    staged = pull(server.port, tmp_path / "store", serial=None, timeout_s=8)
    assert any("through exec:" in note for note in staged.notes), staged.notes


def test_push_needs_an_input(server: Server, tmp_path: Path) -> None:
    server.add_device("PHONE", **PEERS["Android 5"])
    device = Device.select(
        AdbServer(ServerAddress("127.0.0.1", server.port), start=False),
        Selection(),
        Deadline.after(30),
    )
    with pytest.raises(NoHeadersError, match="commands there have no input"):
        push_tree(device, tmp_path, (), "name")


@pytest.mark.parametrize("cut", ["^sync:", r"^(exec|shell):# kheaders-adb read\n"])
@pytest.mark.parametrize("peer", ["Android 5", "Android 4"])
def test_a_module_is_unloaded_when_the_cable_is_pulled(
    server: Server, tmp_path: Path, peer: str, cut: str
) -> None:
    phone = server.add_device("PHONE", headers=Headers.MODULE, **PEERS[peer])
    # A mark, the word behind it, and the header: the script then waits.
    fault = server.inject(Action.CLOSE, cut, 100 if "read" in cut else 50_000)
    with pytest.raises(TransferError):
        pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
    assert fault.fired
    assert wait_until(lambda: "kheaders " not in phone.loaded_modules)
    assert wait_until(lambda: phone.leftovers() == [])


TOOLBOX_LS = """#!/bin/sh
# Android's before toybox: it counts no links, so that the date stands where the size is elsewhere.
for file; do :; done
[ -e "$file" ] || { echo "$file: No such file or directory"; exit 1; }
set -- $(stat -c '%A %u %g %s' "$file")
printf '%s %-8s %-8s %8s 1970-01-01 00:00 %s\\n' "$1" "$2" "$3" "$4" "${file##*/}"
"""


@pytest.mark.parametrize("brings", [False, True])
@pytest.mark.parametrize("su", [None, Su.MAGISK])
@pytest.mark.parametrize("features", [("cmd",), ("shell_v2", "cmd")])
def test_an_ls_that_counts_no_links(
    server: Server, tmp_path: Path, features: tuple[str, ...], su: Su | None, *, brings: bool
) -> None:
    """Then the size is not known: it is neither the date nor a file that came short."""
    phone = server.add_device(
        "PHONE",
        uid=0 if su is None else 2000,
        su=su,
        features=features,
        sync_access=SyncAccess.DENIED,
        headers=Headers.ABSENT if brings else Headers.BUILT_IN,
    )
    phone.put_tool("ls", TOOLBOX_LS)
    module = tmp_path / "kheaders.ko" if brings else None
    if module is not None:
        module.write_bytes(phone.kernel.module)
    staged = [
        pull(
            server.port,
            tmp_path / "store",
            serial=None,
            timeout_s=30,
            refresh=True,
            privilege=Privilege.AUTO if su is None else Privilege.SU,
            module=module,
        )
        for _ in range(2)
    ]
    assert [one.archive.sha256 for one in staged] == [phone.kernel.archive_sha256] * 2
    if brings:
        is_v2 = "shell_v2" in features
        assert staged[0].source.kind.name == ("MODULE_LOADED" if is_v2 else "MODULE_CARVED")
