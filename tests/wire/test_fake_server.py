"""The fake server at its worst: adbd that goes and comes, ids dealt out anew, lists as they really are."""

from __future__ import annotations

import os
import time

import pytest

from .devices import (
    ARCHIVE_PATH,
    AdbdRestart,
    Device,
    HangUp,
    Late,
    State,
)
from .faults import wait_until
from .kernel import Kernel
from .raw import HungUpError, Raw, RefusedError, read_all
from .server import Deal, Server

FOREVER_S = 600.0


@pytest.fixture
def raw(server: Server) -> Raw:
    return Raw(server.port)


# --- root: and unroot:


def test_root_hangs_up_and_the_device_is_gone(server: Server, raw: Raw) -> None:
    device = server.add_device(uid=2000, adbd_restart=AdbdRestart(away_s=FOREVER_S))
    assert raw.stream("root:") == b"restarting adbd as root\n"
    assert raw.ask("host:devices") == b""
    with pytest.raises(RefusedError, match="device 'FAKE0001' not found"):
        raw.open("shell:id", "host:transport:FAKE0001")
    device.end()  # does not wait that long


def test_root_comes_back_under_another_transport_id(server: Server, raw: Raw) -> None:
    device = server.add_device(uid=2000)
    assert raw.listing().keys() == {1}
    raw.stream("root:")
    assert wait_until(lambda: device.present)
    assert raw.listing().keys() == {2}
    with pytest.raises(RefusedError, match="no device with transport id '1'"):
        raw.open("shell:id", "host:transport-id:1")
    assert raw.shell("id -u").stdout == b"0\n"
    assert raw.stream("unroot:") == b"restarting adbd as non root\n"
    assert wait_until(lambda: device.present)
    assert raw.listing().keys() == {3}
    assert raw.shell("id -u").stdout == b"2000\n"


def test_root_may_hang_up_before_its_text_or_its_status(server: Server, raw: Raw) -> None:
    server.add_device("SHORT", uid=2000, adbd_restart=AdbdRestart(hangs_up=HangUp.AFTER_OKAY))
    server.add_device("MUTE", uid=2000, adbd_restart=AdbdRestart(hangs_up=HangUp.AT_ONCE))
    assert raw.stream("root:", "host:transport:SHORT") == b""
    with pytest.raises(HungUpError):
        raw.open("root:", "host:transport:MUTE")
    assert wait_until(lambda: [device.uid for device in server.devices] == [0, 0])


def test_root_ends_every_other_conversation_with_the_device(server: Server, raw: Raw) -> None:
    server.add_device("OURS", uid=2000)
    server.add_device("OTHER", uid=2000)
    wait = "shell:echo up; sleep 600"
    with (
        raw.open(wait, "host:transport:OURS") as ours,
        raw.open(wait, "host:transport:OTHER") as other,
    ):
        assert ours.recv(3) == other.recv(3) == b"up\n"
        raw.stream("root:", "host:transport:OURS")
        assert read_all(ours) == b""
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)


def test_root_may_never_bring_the_device_back(server: Server, raw: Raw) -> None:
    device = server.add_device(uid=2000, adbd_restart=AdbdRestart(away_s=0, returns=False))
    raw.stream("root:")
    device.end()  # all that was to happen has happened
    assert raw.ask("host:devices") == b""


def test_root_may_come_back_as_the_shell_user(server: Server, raw: Raw) -> None:
    device = server.add_device(uid=2000, adbd_restart=AdbdRestart(changes_user=False))
    raw.stream("root:")
    assert wait_until(lambda: device.present)
    assert raw.listing().keys() == {2}
    assert raw.shell("id -u").stdout == b"2000\n"


def test_the_old_transport_may_stay_and_answer(server: Server, raw: Raw) -> None:
    server.add_device(uid=2000, adbd_restart=AdbdRestart(lingers_s=FOREVER_S))
    assert raw.stream("root:") == b"restarting adbd as root\n"
    assert raw.listing().keys() == {1}
    assert raw.shell("id -u", "host:transport-id:1").stdout == b"2000\n"


def test_the_old_transport_may_stay_offline(server: Server, raw: Raw) -> None:
    how = AdbdRestart(lingers_s=FOREVER_S, lingers_as=State.OFFLINE)
    device = server.add_device(uid=2000, adbd_restart=how)
    raw.stream("root:")
    assert wait_until(lambda: device.state is State.OFFLINE)
    assert raw.ask("host:devices") == b"FAKE0001\toffline\n"


@pytest.mark.parametrize("state", [State.DEVICE, State.OFFLINE])
def test_the_old_transport_goes_in_the_end(server: Server, raw: Raw, state: State) -> None:
    how = AdbdRestart(lingers_s=0.2, lingers_as=state)
    device = server.add_device(uid=2000, adbd_restart=how)
    raw.stream("root:")
    assert wait_until(lambda: device.present and device.transport_id == 2)
    assert raw.ask("host:devices") == b"FAKE0001\tdevice\n"
    assert raw.shell("id -u").stdout == b"0\n"


