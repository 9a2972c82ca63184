"""The faults F1 to F15 as cases, by family, but for those at bytes of a stream (`stream_cases`)."""

from __future__ import annotations

from collections.abc import Iterator

from .campaign import Case, FaultAt
from .devices import Adbd, Headers, State, Su
from .faults import ACCEPT, Action
from .protocol import SHELL_HEADER, ShellId, shell_packet

LISTING = "^host:devices-l$"
FEATURES = ":features$"
SWITCH = "^host:transport-id:"
PROBE = r"^shell,v2,raw:# kheaders-adb probe\n"
SCRIPT = r"^shell,v2,raw:# kheaders-adb read\n"  # keeps the module while the archive is read
READ = r"^sync:"  # the archive itself
SWEEP = r"^shell,v2,raw:# kheaders-adb sweep\n"
SERVICES = {
    "listing": LISTING,
    "features": FEATURES,
    "switch": SWITCH,
    "probe": PROBE,
    "script": SCRIPT,
    "read": READ,
}

OK = frozenset({0})
LOST = frozenset({7})
NO_DEVICE = frozenset({3})
GONE = frozenset({3, 7})  # before the device is chosen it is "no device", afterwards "lost"
STALL_TIMEOUT_S = 1.0
MODULE = {"headers": Headers.MODULE}


def _spots(name: str) -> tuple[int, ...]:
    """A few offsets in what a service sends."""
    return {"switch": (0, 3), "read": (0, 4, 60, 70_000, 198_000)}.get(name, (0, 3, 4))


def silent() -> Iterator[Case]:
    """F1 never answers, F2 accepts and then nothing, F3 stalls in the middle."""
    for name, service in SERVICES.items():
        for offset in (0, 2) if name == "switch" else (0, 2, 4):
            yield Case(
                f"F1 {name} is never answered beyond byte {offset}",
                (FaultAt(Action.STALL, service, offset, repeat=True),),
                GONE if name in ("listing", "features") else LOST,
                timeout_s=STALL_TIMEOUT_S,
                then_works=offset == 0,
            )
    yield Case(
        "F2 accepts and then nothing",
        (FaultAt(Action.STALL, ACCEPT, repeat=True),),
        GONE,
        timeout_s=STALL_TIMEOUT_S,
        then_works=True,
    )
    for nth in (2, 3, 4):
        yield Case(
            f"F2 accepts and then nothing, connection {nth}",
            (FaultAt(Action.STALL, ACCEPT, nth=nth, repeat=True),),
            GONE,
            timeout_s=STALL_TIMEOUT_S,
        )
    for service, offsets in (
        (PROBE, (9, 100, 700)),
        (SCRIPT, (9, 60)),
        (READ, (9, 21, 5_000, 65_536, 190_000)),
    ):
        for offset in offsets:
            yield Case(
                f"F3 stalls at byte {offset} of {service}",
                (FaultAt(Action.STALL, service, offset),),
                LOST,
                timeout_s=STALL_TIMEOUT_S,
                then_works=True,
            )
    for offset in (9, 30, 5_000, 100_000):
        yield Case(
            f"F3 stalls at byte {offset} while the module is loaded",
            (FaultAt(Action.STALL, READ, offset),),
            LOST,
            device=MODULE,
            timeout_s=STALL_TIMEOUT_S,
            then_works=True,
        )
    yield Case(
        "F3 every shell stalls from the read on, the cleaning as well",
        (FaultAt(Action.STALL, READ, 5_000), FaultAt(Action.STALL, SWEEP, repeat=True)),
        LOST,
        device=MODULE,
        timeout_s=STALL_TIMEOUT_S,
    )


