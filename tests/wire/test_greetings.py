"""What shells say before a command begins: greetings are passed over, a login in their place is quoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.errors import TransferError
from kheaders_adb.model import Level, SourceKind, Via

from .client import pull
from .devices import Banner, Headers, Su, SyncAccess
from .kernel import Kernel
from .server import Server
from .test_cli import Cli, cli

__all__ = ["cli"]

KERNEL = Kernel(headers=2)
OLD: dict[str, Any] = {"features": ("cmd",)}
USER: dict[str, Any] = {"uid": 2000, "su": Su.MAGISK, "debuggable": False}
GREETINGS = {
    "greets": "Welcome to Tina Linux!",
    "greets at length": "\n".join(["Welcome to Tina Linux!"] * 1000),
    "greets as a script of ours": "@0123456789abcdef reading 5 - /sys/kernel/kheaders.tar.xz",
}
PHONES: dict[str, dict[str, Any]] = {
    "built in": {},
    "read through the shell": {"sync_access": SyncAccess.DENIED},
    "a module": {"headers": Headers.MODULE},
    "by su": USER,
    "without shell protocol 2": OLD,
    "by su without shell protocol 2": OLD | USER,
}
# LGE's and others' linkers write such lines for each program, on either stream (topjohnwu/Magisk #1721).
WARNS = """#!/bin/sh
for i in 1 2 3; do
    echo 'WARNING: linker: su: unused DT entry: type 0x6ffffef5 arg 0x1358'
    echo 'WARNING: linker: su: unused DT entry: type 0x6ffffef5 arg 0x1358' >&2
done
exec real-su "$@"
"""
LOGIN = "#!/bin/sh\nprintf '\\nTinaLinux login: '\nread name || {}\nsleep 60\n"
LOGINS = {"ends with its input": LOGIN.format("exit 1"), "waits": LOGIN.format(":")}


def pulled(server: Server, store: Path, **options: Any) -> SourceKind:
    staged = pull(server.port, store, serial=None, timeout_s=30, **options)
    assert (staged.verdict.level, staged.archive.sha256) == (Level.EXACT, KERNEL.archive_sha256)
    return staged.source.kind


@pytest.mark.parametrize("phone", PHONES)
@pytest.mark.parametrize("greeting", GREETINGS)
def test_a_shell_that_greets(server: Server, tmp_path: Path, phone: str, greeting: str) -> None:
    banner = Banner(GREETINGS[greeting], GREETINGS[greeting])
    server.add_device("PHONE", kernel=KERNEL, banner=banner, **PHONES[phone])
    loads = PHONES[phone].get("headers") is Headers.MODULE
    kind = SourceKind.MODULE_LOADED if loads else SourceKind.SYSFS
    assert pulled(server, tmp_path / "store") is kind


@pytest.mark.parametrize("phone", ["by su", "by su without shell protocol 2"])
def test_a_su_that_warns(server: Server, tmp_path: Path, phone: str) -> None:
    server.add_device("PHONE", kernel=KERNEL, **PHONES[phone]).put_tool("su", WARNS)
    assert pulled(server, tmp_path / "store") is SourceKind.SYSFS


def test_what_is_read_out_of_a_module_begins_behind_the_greeting(
    server: Server, tmp_path: Path
) -> None:
    banner = Banner(GREETINGS["greets"])
    server.add_device("PHONE", kernel=KERNEL, headers=Headers.MODULE, banner=banner)
    assert pulled(server, tmp_path / "store", via=Via.CARVE) is SourceKind.MODULE_CARVED


def test_the_devices_own_digest_is_read_behind_the_greeting(server: Server, tmp_path: Path) -> None:
    """So that an archive that is known does not cross the wire a second time."""
    server.add_device("ONE", kernel=KERNEL)
    server.add_device("TWO", kernel=KERNEL, banner=Banner(GREETINGS["greets"]))
    for serial in ("ONE", "TWO"):
        staged = pull(server.port, tmp_path / "store", serial=serial, timeout_s=30)
    assert staged.reuse is not None
    assert "this device's own sha256" in staged.reuse.reason


def test_a_push_to_a_shell_that_greets(cli: Cli, server: Server) -> None:
    phone = server.add_device("PHONE", kernel=KERNEL, banner=Banner(GREETINGS["greets"]))
    for _ in range(2):
        done = cli("push", "--to", "/data/local/tmp/tree")
        assert (done.code, "are in /data/local/tmp/tree" in done.err) == (0, True), done.err
    assert (phone.host_path("/data/local/tmp/tree/include/linux/sched.h")).is_file()


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("features", [(), ("shell_v2", "cmd")])
def test_a_login_in_the_place_of_the_shell_is_quoted(
    server: Server, tmp_path: Path, features: tuple[str, ...], login: str
) -> None:
    server.add_device("TINA", features=features).put_tool("sh", LOGINS[login])
    with pytest.raises(TransferError, match="TinaLinux login:") as caught:
        pull(server.port, tmp_path / "store", serial=None, timeout_s=3)
    assert caught.value.hint is not None
    assert "such as a login" in caught.value.hint


@pytest.mark.parametrize("phone", [{}, OLD])
def test_a_greeting_without_end_is_given_up(
    server: Server, tmp_path: Path, phone: dict[str, Any]
) -> None:
    server.add_device("PHONE", banner=Banner("x" * 100_000), **phone)
    with pytest.raises(TransferError, match="says too much before the command's output"):
        pull(server.port, tmp_path / "store", serial=None, timeout_s=30)