def test_what_adbd_refuses_changes_nothing(server: Server, raw: Raw) -> None:
    server.add_device("USER", uid=2000, debuggable=False)
    server.add_device("ROOT", uid=0)
    refusal = b"adbd cannot run as root in production builds\n"
    assert raw.stream("root:", "host:transport:USER") == refusal
    assert raw.stream("root:", "host:transport:ROOT") == b"adbd is already running as root\n"
    assert raw.stream("unroot:", "host:transport:USER") == b"adbd not running as root\n"
    assert raw.listing().keys() == {1, 2}


def test_a_reboot_overtakes_a_restart(server: Server, raw: Raw) -> None:
    device = server.add_device(uid=2000, adbd_restart=AdbdRestart(away_s=0.3))
    raw.stream("root:")
    device.reboot()
    device.end()
    assert raw.listing().keys() == {2}  # once, and not as root
    assert device.uid == 2000


# --- a server that is restarted


def pair(server: Server) -> tuple[Device, Device]:
    """Two devices under the transport ids 3 and 2."""
    first, second = server.add_device("A"), server.add_device("B")
    first.reboot()
    assert (first.transport_id, second.transport_id) == (3, 2)
    return first, second


@pytest.mark.parametrize(
    ("deal", "serials"),
    [
        (None, {1: "A", 2: "B"}),
        (Deal.REVERSED, {1: "B", 2: "A"}),
        (Deal.KEPT, {3: "A", 2: "B"}),
    ],
)
def test_a_restarted_server_deals_out_ids(
    server: Server, raw: Raw, deal: Deal | None, serials: dict[int, str]
) -> None:
    pair(server)
    server.restart(deal)
    assert {number: line.split()[0] for number, line in raw.listing().items()} == serials


def test_an_old_id_means_another_device(server: Server, raw: Raw) -> None:
    first, second = pair(server)
    assert raw.shell("cat /proc/sys/kernel/random/boot_id", "host:transport-id:2").stdout == (
        f"{second.boot_id}\n".encode()
    )
    server.restart(Deal.REVERSED)
    assert raw.shell("cat /proc/sys/kernel/random/boot_id", "host:transport-id:2").stdout == (
        f"{first.boot_id}\n".encode()
    )


def test_who_comes_back_after_the_restart_gets_the_next_id(server: Server, raw: Raw) -> None:
    first, _ = pair(server)
    first.unplug()
    server.restart()
    assert raw.listing().keys() == {1}
    first.reboot()
    assert raw.listing()[2].startswith("A ")


def test_a_server_is_restarted_at_a_chosen_service(server: Server, raw: Raw) -> None:
    device = server.add_device("A")
    server.add_device("B")
    fault = server.restart_at(f"^exec:cat {ARCHIVE_PATH}", 20_000, deal=Deal.REVERSED, nth=2)
    assert raw.stream(f"exec:cat {ARCHIVE_PATH}", "host:transport:A") == device.kernel.archive
    cut = raw.stream(f"exec:cat {ARCHIVE_PATH}", "host:transport:A")
    assert (fault.fired, cut) == (1, device.kernel.archive[: 20_000 - len(b"OKAY")])
    assert wait_until(lambda: fault.done == 1)
    assert raw.listing()[1].startswith("B ")
    server.restart()
    assert raw.listing()[1].startswith("A ")  # only that once reversed


# --- two units of one serial


def test_two_units_of_one_serial(server: Server, raw: Raw) -> None:
    ours = server.add_device("TWIN", uid=2000, devpath="usb:1-2")
    other = server.add_device("TWIN", devpath="usb:3-1.4", kernel=Kernel(seed=2))
    assert raw.listing() == {
        1: "TWIN device usb:1-2 product:fake model:Fake device:fake",
        2: "TWIN device usb:3-1.4 product:fake model:Fake device:fake",
    }
    for service in ("host:transport:TWIN", "host-serial:TWIN:get-state"):
        with pytest.raises(RefusedError, match=r"^more than one device with serial TWIN$"):
            raw.ask(service)
    for device, to in (
        (ours, "host:transport-id:1"),
        (ours, "host:transport:usb:1-2"),
        (other, "host:transport-id:2"),
        (other, "host:transport:usb:3-1.4"),
    ):
        said = raw.shell("id -u; cat /proc/sys/kernel/random/boot_id", to).stdout.split()
        assert said == [str(device.uid).encode(), device.boot_id.encode()]
        assert raw.stream(f"exec:su -c true; cat {ARCHIVE_PATH}", to).endswith(
            b"Permission denied\n" if device is ours else device.kernel.archive
        )
    assert raw.ask("host-serial:usb:3-1.4:get-devpath") == b"usb:3-1.4"
    raw.stream("root:", "host:transport-id:1")
    assert wait_until(lambda: ours.present)
    assert raw.listing().keys() == {2, 3}


