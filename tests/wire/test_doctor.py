"""``doctor`` foresees what ``pull`` would do and end with, and changes nothing to find out."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .cases import PROBE
from .devices import Adbd, Headers, State, Su
from .faults import Action, wait_until
from .kernel import Kernel
from .server import Server
from .test_cli import Cli, Done

_MODULE = "/vendor/lib/modules/kheaders.ko"
_ARCHIVE = "/sys/kernel/kheaders.tar.xz"
_USER: dict[str, Any] = {"uid": 2000, "debuggable": False}


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


@dataclass(frozen=True, slots=True)
class Case:
    """A device, the code that both commands end with, and doctor's line."""

    code: int
    line: str
    options: dict[str, Any] = field(default_factory=dict)
    no_loading: bool = False


CASES = {
    "root": Case(0, f"ok    device .* device; pull would read {_ARCHIVE}"),
    "proc": Case(0, "ok .* pull would read /proc/kheaders.tar.xz", {"headers": Headers.PROC}),
    "an old adbd": Case(
        0,
        f"ok .* without shell protocol 2: .*; pull would read {_ARCHIVE}",
        {"features": (), "adbd": Adbd.ANDROID_4},
    ),
    "a lenient build": Case(
        0, f"ok .* pull would read {_ARCHIVE}", {**_USER, "shell_reads_archive": True}
    ),
    "su": Case(
        0,
        f"warn .* pull would ask su for root, then read {_ARCHIVE}",
        {**_USER, "su": Su.MAGISK},
    ),
    "adb root": Case(
        0,
        f"warn .* pull would restart adbd as root \\(undone afterwards\\), then read {_ARCHIVE}",
        {"uid": 2000},
    ),
    "su, else adb root": Case(
        0,
        "warn .* pull would ask su for root, else restart adbd as root \\(undone afterwards\\), "
        f"then read {_ARCHIVE}",
        {"uid": 2000, "su": Su.MAGISK},
    ),
    "a module": Case(
        0,
        f"ok .* pull would load {_MODULE}, read the headers and unload it",
        {"headers": Headers.MODULE},
    ),
    "a module that may not be loaded": Case(
        0,
        f"ok .* pull would carve the headers out of {_MODULE}",
        {"headers": Headers.MODULE},
        no_loading=True,
    ),
    "a module that does not come through": Case(
        4,
        "fail  device .*it has no base64",
        {
            **_USER,
            "headers": Headers.MODULE,
            "features": (),
            "adbd": Adbd.ANDROID_4,
            "without": ("base64",),
        },
    ),
    "a module and no root": Case(
        0,
        f"ok .* pull would carve the headers out of {_MODULE}",
        {**_USER, "headers": Headers.MODULE},
    ),
    "a module and su": Case(
        0,
        f"ok .* pull would ask su for root, then load {_MODULE}",
        {**_USER, "headers": Headers.MODULE, "su": Su.DENIED},
    ),
    "unauthorized": Case(3, "fail  device .*not accepted", {"state": State.UNAUTHORIZED}),
    "offline": Case(3, "fail  device .*is offline", {"state": State.OFFLINE}),
    "no permission": Case(3, "fail  device .*no permission", {"state": State.NO_PERMISSIONS}),
    "no headers": Case(
        4, "fail  device .*there is no kheaders.ko on the device", {"headers": Headers.ABSENT}
    ),
    "no headers and no root": Case(
        4,
        "fail  device .*no kheaders.ko that this shell .*sees no su",
        {**_USER, "headers": Headers.ABSENT},
    ),
    "for root only": Case(4, "fail  device .*only root may read it, .*sees no su", _USER),
}


def _said(done: Done, pattern: str) -> bool:
    return re.search(f"(?m)^{pattern}", done.out) is not None


def _changed(server: Server) -> list[str]:
    """What was asked of a device that changes it, or asks somebody for root."""
    return server.services("^(un)?root:") + server.services("raw:'?su'? ")


@pytest.mark.parametrize("name", CASES)
def test_doctor_says_what_pull_would_do_and_ends_as_it_would(
    cli: Cli, server: Server, name: str
) -> None:
    case = CASES[name]
    phone = server.add_device("PHONE", **case.options)
    if case.no_loading:
        phone.put("/proc/sys/kernel/modules_disabled", b"1")
    looked = cli("doctor")
    assert _said(looked, case.line), looked.out
    assert _changed(server) == []
    done = cli("pull")
    assert (looked.code, done.code) == (case.code, case.code), done.err
    document = json.loads(cli("doctor", "--json").out)
    assert document["ok"] is (case.code == 0)