def trickling() -> Iterator[Case]:
    """F4: a byte every 0.2 s, so that no single wait ever runs out."""
    for name, service in SERVICES.items():
        # The handful of bytes of the switch comes through in time; the rest does not.
        yield Case(
            f"F4 {name} trickles",
            (FaultAt(Action.TRICKLE, service, 4, repeat=True),),
            OK if name == "switch" else GONE,
            timeout_s=3.0 if name == "switch" else STALL_TIMEOUT_S,
            must_fire=name != "switch",
        )
    yield Case(
        "F4 the archive trickles fast",
        (FaultAt(Action.TRICKLE, READ, 4, pause_s=0.0003),),
        LOST,
        timeout_s=STALL_TIMEOUT_S,
    )
    for offset in (100, 66_000, 198_000):
        yield Case(
            f"F4 the archive trickles from byte {offset}",
            (FaultAt(Action.TRICKLE, READ, offset),),
            LOST,
            timeout_s=STALL_TIMEOUT_S,
            then_works=True,
        )


def device_states() -> Iterator[Case]:
    """F6 unauthorized and its kin, F7 flapping, F10 the same serial twice."""
    for state in (
        State.UNAUTHORIZED,
        State.AUTHORIZING,
        State.OFFLINE,
        State.CONNECTING,
        State.NO_PERMISSIONS,
        State.SIDELOAD,
        State.BOOTLOADER,
    ):
        yield Case(
            f"F6 the device is {state}",
            (),
            NO_DEVICE,
            device={"state": state},
            then_works=state in (State.UNAUTHORIZED, State.OFFLINE),
        )
    for call in ("flap", "offline", "unplug"):
        for name, service in SERVICES.items():
            for offset in _spots(name):
                yield Case(
                    f"F7 {call} at byte {offset} of {name}",
                    (FaultAt(Action.CALL, service, offset, call=call),),
                    # A conversation with the server alone outlives the device.
                    GONE | OK,
                    then_works=offset > 0,
                )
    yield Case("F10 the same serial twice", (), NO_DEVICE, before="twin")
    yield Case("F10 two devices and none named", (), NO_DEVICE, before="other", serial=None)


def servers() -> Iterator[Case]:
    """F8 server killed or restarted, F9 a server of another version or no adb server at all."""
    for call in ("kill server", "restart server"):
        for name, service in SERVICES.items():
            for offset in _spots(name):
                yield Case(
                    f"F8 {call} at byte {offset} of {name}",
                    (FaultAt(Action.CALL, service, offset, call=call),),
                    GONE,
                    then_works=True,
                )
    for call in ("kill server", "restart server", "unplug", "flap"):
        for offset in (4, 30, 5_000, 120_000):
            yield Case(
                f"F8 {call} at byte {offset} while the module is loaded",
                (FaultAt(Action.CALL, READ, offset, call=call),),
                LOST | OK,
                device=MODULE,
                then_works=True,
            )
    for version in ("old server", "new server"):
        yield Case(f"F9 {version}", (), OK, before=version)
    for name, service in SERVICES.items():
        for what, data in {
            "a web server": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            "an ssh server": b"SSH-2.0-OpenSSH_9.6\r\n",
            "zeros": bytes(4096),
            "an endless OKAY": b"OKAY" * 20_000,
            "a FAIL without a text": b"FAIL",
            "a FAIL with a bad length": b"FAILzzzz",
            "a FAIL that is too long": b"FAILffff" + b"x" * 0xFFFF,
            "an escape sequence": b"FAIL0010\x1b]0;owned\x07\x1b[2J..",
        }.items():
            yield Case(
                f"F9 {name} is answered by {what}",
                (FaultAt(Action.REPLACE, service, data=data),),
                # Who refuses to give the file, in whatever words, is asked through the shell.
                GONE | OK if name == "read" else GONE,
            )
    for what, data in {
        "no number": b"OKAYxxxx",
        "a negative length": b"OKAY-001",
        "a length with a prefix": b"OKAY0x10",
        "more than it sends": b"OKAYffffFAKE0001 device",
        "nothing": b"OKAY0000",
        "binary": b"OKAY0010" + bytes(range(0x80, 0x90)),
        "a line without a state": b"OKAY0009FAKE0001\n",
    }.items():
        yield Case(
            f"F9 the listing holds {what}", (FaultAt(Action.REPLACE, LISTING, data=data),), GONE
        )


