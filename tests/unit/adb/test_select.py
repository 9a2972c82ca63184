"""Which device: adb's choice from its listing."""

from __future__ import annotations

import pytest

from kheaders_adb.adb.listing import DeviceEntry, parse_devices
from kheaders_adb.adb.select import (
    Selection,
    check_usable,
    choose,
    resolve_selection,
)
from kheaders_adb.errors import (
    AmbiguousDeviceError,
    DeviceError,
    NoDeviceError,
    OfflineError,
    UnauthorizedError,
    UsageError,
)

# As append_transport() of adb 1.0.41 writes it; the serial is padded to 22 columns.
LISTING = """\
0A201FDD4004BD         device usb:1-4.2 product:panther model:Pixel_7 device:panther transport_id:3
192.168.1.7:5555       device product:husky model:Pixel_8_Pro device:husky transport_id:4
emulator-5554          offline transport_id:5
R58M12ABCDE            unauthorized usb:3-1 transport_id:6
(no serial number)     no permissions (user in plugdev group; are your udev rules wrong?); see \
[http://developer.android.com/tools/device.html] usb:1-9 transport_id:7
adb-R5CT10-x7._adb-tls-connect._tcp device product:a model:b device:c transport_id:8
QV7000                 recovery usb:2-1 transport_id:9
"""
PHONE, WIFI, EMULATOR, SHY, CLOSED, TLS, RECOVERY = parse_devices(LISTING.encode())


def entry(
    serial: str, state: str = "device", *, usb: str | None = None, number: int | None = 1
) -> DeviceEntry:
    return DeviceEntry(serial, state, number, {} if usb is None else {"usb": usb})


USABLE = (PHONE, WIFI, RECOVERY)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(serial="0A201FDD4004BD"), PHONE),
        (Selection(serial="usb:1-4.2"), PHONE),
        (Selection(serial="product:panther"), PHONE),
        (Selection(serial="model:Pixel_8_Pro"), WIFI),
        (Selection(serial="device:husky"), WIFI),
        (Selection(serial="192.168.1.7:5555"), WIFI),
        (Selection(serial="192.168.1.7"), WIFI),
        (Selection(serial="tcp:192.168.1.7:5555"), WIFI),
        (Selection(tcp=True), WIFI),
        (Selection(transport_id=9), RECOVERY),
    ],
)
def test_one_fits(selection: Selection, expected: DeviceEntry) -> None:
    assert choose(USABLE, selection) is expected


@pytest.mark.parametrize(
    "serial",
    [
        "0a201fdd4004bd",
        "0A201FDD4004B",
        "1-4.2",
        "model:",
        "model:Pixel",
        "state:device",
        "192.168.1.7:5556",
        "192.168.1",
        "transport_id:3",
    ],
)
def test_nothing_fits_a_serial_by_half(serial: str) -> None:
    with pytest.raises(NoDeviceError) as caught:
        choose(USABLE, Selection(serial=serial))
    assert repr(serial) in caught.value.seen
    assert "0A201FDD4004BD  device usb Pixel_7" in caught.value.seen


def test_the_only_device_needs_no_flag() -> None:
    assert choose([PHONE], Selection()) is PHONE


def test_a_device_that_may_not_be_opened_is_no_choice() -> None:
    """As adb does: next to it, the other one is the only one, by any flag."""
    usable = entry("X1", usb="1-1")
    for selection in (Selection(), Selection(usb=True), Selection(serial="X1")):
        assert choose([CLOSED, usable], selection) is usable


def test_an_offline_device_is_a_choice() -> None:
    """As with adb: whether it can be used is asked only once it has been chosen."""
    with pytest.raises(AmbiguousDeviceError):
        choose([PHONE, EMULATOR], Selection())


def test_several_fit_and_each_is_named_with_its_flag() -> None:
    with pytest.raises(AmbiguousDeviceError) as caught:
        choose((PHONE, WIFI), Selection())
    assert caught.value.seen == (
        "2 devices fit:\n"
        "    -s 0A201FDD4004BD  device usb Pixel_7\n"
        "    -s 192.168.1.7:5555  device tcp Pixel_8_Pro"
    )


def test_the_same_serial_twice_is_told_apart_by_transport_id() -> None:
    twins = [entry("0123456789ABCDEF", usb="1-1", number=11), entry("0123456789ABCDEF", number=12)]
    with pytest.raises(AmbiguousDeviceError) as caught:
        choose(twins, Selection(serial="0123456789ABCDEF"))
    assert "-t 11 (0123456789ABCDEF)" in caught.value.seen
    assert "-t 12 (0123456789ABCDEF)" in caught.value.seen
    assert choose(twins, Selection(transport_id=12)) is twins[1]


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(), "no device is connected"),
        (Selection(serial="X1"), "no device is connected, serial 'X1' was asked for"),
        (Selection(usb=True), "no device is connected, a USB device was asked for"),
        (Selection(tcp=True), "no device is connected, a TCP device or emulator was asked for"),
        (Selection(transport_id=4), "no device is connected, transport id 4 was asked for"),
    ],
)
def test_nothing_is_connected(selection: Selection, words: str) -> None:
    with pytest.raises(NoDeviceError) as caught:
        choose((), selection)
    assert caught.value.seen == words
    assert caught.value.hint


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("unauthorized", UnauthorizedError, "it has not accepted this computer's adb key"),
        ("authorizing", UnauthorizedError, "is authorizing"),
        ("offline", OfflineError, "does not answer"),
        ("bootloader", OfflineError, "state 'bootloader'"),
        ("sideload", OfflineError, "state 'sideload'"),
        ("connecting", OfflineError, "state 'connecting'"),
        ("host", OfflineError, "state 'host'"),
        ("", OfflineError, "state ''"),
        (CLOSED.state, DeviceError, "are your udev rules wrong?"),
    ],
)
@pytest.mark.parametrize("selection", [Selection(), Selection(serial="X1"), Selection(usb=True)])
def test_the_one_that_fits_cannot_be_used(
    state: str, error: type[DeviceError], words: str, selection: Selection
) -> None:
    with pytest.raises(DeviceError) as caught:
        choose([entry("X1", state, usb="1-1")], selection)
    assert type(caught.value) is error
    assert caught.value.device == "X1"
    assert words in caught.value.seen
    assert caught.value.hint


@pytest.mark.parametrize("state", ["device", "recovery"])
def test_states_with_a_shell(state: str) -> None:
    check_usable(entry("X1", state))


@pytest.mark.parametrize(
    "given",
    [
        {"serial": "X1", "usb": True},
        {"usb": True, "tcp": True},
        {"tcp": True, "transport_id": 1},
        {"serial": "X1", "transport_id": 1},
    ],
)
def test_flags_exclude_each_other(given: dict[str, bool | str | int]) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        Selection(**given)  # type: ignore[arg-type]


def test_an_empty_serial_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="empty"):
        Selection(serial="")


def test_the_variable_counts_only_without_a_flag() -> None:
    environ = {"ANDROID_SERIAL": "X1"}
    assert resolve_selection(environ=environ) == Selection(serial="X1")
    assert resolve_selection(environ={"ANDROID_SERIAL": ""}) == Selection()
    assert resolve_selection(serial="Y2", environ=environ) == Selection(serial="Y2")
    assert resolve_selection(usb=True, environ=environ) == Selection(usb=True)
    assert resolve_selection(tcp=True, environ=environ) == Selection(tcp=True)
    assert resolve_selection(transport_id=0, environ=environ) == Selection(transport_id=0)
