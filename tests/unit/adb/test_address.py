"""Where the adb server is, by adb's own flags and variables."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.adb.address import ServerAddress, parse_socket_spec, resolve_address
from kheaders_adb.errors import UsageError
from tests.unit.device.helpers import generated

ALL_VARIABLES = {
    "ADB_SERVER_SOCKET": "tcp:socket.example:1",
    "ANDROID_ADB_SERVER_ADDRESS": "address.example",
    "ANDROID_ADB_SERVER_PORT": "2",
}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ServerAddress("localhost", 5037)),
        (ALL_VARIABLES, ServerAddress("socket.example", 1)),
        ({**ALL_VARIABLES, "ADB_SERVER_SOCKET": ""}, ServerAddress("address.example", 2)),
        ({"ANDROID_ADB_SERVER_PORT": "5038"}, ServerAddress("localhost", 5038)),
        ({"ANDROID_ADB_SERVER_ADDRESS": "h"}, ServerAddress("h", 5037)),
        ({"ANDROID_ADB_SERVER_HOST": "adbutils"}, ServerAddress("adbutils", 5037)),
        (
            {"ANDROID_ADB_SERVER_HOST": "adbutils", "ANDROID_ADB_SERVER_ADDRESS": "h"},
            ServerAddress("h", 5037),
        ),
        (
            {"ANDROID_ADB_SERVER_ADDRESS": "", "ANDROID_ADB_SERVER_PORT": ""},
            ServerAddress("localhost", 5037),
        ),
    ],
)
def test_variables_without_a_flag(environ: Mapping[str, str], expected: ServerAddress) -> None:
    assert resolve_address(environ=environ) == expected


def test_any_flag_switches_every_variable_off() -> None:
    assert resolve_address(host="h", environ=ALL_VARIABLES) == ServerAddress("h", 5037)
    assert resolve_address(port=7, environ=ALL_VARIABLES) == ServerAddress("localhost", 7)
    socket = resolve_address(socket="tcp:9", environ=ALL_VARIABLES)
    assert socket == ServerAddress("localhost", 9)


@pytest.mark.parametrize(
    ("spec", "expected", "notation"),
    [
        ("tcp:5037", ServerAddress("localhost", 5037), "tcp:localhost:5037"),
        ("tcp:host:1", ServerAddress("host", 1), "tcp:host:1"),
        ("tcp:[::1]:65535", ServerAddress("::1", 65535), "tcp:[::1]:65535"),
        ("localfilesystem:/a b", ServerAddress("", 0, "/a b"), "localfilesystem:/a b"),
        ("local:/tmp/x", ServerAddress("", 0, "/tmp/x"), "localfilesystem:/tmp/x"),
        ("localabstract:adb", ServerAddress("", 0, "\0adb"), "localabstract:adb"),
    ],
)
def test_adbs_notation(spec: str, expected: ServerAddress, notation: str) -> None:
    address = parse_socket_spec(spec, "-L")
    assert address == expected
    assert str(address) == notation
    assert parse_socket_spec(notation, "-L") == address


@pytest.mark.parametrize(
    "spec",
    [
        *("", "tcp", "tcp:", "tcp:host:", "tcp:host:x", "tcp:0", "tcp:65536", "tcp:-1", "tcp:٣"),
        *("local:", "localabstract:", "vsock:1:2", "5037", f"tcp:{'9' * 5000}"),
    ],
)
def test_what_is_no_address_is_refused_with_its_source(spec: str) -> None:
    with pytest.raises(UsageError, match=r"^ADB_SERVER_SOCKET: ") as caught:
        parse_socket_spec(spec, "ADB_SERVER_SOCKET")
    assert caught.value.hint


@generated()
@given(st.text() | st.text().map("tcp:".__add__) | st.text(alphabet="tcp:[]0129local").map(str))
def test_any_spec_is_an_address_or_a_mistake(spec: str) -> None:
    try:
        address = parse_socket_spec(spec, "-L")
    except UsageError:
        return
    assert address.path or 1 <= address.port <= 65535


@pytest.mark.parametrize("port", [0, -5, 65536, 99999])
def test_ports_that_do_not_exist(port: int) -> None:
    """adb's client says so too; 0 must not mean the default."""
    with pytest.raises(UsageError, match=r"-P: .* is not a TCP port"):
        resolve_address(port=port, environ={})


def test_a_bad_port_in_the_environment_names_the_variable() -> None:
    with pytest.raises(UsageError, match=r"^ANDROID_ADB_SERVER_PORT: 'five' is not a TCP port$"):
        resolve_address(environ={"ANDROID_ADB_SERVER_PORT": "five"})


def test_the_whole_address_or_its_parts() -> None:
    for given_too in ({"host": "h"}, {"port": 1}):
        with pytest.raises(UsageError, match="-L names the whole address"):
            resolve_address(socket="tcp:1", environ={}, **given_too)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (ServerAddress("localhost", 1), True),
        (ServerAddress("127.0.0.1", 1), True),
        (ServerAddress("127.8.9.1", 1), True),
        (ServerAddress("::1", 1), True),
        (ServerAddress("", 0, "/tmp/adb"), True),
        (ServerAddress("", 0, "\0adb"), True),
        (ServerAddress("0.0.0.0", 1), False),
        (ServerAddress("::", 1), False),
        (ServerAddress("192.168.1.2", 1), False),
        (ServerAddress("localhost.example.com", 1), False),
        (ServerAddress("127.0.0.1.example.com", 1), False),
    ],
)
def test_servers_are_started_on_this_machine_alone(address: ServerAddress, local: bool) -> None:
    assert address.is_local is local
