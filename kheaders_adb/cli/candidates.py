"""What a word of the command line could be where only the adb server or the store can say it.

Serials and releases are the devices' own words: what is more than one plain line is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb import settings

if TYPE_CHECKING:
    from kheaders_adb.adb.listing import DeviceEntry
    from kheaders_adb.store import KernelRecord

WITHIN_S = 0.3
"""How long the adb server may take in all, from the first name looked up to the last answer."""

Given = Mapping[str, Sequence[str]]
"""The values of the options so far, by the parameter's name."""

_KEY_DIGITS = 12
_MEANS_SOMETHING_ELSE = re.compile(r"-.*|@.*|latest|[0-9a-f]{4,64}")
"""What a release may be and is not taken for: an option, a device, `latest`, the beginning of a key."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word that fits, and what a shell may show beside it."""

    text: str
    about: str = ""


def serials(given: Given) -> Iterator[Candidate]:
    """The serials of the devices that the server knows, in its order."""
    for entry in _devices(given):
        yield Candidate(entry.serial, _about(entry))


def transport_ids(given: Given) -> Iterator[Candidate]:
    """The transport ids of these devices."""
    for entry in _devices(given):
        if entry.transport_id is not None:
            yield Candidate(str(entry.transport_id), f"{entry.serial} {_about(entry)}".rstrip())


def kernels(given: Given) -> Iterator[Candidate]:
    """All that KERNEL may be: `latest`, a release that is one kernel's, @SERIAL, the beginning of a key."""
    from kheaders_adb.store import Store

    place = _last(given, "store")
    store = Store.open(settings.store_path(Path(place) if place else None), create=False)
    records = store.records()
    if not records:
        return
    yield Candidate("latest", _named(store.resolve("latest")))
    releases = Counter(record.identity.release for record in records)
    for record in records:
        release = record.identity.release
        is_unique = sum(releases[each] for each in releases if each.startswith(release)) == 1
        if is_unique and not _MEANS_SOMETHING_ELSE.fullmatch(release):
            yield Candidate(release, f"{record.key[:_KEY_DIGITS]} {_what(record)}")
    for device in store.devices():
        running = store.running(device)
        if running is not None:
            yield Candidate(f"@{device.serial}", _named(running))
    for record in records:
        yield Candidate(record.key[:_KEY_DIGITS], f"{record.identity.release} {_what(record)}")


def optimize_levels(_given: Given) -> Iterator[Candidate]:
    """The levels that clang is given."""
    from kheaders_adb.ebpf.compile import OPTIMIZE_LEVELS

    yield from map(Candidate, OPTIMIZE_LEVELS)


def cpus(_given: Given) -> Iterator[Candidate]:
    """The BPF instruction sets."""
    yield from (Candidate(f"v{number}") for number in range(1, 5))


def completing_shells(_given: Given) -> Iterator[Candidate]:
    """The shells that completion can be installed for."""
    from kheaders_adb.cli.installing import SCRIPTS

    yield from map(Candidate, SCRIPTS)


def _devices(given: Given) -> Sequence[DeviceEntry]:
    from kheaders_adb.adb.deadline import Deadline

    port = _last(given, "port")
    server = settings.adb_server(
        host=_last(given, "host"),
        port=None if port is None else int(port),
        socket=_last(given, "socket"),
    )
    # Whoever presses Tab has not asked for a server.
    return replace(server, start=False).devices(Deadline.after(WITHIN_S))


def _about(entry: DeviceEntry) -> str:
    """The model; of a device that cannot be used, why not."""
    return (entry.model or "") if entry.state == "device" else entry.state


def _named(record: KernelRecord) -> str:
    return f"{record.identity.release} ({record.key[:_KEY_DIGITS]})"


def _what(record: KernelRecord) -> str:
    return f"{record.identity.machine} {record.verdict.level}"


def _last(given: Given, name: str) -> str | None:
    values = given.get(name)
    return values[-1] if values else None