def reboots() -> Iterator[Case]:
    """F11: the device boots, and maybe into another kernel, while it is being read."""
    for call, says in (
        ("reboot", "the adb server lists another device, or none"),
        ("reboot behind a relay", "the device rebooted"),
        ("swap kernel", "the device rebooted"),
    ):
        yield Case(
            f"F11 {call} before the connection of the read",
            # The fifth, after those for the listing, the serial, the features and the probe.
            (FaultAt(Action.CALL, ACCEPT, nth=5, call=call),),
            LOST,
            says=says,
            then_works=True,
        )
        yield Case(
            f"F11 {call} between probe and read",
            (FaultAt(Action.CALL, SWITCH, nth=2, call=call),),
            LOST,
            then_works=True,
        )
        for offset in (0, 60, 100_000):
            yield Case(
                f"F11 {call} at byte {offset} of the read",
                (FaultAt(Action.CALL, READ, offset, call=call),),
                LOST,
                then_works=True,
            )
        yield Case(
            f"F11 {call} while the module is loaded",
            (FaultAt(Action.CALL, READ, 50_000, call=call),),
            LOST,
            device=MODULE,
            then_works=True,
        )


def shells() -> Iterator[Case]:
    """F12 noise, F13 no shell v2, F14 su that blocks, and packets that no shell sends."""
    noise = b"WARNING: linker: something about ld.config.txt\n"
    for name, service in (("probe", PROBE), ("script", SCRIPT)):
        yield Case(
            f"F12 {name}: noise on stderr",
            (FaultAt(Action.INSERT, service, 4, data=shell_packet(ShellId.STDERR, noise)),),
            OK,
        )
        yield Case(
            f"F12 {name}: a flood on stderr",
            (
                FaultAt(
                    Action.INSERT,
                    service,
                    4,
                    data=shell_packet(ShellId.STDERR, noise * 200) * 100,
                ),
            ),
            # What the device's own script says on stderr goes down in it.
            frozenset({0, 4, 7}),
        )
        yield Case(
            f"F12 {name}: noise on stdout",
            (FaultAt(Action.INSERT, service, 4, data=shell_packet(ShellId.STDOUT, noise)),),
            OK,
        )
        for what, data in {
            "4 GiB announced": SHELL_HEADER.pack(ShellId.STDOUT, 0xFFFFFFFF),
            "an unknown packet": shell_packet(ShellId.WINDOW_SIZE_CHANGE, b"24x80"),
            "an empty packet": shell_packet(ShellId.STDOUT, b""),
            "an exit at once": shell_packet(ShellId.EXIT, b"\0"),
            "an exit code of no bytes": shell_packet(ShellId.EXIT, b""),
            "an exit code of two bytes": shell_packet(ShellId.EXIT, b"\0\0"),
            "an unknown id": b"\xff\x04\0\0\0abcd",
        }.items():
            allowed = (
                LOST | OK
                if what in ("an unknown packet", "an empty packet", "an unknown id")
                else LOST
            )
            if name == "script" and what == "an exit at once":
                allowed = frozenset({0, 4, 7})  # the module can still be carved
            yield Case(
                f"F12 {name}: {what}", (FaultAt(Action.INSERT, service, 4, data=data),), allowed
            )
    yield Case("F13 no shell v2", (), OK, device={"features": ("cmd", "stat_v2")})
    yield Case("F13 no features at all", (), OK, device={"features": ()})
    yield Case("F13 nor exec", (), OK, device={"features": (), "adbd": Adbd.ANDROID_4})
    yield Case(
        "F14 su blocks",
        (),
        frozenset({4, 7}),
        device={"uid": 2000, "su": Su.HANG, "debuggable": False},
        timeout_s=3.0,
    )
    yield Case(
        "F14 su denies",
        (),
        frozenset({4}),
        device={"uid": 2000, "su": Su.DENIED, "debuggable": False},
    )