def test_what_only_trying_can_tell_is_not_tried(cli: Cli, server: Server) -> None:
    server.add_device("PHONE", **_USER, su=Su.HANG)
    looked = cli("doctor")
    assert looked.code == 0
    assert _said(looked, "warn .* pull would ask su for root"), looked.out
    assert "whether root is granted is seen only then" in looked.out
    assert _changed(server) == []


def test_what_is_staged_would_be_used(cli: Cli, server: Server) -> None:
    phone = server.add_device("PHONE")
    assert cli("pull").code == 0
    phone.uid = 2000
    looked = cli("doctor")
    assert looked.code == 0
    assert _said(looked, "ok .* pull would use what is staged"), looked.out


def test_only_the_device_that_is_meant_decides(cli: Cli, server: Server) -> None:
    server.add_device("GOOD")
    other = Kernel(extra=(("DEBUG_LIST", "y"),))
    bare = server.add_device("BARE", kernel=other, headers=Headers.ABSENT, usb=False)
    for words, code, seen in (
        ((), 3, {"GOOD", "BARE", "devices"}),
        (("-s", "GOOD"), 0, {"GOOD"}),
        (("-s", "BARE"), 4, {"BARE"}),
        (("-d",), 0, {"GOOD"}),
        (("-e",), 4, {"BARE"}),
        (("-t", str(bare.transport_id)), 4, {"BARE"}),
        (("-s", "GONE"), 3, {"devices"}),
    ):
        looked = cli("doctor", *words)
        lines = [line for line in looked.out.splitlines() if re.match(r"\w+ +devices? ", line)]
        named = {"devices" if " devices " in line else line.split()[2][:-1] for line in lines}
        assert (looked.code, named) == (code, seen), (words, looked.out)
        assert cli("pull", *words).code == code
    assert _said(cli("doctor"), "warn  device .*BARE: kernel .* shows no headers")


def test_a_device_that_hangs_hides_no_other(cli: Cli, server: Server) -> None:
    server.add_device("HANGS")
    server.add_device("GOOD")
    server.inject(Action.STALL, PROBE, 5, serial="HANGS", repeat=True)
    looked = cli("doctor")
    # Not for as long as a device may be silent, but as one may take here in all.
    assert _said(looked, "warn .* HANGS: the device sent nothing more and the time is over"), (
        looked.out
    )
    assert _said(looked, "ok .* GOOD: device; pull would read"), looked.out
    assert cli("doctor", "-s", "HANGS", "--timeout", "1").code == 7
    assert cli("pull", "-s", "HANGS", "--timeout", "1").code == 7


@contextmanager
def _listening(says: bytes) -> Iterator[int]:
    """A port at which another program than an adb server listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.sendall(says)
                taken.append(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()


@pytest.mark.parametrize(
    ("says", "code", "seen"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", 3, "which is not the adb protocol"),
        (b"", 7, "the adb server sent nothing more and the time is over"),
    ],
    ids=["ssh", "mute"],
)
def test_a_port_that_is_no_adb_server(cli: Cli, says: bytes, code: int, seen: str) -> None:
    with _listening(says) as port:
        looked = cli("doctor", "-P", str(port))
        pulled = cli("pull", "-P", str(port), "--timeout", "2")
    assert (looked.code, pulled.code) == (code, code)
    assert _said(looked, f"fail  adb server .*{seen}"), looked.out
    for said in (looked.out, pulled.err):
        assert re.search("check that (the address given|what listens at .*) is an adb server", said)


def test_a_store_that_cannot_be_written_counts_unless_all_is_staged(
    cli: Cli, server: Server
) -> None:
    phone = server.add_device("PHONE")
    assert cli("pull").code == 0
    (cli.store / "tmp").rename(cli.store / "away")
    (cli.store / "tmp").write_text("no folder")
    assert (cli("doctor").code, cli("pull").code) == (0, 0)
    assert _said(cli("doctor"), "warn  store "), cli("doctor").out
    phone.reboot(Kernel(extra=(("DEBUG_LIST", "y"),)))
    assert wait_until(lambda: phone.is_settled)
    assert (cli("doctor").code, cli("pull").code) == (8, 8)