# --- slow starts


def test_a_device_comes_up_by_and_by(server: Server, raw: Raw) -> None:
    comes_up = ((State.OFFLINE, 0.2), (State.AUTHORIZING, 0.2), (State.CONNECTING, 0.2))
    for _ in range(2):
        device = server.add_device(f"D{len(server.devices)}", comes_up=comes_up)
        seen: list[State] = []

        def look(device: Device = device, seen: list[State] = seen) -> bool:
            state = device.state
            if state not in seen[-1:]:
                seen.append(state)
            return state is State.DEVICE

        assert wait_until(look)
        in_order = [State.OFFLINE, State.AUTHORIZING, State.CONNECTING, State.DEVICE]
        assert seen == sorted(seen, key=in_order.index)  # a busy machine may miss one


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (State.OFFLINE, "device offline"),
        (State.AUTHORIZING, "device still authorizing"),
        (State.CONNECTING, "device still connecting"),
    ],
)
def test_a_device_that_comes_up_is_refused(
    server: Server, raw: Raw, state: State, refusal: str
) -> None:
    device = server.add_device(comes_up=((state, FOREVER_S),))
    assert raw.ask("host:devices") == f"FAKE0001\t{state}\n".encode()
    with pytest.raises(RefusedError, match=f"^{refusal}$"):
        raw.open("shell:id")
    device.state = State.DEVICE
    assert raw.shell("id -u").stdout == b"0\n"
    device.reboot()
    assert raw.ask("host:devices") == f"FAKE0001\t{state}\n".encode()


def test_the_first_answers_come_late(server: Server, raw: Raw) -> None:
    device = server.add_device(late=Late(answers=2, delay_s=FOREVER_S))
    late = [raw._connect() for _ in range(2)]
    for sock in late:
        sock.sendall(b"0012host:transport-any")
        assert sock.recv(4) == b"OKAY"
        sock.sendall(b"0008shell:id")
    assert wait_until(lambda: server.services("^shell") == ["shell:id"] * 2)
    time.sleep(0.05)  # until both have been taken for the late ones
    assert raw.shell("id -u").stdout == b"0\n"
    for sock in late:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        sock.close()
    device.late = Late(answers=1, delay_s=0.2)
    device.reboot()
    assert raw.shell("id -u").stdout == b"0\n"  # late, but right


# --- listings


def test_short_lines_have_tabs_and_long_ones_columns(server: Server, raw: Raw) -> None:
    server.add_device("A1")
    server.add_device("127.0.0.1:5555", usb=False, state=State.OFFLINE)
    assert raw.ask("host:devices") == b"A1\tdevice\n127.0.0.1:5555\toffline\n"
    assert raw.ask("host:devices-l") == (
        b"A1                     device usb:1-1 product:fake model:Fake device:fake transport_id:1\n"
        b"127.0.0.1:5555         offline transport_id:2\n"
    )


@pytest.mark.parametrize(
    "serial",
    [
        b"adb-R58N12ABCDE-x1Y2z3 (2)._adb-tls-connect._tcp",
        b" LEADING",
        b"A device  model",
        b"\xff\xfe\x80serial",
        "Gerät".encode(),
    ],
    ids=["mdns", "leading blank", "like a line", "no UTF-8", "UTF-8"],
)
def test_serials_as_they_are(server: Server, raw: Raw, serial: bytes) -> None:
    device = server.add_device(os.fsdecode(serial))
    assert raw.ask("host:devices") == serial + b"\tdevice\n"
    line = raw.ask("host:devices-l")
    assert line.startswith(serial.ljust(22) + b" device usb:1-1 ")
    assert line.endswith(b" transport_id:1\n")
    assert raw.shell("id -u", f"host:transport:{device.serial}").stdout == b"0\n"
    assert raw.ask(f"host-serial:{device.serial}:get-serialno") == serial


def test_a_serial_is_not_trimmed(server: Server, raw: Raw) -> None:
    server.add_device(" LEADING")
    with pytest.raises(RefusedError, match=r"^device 'LEADING' not found$"):
        raw.open("shell:id", "host:transport:LEADING")


def test_a_device_without_a_serial_and_states_in_other_words(server: Server, raw: Raw) -> None:
    server.add_device("", state_text="rescue")
    no_permissions = (
        "no permissions (missing udev rules? user is in the plugdev group);"
        " see [http://developer.android.com/tools/device.html]"
    )
    server.add_device("SHUT", state=State.NO_PERMISSIONS, state_text=no_permissions)
    assert raw.ask("host:devices") == (
        b"(no serial number)\trescue\nSHUT\t" + no_permissions.encode() + b"\n"
    )
    assert raw.listing()[2] == f"SHUT {no_permissions} usb:1-2"
