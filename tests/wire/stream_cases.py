"""The faults at bytes of a stream: a module on its way, and F5, whose offsets are computed or drawn here."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .campaign import Case, FaultAt
from .cases import GONE, LOST, OK, READ, SCRIPT, SERVICES, STALL_TIMEOUT_S
from .client import pull
from .devices import Headers
from .faults import Action, Direction
from .protocol import SHELL_HEADER, ShellId
from .server import Server


def pushes() -> Iterator[Case]:
    """A module on its way to the device: cut, reset and stalled at bytes of the client's own stream."""
    for action in (Action.CLOSE, Action.RESET, Action.STALL):
        for offset in (0, 1, 5, 6, 4_000, 65_540, 131_072, 199_000):
            yield Case(
                f"push: {action.value} at byte {offset}",
                (FaultAt(action, SCRIPT, offset, Direction.IN),),
                LOST,
                device={"headers": Headers.ABSENT},
                push_module=True,
                timeout_s=STALL_TIMEOUT_S if action is Action.STALL else 15.0,
                then_works=offset in (5, 131_072),
            )
    yield Case(
        "push: the device's disk is full",
        (),
        OK,  # it can still be carved
        device={"headers": Headers.ABSENT},
        before="full disk",
        push_module=True,
    )


def _clean_run(device: dict[str, Any]) -> dict[str, bytes]:
    """What each service sends in a pull without faults."""
    with Server() as server, TemporaryDirectory() as store:
        server.add_device(**device)
        server.plan.sent = []
        pull(server.port, Path(store), serial=None, timeout_s=20.0)
        sent = server.plan.sent
    found: dict[str, bytes] = {}
    for name, pattern in SERVICES.items():
        for service, data in sent:
            if re.search(pattern, service, re.DOTALL):
                found.setdefault(name, bytes(data))
    return found


_PACKETS = 3


def _kinds(data: bytes) -> dict[int, str]:
    """An offset for every kind of byte of the first packets of a shell v2 conversation, with its name.

    How the output is cut into packets varies from run to run; offsets that are there however it is cut.
    """
    kinds = {0: "first of the status", 3: "last of the status"}
    at = len(b"OKAY")
    output_bytes = number = 0
    while at < len(data):
        kind, size_bytes = SHELL_HEADER.unpack_from(data, at)
        if kind == ShellId.STDOUT:
            output_bytes += size_bytes
            number += 1
            spots = {"id": 0, "length 1": 1, "length 2": 2, "length 4": 4, "first byte": 5}
            spots["last byte"] = 4 + size_bytes
            for spot, relative in spots.items() if number <= _PACKETS else ():
                kinds.setdefault(at + relative, f"{spot} of packet {number}")
        at += SHELL_HEADER.size + size_bytes
    certain_bytes = len(b"OKAY") + SHELL_HEADER.size + output_bytes
    return {at: kind for at, kind in kinds.items() if at < certain_bytes}


def ends(seed: int, random_offsets: int = 200) -> Iterator[Case]:
    """F5: the end of the stream at every kind of byte, in the first 64 KiB, and at random."""
    dice = random.Random(seed)
    clean = _clean_run({})
    for name in ("listing", "features", "switch"):
        for offset in range(len(clean[name])) if name == "switch" else (0, 2, 4, 6, 8, 15):
            yield Case(
                f"F5 {name} ends at byte {offset}",
                (FaultAt(dice.choice((Action.CLOSE, Action.RESET)), SERVICES[name], offset),),
                GONE,
            )
    for name in ("probe", "script"):
        data = clean[name]
        for offset, kind in sorted(_kinds(data).items()):
            yield Case(
                f"F5 {name} ends at byte {offset}, {kind}",
                (FaultAt(Action.CLOSE, SERVICES[name], offset),),
                LOST,
            )
        for kind, marker, offsets in (
            ("stderr packet", bytes((ShellId.STDERR,)), (0, 1, 4, 5, 10)),
            ("exit packet", SHELL_HEADER.pack(ShellId.EXIT, 1), range(6)),
        ):
            for offset in offsets if (name, kind) != ("probe", "stderr packet") else ():
                yield Case(
                    f"F5 {name} ends at byte {offset} of the {kind}",
                    (FaultAt(Action.CLOSE, SERVICES[name], offset, marker=marker),),
                    LOST,
                )
    size_bytes = len(clean["read"])
    last = size_bytes - 9  # past DONE nothing counts any more
    for offset in (*range(4, 45), *range(last - 8, last + 1)):
        yield Case(f"F5 read ends at byte {offset}", (FaultAt(Action.CLOSE, READ, offset),), LOST)
    for offset in range(1_310, 65_536, 1_310):
        yield Case(f"F5 read ends at byte {offset}", (FaultAt(Action.CLOSE, READ, offset),), LOST)
    # Drawn without replacement: a case twice would be counted as two.
    for offset in dice.sample(range(4, last), random_offsets):
        action = dice.choice((Action.CLOSE, Action.RESET, Action.CORRUPT))
        yield Case(
            f"F5 read: {action.value} at byte {offset}",
            (FaultAt(action, READ, offset),),
            LOST if action is not Action.CORRUPT else frozenset({4, 5, 6, 7}),
        )
