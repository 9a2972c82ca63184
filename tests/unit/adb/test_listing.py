"""adb's listings as adb writes them, and read back whatever a serial, a product or a device is called."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kheaders_adb.adb.listing import DeviceEntry, is_ambiguous, parse_devices
from tests.unit.adb.test_select import CLOSED, EMULATOR, PHONE, SHY, TLS, WIFI
from tests.unit.device.helpers import generated


def test_a_listing_in_full() -> None:
    properties = {"usb": "1-4.2", "product": "panther", "model": "Pixel_7", "device": "panther"}
    assert DeviceEntry("0A201FDD4004BD", "device", 3, properties) == PHONE
    assert (PHONE.is_usb, PHONE.model) == (True, "Pixel_7")
    assert (WIFI.serial, WIFI.transport_id, WIFI.is_usb) == ("192.168.1.7:5555", 4, False)
    assert DeviceEntry("emulator-5554", "offline", 5) == EMULATOR
    assert EMULATOR.model is None
    assert (SHY.state, SHY.is_usb) == ("unauthorized", True)
    assert CLOSED.serial == "(no serial number)"
    assert CLOSED.state == (
        "no permissions (user in plugdev group; are your udev rules wrong?); "
        "see [http://developer.android.com/tools/device.html]"
    )
    assert (CLOSED.is_usb, CLOSED.transport_id) == (True, 7)
    assert TLS.serial == "adb-R5CT10-x7._adb-tls-connect._tcp"


def test_servers_before_transport_ids() -> None:
    assert parse_devices(b"X1\tdevice\n") == (DeviceEntry("X1", "device"),)


@pytest.mark.parametrize("listing", ["", "\n\n", "lonely\n", "  \n"])
def test_lines_that_make_no_sense_are_left_out(listing: str) -> None:
    assert parse_devices(listing.encode()) == ()


@generated()
@given(st.text() | st.text(alphabet="ab \t\n:1()usbtransport_id"))
def test_any_listing_can_be_read(listing: str) -> None:
    for found in parse_devices(listing.encode()):
        assert found.serial
        assert found.transport_id is None or found.transport_id >= 0


def test_an_absurd_transport_id_is_unknown() -> None:
    (found,) = parse_devices(b"X1 device transport_id:" + 5000 * b"9")
    assert found.transport_id is None


STATES = (
    *("device", "offline", "bootloader", "host", "recovery", "sideload", "rescue", "unauthorized"),
    *("authorizing", "connecting", "detached", "unknown", "no permissions"),
    "no permissions (user x is not in the plugdev group); see [http://developer.android.com/x]",
)
PROPERTIES = {"usb": "1-2", "product": "p", "model": "M", "device": "d"}


def written(entry: DeviceEntry) -> bytes:
    """A line of ``host:devices-l``, as append_transport() has it."""
    line = b"%-22s %s" % (os.fsencode(entry.serial), os.fsencode(entry.state))
    for key, value in entry.properties.items():
        line += b" %s:%s" % (os.fsencode(key), os.fsencode(value))
    return line + b" transport_id:%d\n" % (entry.transport_id or 0)


def in_short(*entries: DeviceEntry) -> bytes:
    """The answer to ``host:devices``."""
    return b"".join(
        b"%s\t%s\n" % (os.fsencode(entry.serial), os.fsencode(entry.state)) for entry in entries
    )


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    "serial",
    [
        "adb-26151FDF60083B-9tP4nl (2)._adb-tls-connect._tcp",
        "adb-X (2)._adb-tls-connect._tcp",
        "a (2)",
        " leading",
        " leading, and longer than twenty-two bytes",
        "exactly-22-bytes-long-",
        "ending in a blank, at full width ",
        *STATES[:4],
        "device device",
        "adb device x._adb-tls-connect._tcp",
        "model:M device",
        "tab\there",
        "transport_id:7",
        os.fsdecode(b"\xff\xfe"),
        os.fsdecode(b"long enough not to be padded \xe9"),
        "\u0437\u0430\u0432\u043e\u0434",
        "line\u2028separator",
        "\x1b[31mred\x1b[0m",
    ],
    ids=ascii,
)
def test_serials_as_they_are(serial: str, state: str) -> None:
    """Without the short listing: what the server writes of its own is enough."""
    for properties in ({}, {"usb": "3-1.4"}, PROPERTIES):
        entry = DeviceEntry(serial, state, 12, properties)
        assert parse_devices(written(entry)) == (entry,)
        assert not is_ambiguous(written(entry))


@pytest.mark.parametrize("name", ["my product", "x offline", "a model:b", "p device:q", "é", " "])
def test_products_as_they_are(name: str) -> None:
    entry = DeviceEntry("X1", "device", 12, PROPERTIES | {"product": name})
    (found,) = parse_devices(written(entry), in_short(entry))
    assert (found.serial, found.state, found.transport_id) == ("X1", "device", 12)
    assert found.properties["usb"] == "1-2"


def test_a_place_without_a_key() -> None:
    (found,) = parse_devices(b"X1                     device 17907712X product:p transport_id:1\n")
    assert found == DeviceEntry("X1", "device", 1, {"usb": "17907712X", "product": "p"})


def test_what_can_be_read_in_two_ways_is_decided_by_the_short_listing() -> None:
    """A serial that ends as a line does, and one that begins as another's line."""
    plain = DeviceEntry("VICTIM", "device", 1, {"product": "x offline", "model": "M"})
    forged = DeviceEntry(f"{'VICTIM':22} device product:x", "offline", 2, {"model": "M"})
    for entries in ((plain,), (forged,), (plain, forged), (forged, plain)):
        listing = b"".join(map(written, entries))
        assert is_ambiguous(listing)
        assert parse_devices(listing, in_short(*entries)) == entries
    # A device that came between the two is in the one and not in the other.
    both = written(plain) + written(forged)
    assert parse_devices(both, in_short(forged))[1] == forged
    # Of a line that has gone, the short list may still hold the beginning of another.
    alone = written(forged)
    assert parse_devices(alone, in_short(plain, forged)) == (forged,)


def test_a_state_of_a_newer_server() -> None:
    entry = DeviceEntry("adb-X (2)._adb-tls-connect._tcp", "in repair", 3, {"model": "M"})
    assert is_ambiguous(written(entry))
    assert parse_devices(written(entry), in_short(entry)) == (entry,)
    single = DeviceEntry("X1", "hovering", 3, {"usb": "1-1"})
    assert parse_devices(written(single)) == (single,)


serials = st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1).filter(
    lambda serial: serial.strip(" \t\r") != "" and not serial.endswith((" ", "\t"))
)


@generated()
@given(serials, st.sampled_from(STATES), st.integers(0, 10**12), serials)
@example("X device product:x", "offline", 1, "y")
@example("X                      device", "device", 1, "a device")
def test_what_adb_writes_is_read_back(serial: str, state: str, number: int, product: str) -> None:
    entry = DeviceEntry(serial, state, number, {"usb": "1-2", "product": product, "model": "M"})
    (found,) = parse_devices(written(entry), in_short(entry))
    assert (found.serial, found.state, found.transport_id) == (serial, state, number)
    if not is_ambiguous(written(entry)):
        assert parse_devices(written(entry)) == (found,)
