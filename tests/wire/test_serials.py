"""Serials and releases that hold blanks, state words or bytes that are no text: pulled from, end to end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .client import store_problems
from .devices import Headers
from .kernel import Kernel
from .server import Server
from .test_cli import Cli, cli

__all__ = ["cli"]

SERIALS = [
    "adb-26151FDF60083B-9tP4nl (2)._adb-tls-connect._tcp",
    "adb-X (2)._adb-tls-connect._tcp",
    " a leading blank",
    "offline",
    "device                 device product:x",
    os.fsdecode(b"not-utf8-\xff\xe9"),
    "\u0437\u0430\u0432\u043e\u0434",
    "\x1b]0;owned\x07",
]


@pytest.mark.parametrize("serial", SERIALS, ids=ascii)
def test_a_serial_of_any_bytes_is_pulled_from(cli: Cli, server: Server, serial: str) -> None:
    device = server.add_device(serial, kernel=Kernel(headers=2))
    other = server.add_device("X1", kernel=Kernel(headers=2, seed=2))
    done = cli("pull", "--json", "-s", serial)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["serial"] == serial
    assert document["kernel"]["build_id"] == device.kernel.build_id
    # By the connection's number, and as the kernel that it was last seen with.
    again = json.loads(cli("pull", "--json", "-t", str(device.transport_id)).out)
    assert (again["serial"], again["cached"]) == (serial, True)
    assert cli("path", f"@{serial}").out == f"{document['tree']}\n"
    assert json.loads(cli("devices", "--json").out)["devices"][0]["serial"] == serial
    kernels = {each.archive_sha256: each.archive for each in (device.kernel, other.kernel)}
    assert store_problems(cli.store, kernels) == []
    for shown in (cli("devices"), cli("list"), cli("pull"), cli("doctor")):
        assert "\x1b" not in shown.out + shown.err


@pytest.mark.parametrize("serial", SERIALS[:2])
def test_each_of_several_is_named_so_that_it_can_be_pasted(
    cli: Cli, server: Server, serial: str
) -> None:
    server.add_device(serial)
    server.add_device(SERIALS[-1])
    done = cli("pull")
    assert done.code == 3
    assert f"-s '{serial}'" in done.err
    assert "-t 2 (\\x1b]0;owned\\x07)" in done.err


def test_a_server_that_knows_no_numbers(cli: Cli, server: Server) -> None:
    """As of adb before 2018: then the serial itself goes to it, byte for byte."""
    device = server.add_device(SERIALS[5], kernel=Kernel(headers=2))
    server.lists_numbers = False
    done = cli("pull", "-s", device.serial)
    assert done.code == 0, done.err
    assert server.services(r"^host:transport:not-utf8-\udcff\udce9$")


@pytest.mark.parametrize("headers", [Headers.BUILT_IN, Headers.MODULE])
def test_a_release_with_a_blank(cli: Cli, server: Server, headers: Headers) -> None:
    kernel = Kernel(headers=2, release="6.1.75-my build")
    server.add_device(kernel=kernel, headers=headers)
    done = cli("pull", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["kernel"]["release"] == kernel.release
    checks = {check["name"]: check["status"] for check in document["verdict"]["checks"]}
    assert checks["release"] == checks["builder"] == "agree"
    assert Path(cli("path", kernel.release).out.strip()).is_dir()
