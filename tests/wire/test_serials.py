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


def line(serial: str, number: int | None, state: str = "device") -> str:
    """A line of ``host:devices-l``, without its end."""
    facts = "" if number is None else f" usb:9-9 product:x model:y device:z transport_id:{number}"
    return f"{serial:22} {state}{facts}"


FORGED = {
    "a line with another's number": f"{line('EVIL', 1)}\nJUNK",
    "the same, as the short list has it": f"EVIL\tdevice\n{line('EVIL', 1)}\nJUNK\tdevice\nJUNK",
    "lines of both kinds that agree": f"{line('EVIL', 1)}\nEVIL\tdevice\nJUNK",
    "more lines than devices": f"{line('EVIL', 1)}\n" * 3 + "EVIL",
    "another's serial": f"{line('EVIL', 3)}\n{'HONEST':22}",
    "another's whole line": f"{line('EVIL', 3)}\n{line('HONEST', 1)}\nHONEST",
    "another's serial without a number": f"{line('EVIL', 1)}\n{line('HONEST', None)}\nJUNK",
    "another's line in another place": f"{line('HONEST', 1)}\nJUNK",
    "another's line in another state": f"{line('EVIL', 1)}\n{line('HONEST', 1, 'offline')}\nJUNK",
    "a serial that means a place": f"{line('EVIL', 1)}\nusb:1-1 device\nJUNK",
    "carriage returns": f"{line('EVIL', 1)}\r\nJUNK\r",
}


@pytest.mark.parametrize("serial", FORGED.values(), ids=FORGED)
def test_a_serial_with_line_breaks_leads_to_no_other_device(
    cli: Cli, server: Server, serial: str
) -> None:
    """adb's server writes serials as they are; what it says of one connection has a length in front."""
    honest = server.add_device("HONEST", kernel=Kernel(headers=2))
    hostile = server.add_device(serial, kernel=Kernel(headers=2, seed=2))
    for named in ("EVIL", "JUNK", "JUNK\r", "usb:1-1 device", "JUNK\tdevice\nJUNK"):
        assert cli("pull", "-s", named).code in (3, 7)
    assert cli("pull", "-t", str(hostile.transport_id)).code in (3, 7)
    assert [request for who, request in server.log if who is not None] == []
    done = cli("pull", "--json", "-s", "HONEST")
    assert done.code == 0, done.err
    assert json.loads(done.out)["kernel"]["build_id"] == honest.kernel.build_id
    assert {who for who, _ in server.log if who is not None} == {"HONEST"}
    rows = json.loads(cli("devices", "--json").out)["devices"]
    probed = [row["serial"] for row in rows if row["kernel"] is not None]
    assert probed == ["HONEST"]


def test_a_device_that_lists_itself_under_another_name_is_refused(cli: Cli, server: Server) -> None:
    server.add_device(f"{line('A', 7)}\nHONEST", kernel=Kernel(headers=2))
    done = cli("pull", "-s", "HONEST")
    assert done.code == 3
    assert "lists this serial, but its connection is that of 'A   " in done.err
    assert "unplug that one" in done.err
    assert [request for who, request in server.log if who is not None] == []


@pytest.mark.parametrize("serial", [" ", "X1 ", "X1\t", ""], ids=ascii)
def test_a_serial_that_the_list_pads_or_replaces_is_known_again(
    cli: Cli, server: Server, serial: str
) -> None:
    server.add_device(serial, kernel=Kernel(headers=2))
    done = cli("pull", "-t", "1")
    assert (done.code, serial) in ((0, serial), (3, " ")), (
        done.err
    )  # a line without a serial is none


def test_a_server_that_tells_no_serials(cli: Cli, server: Server) -> None:
    """No adb server is known that lists numbers and cannot say whose they are; a bridge may be one."""
    server.tells_serials = False
    server.add_device("HONEST", kernel=Kernel(headers=2))
    assert cli("pull", "-s", "HONEST").code == 0
    server.add_device(FORGED["a line with another's number"])
    assert cli("pull", "-s", "EVIL").code == 3
    assert cli("pull", "-s", "HONEST").code == 3, "nobody can tell which of the two lines is forged"
