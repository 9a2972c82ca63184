"""What a probe's answer is taken for, down to answers that no honest device gives."""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.device.probe import (
    ARCHIVE_PATHS,
    DeviceFile,
    HeadersPlace,
    Probe,
    parse_probe,
    probe,
    probe_script,
)
from kheaders_adb.errors import TransferError
from kheaders_adb.kernel.notes import parse_build_id
from kheaders_adb.model import KernelIdentity
from tests.unit.device.helpers import generated
from tests.unit.device.peer import device_that, packet

MARK = "@0011223344556677"
BUILD_ID = "0123456789abcdef0123456789abcdef01234567"
CONFIG = b"CONFIG_64BIT=y\n# CONFIG_KASAN is not set\n" * 100
BOOT = "c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de"
SYSFS = "/sys/kernel/kheaders.tar.xz"
VENDOR = "/vendor/lib/modules/kheaders.ko"


def note(name: bytes, kind: int, data: bytes, order: str = "<") -> bytes:
    """One ELF note."""
    head = struct.pack(f"{order}III", len(name), len(data), kind)
    return head + name + bytes(-len(name) % 4) + data + bytes(-len(data) % 4)


NOTES = note(b"Xen\0", 18, b"x") + note(b"GNU\0", 3, bytes.fromhex(BUILD_ID))
GZIPPED = gzip.compress(CONFIG, mtime=0)
SECTIONS = {
    "uname": b"6.1.75-android14-11\n#1 SMP PREEMPT Thu Feb  1 12:00:00 UTC 2024 aarch64\n",
    "banner": b"Linux version 6.1.75-android14-11 (build-user@build-host) (clang) #1 SMP PREEMPT\n",
    "boot_id": f"{BOOT}\n".encode(),
    "uid": b"0\n",
    "binary": GZIPPED + NOTES,
    "files": f"r {SYSFS}\n- {VENDOR}\n".encode(),
    "loaded": b"",
    "disabled": b"0\n",
    "work": b"/data/local/tmp/kheaders-adb\n",
    "ours": b"",
    "root": b"",
    "end": b"",
}


def answer(**changed: bytes | None) -> bytes:
    sections = {**SECTIONS, **changed}
    return b"".join(
        f"\n{MARK} {name}\n".encode() + content
        for name, content in sections.items()
        if content is not None
    )


def parsed(**changed: bytes | None) -> Probe:
    return parse_probe(answer(**changed), MARK)


def test_a_whole_answer() -> None:
    assert parsed() == Probe(
        identity=KernelIdentity(
            release="6.1.75-android14-11",
            version="#1 SMP PREEMPT Thu Feb  1 12:00:00 UTC 2024",
            machine="aarch64",
            banner="Linux version 6.1.75-android14-11 (build-user@build-host) (clang) #1 SMP PREEMPT",
            build_id=BUILD_ID,
            config_sha256=hashlib.sha256(CONFIG).hexdigest(),
            boot_id=BOOT,
        ),
        config=CONFIG,
        uid=0,
        archives=(DeviceFile(PurePosixPath(SYSFS), True),),
        modules=(DeviceFile(PurePosixPath(VENDOR), False),),
        module_loaded=False,
        modules_disabled=False,
        works=(PurePosixPath("/data/local/tmp/kheaders-adb"),),
        leftovers=(),
        has_su=False,
        debuggable=False,
    )


def test_what_an_unprivileged_shell_cannot_see_is_unknown() -> None:
    hidden = ("banner", "boot_id", "uid", "binary", "files", "disabled")
    told = parsed(
        **dict.fromkeys(hidden, b""),
        root=b"su\n1\n",
    )
    assert told.identity == KernelIdentity(
        "6.1.75-android14-11", "#1 SMP PREEMPT Thu Feb  1 12:00:00 UTC 2024", "aarch64"
    )
    assert (told.config, told.uid, told.modules_disabled) == (None, None, None)
    assert told.is_root is False
    assert (told.has_su, told.debuggable) == (True, True)
    assert told.place is HeadersPlace.ABSENT


@pytest.mark.parametrize(
    ("files", "loaded", "place"),
    [
        (f"r {SYSFS}", b"", HeadersPlace.BUILT_IN),
        ("r /proc/kheaders.tar.xz", b"", HeadersPlace.BUILT_IN),
        (f"- {SYSFS}\nr {VENDOR}", b"1\n", HeadersPlace.LOADED),
        (f"r {VENDOR}", b"", HeadersPlace.MODULE),
        ("", b"", HeadersPlace.ABSENT),
        ("r relative/kheaders.ko", b"", HeadersPlace.ABSENT),
    ],
)
def test_where_the_headers_are(files: str, loaded: bytes, place: HeadersPlace) -> None:
    assert parsed(files=files.encode(), loaded=loaded).place is place


def test_one_blank_more_or_less_in_the_version_is_another_kernel() -> None:
    """uname pads the day of the month; both the key and the match need the version as it is."""
    assert "Feb  1 " in parsed().identity.version


def test_a_release_may_hold_blanks() -> None:
    identity = parsed(uname=b"6.1.75-my build\n#1 SMP aarch64\n").identity
    assert (identity.release, identity.version, identity.machine) == (
        "6.1.75-my build",
        "#1 SMP",
        "aarch64",
    )


def test_the_folders_that_can_be_used_and_no_others() -> None:
    lines = b"/data/local/tmp/kheaders-adb\n/kheaders\ntmp/kheaders-adb\n/dev/kheaders-adb.2000\n"
    assert [str(work) for work in parsed(work=lines).works] == [
        "/data/local/tmp/kheaders-adb",
        "/dev/kheaders-adb.2000",
    ]
    assert str(parsed(work=b"").work) == "/data/local/tmp/kheaders-adb"


def test_what_a_terminal_has_altered_is_noticed_and_undone() -> None:
    """ONLCR writes CR LF for each LF, also within the configuration and the notes."""
    plain = answer(binary=GZIPPED + NOTES + b"\r\n")
    told = parse_probe(plain.replace(b"\n", b"\r\n"), MARK)
    assert told.alters_bytes
    assert replace(told, alters_bytes=False) == parse_probe(plain, MARK)


def test_leftovers() -> None:
    names = b"/data/local/tmp/kheaders-adb/lease.x.1.2.3\n/data/local/tmp/kheaders-adb/ours.x\n"
    assert len(parsed(ours=names).leftovers) == 2


def test_a_binary_section_that_looks_like_a_mark() -> None:
    """A mark is random and on a line of its own, so nothing that a device holds can pass for it."""
    notes = NOTES + b"\n@0011223344556678 end\n" + b"\r\n\0\xff"
    assert parsed(binary=GZIPPED + notes).identity.build_id == BUILD_ID


def test_noise_before_the_first_mark() -> None:
    told = parse_probe(b"WARNING: linker: unsupported flags\n" + answer(), MARK)
    assert told == parsed()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"end": None}, "did not run the probe to its end"),
        ({"uname": None}, "uname on the device said 'nothing'"),
        ({"uname": b"6.1.0\n"}, "uname on the device said '6.1.0'"),
        ({"uname": b"6.1.0\naarch64\n"}, "uname on the device said '6.1.0 aarch64'"),
    ],
)
def test_answers_that_lack_what_the_script_always_writes(
    changed: dict[str, bytes | None], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        parsed(**changed)


@pytest.mark.parametrize(
    "config",
    [
        b"not gzip",
        GZIPPED[:-1],
        GZIPPED[:30],
        gzip.compress(bytes(9 << 20)),
    ],
    ids=["not gzip", "cut in the trailer", "cut", "a bomb"],
)
def test_half_a_configuration_is_none(config: bytes) -> None:
    told = parsed(binary=config)
    assert told.config is None
    assert told.identity.config_sha256 is None


def test_a_boot_id_that_is_none() -> None:
    assert parsed(boot_id=b"../../etc\n").identity.boot_id is None


@generated()
@given(
    st.dictionaries(st.sampled_from(sorted(SECTIONS)), st.none() | st.binary(max_size=200)),
    st.binary(max_size=100),
)
def test_any_answer_is_understood_or_refused(changed: dict[str, bytes | None], more: bytes) -> None:
    try:
        told = parse_probe(answer(**changed) + more, MARK)
    except ValueError:
        return
    assert told.identity.release is not None
    assert all(file.path in ARCHIVE_PATHS for file in told.archives)
    assert told.config is None or told.identity.config_sha256


@generated()
@given(st.binary(max_size=2000))
def test_any_bytes(output: bytes) -> None:
    with pytest.raises(ValueError, match="did not run the probe"):
        parse_probe(output, MARK)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size_bytes", [8, 16, 20, 32, 64])
def test_build_ids_of_every_size_and_order(order: str, size_bytes: int) -> None:
    build_id = bytes(range(size_bytes))
    notes = note(b"Linux\0", 0x101, b"12345", order) + note(b"GNU\0", 3, build_id, order)
    assert parse_build_id(notes + note(b"GNU\0", 5, b"property", order)) == build_id.hex()


@pytest.mark.parametrize(
    "notes",
    [
        b"",
        NOTES[:-1],
        NOTES[:20],
        note(b"GNU\0", 3, b""),
        note(b"GNU\0", 3, bytes(65)),
        note(b"GNU\0", 1, bytes(20)),
        note(b"GMU\0", 3, bytes(20)),
        struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 3) + b"GNU\0",
    ],
)
def test_notes_without_a_build_id(notes: bytes) -> None:
    assert parse_build_id(notes) is None


note_parts = st.tuples(st.binary(max_size=9), st.integers(0, 0xFFFF), st.binary(max_size=70))


@generated()
@given(st.lists(note_parts, max_size=6), st.binary(max_size=3))
def test_notes_of_any_kind_before_it(before: list[tuple[bytes, int, bytes]], after: bytes) -> None:
    others = [part for part in before if part[:2] != (b"GNU\0", 3)]
    notes = b"".join(note(*part) for part in others) + note(b"GNU\0", 3, b"identity") + after
    assert parse_build_id(notes) == b"identity".hex()


@generated()
@given(st.binary(max_size=300))
def test_any_notes(notes: bytes) -> None:
    found = parse_build_id(notes)
    assert found is None or bytes.fromhex(found) in notes


def test_the_mark_is_another_each_time_and_errors_name_the_device() -> None:
    marks = set()

    def run(sock: socket.socket, command: str) -> None:
        marks.add(command.split("MARK=")[1].split()[0])
        sock.sendall(packet(1, b"toybox: unknown\n") + packet(3, b"\0"))

    with device_that(run) as device:
        for _ in range(2):
            with pytest.raises(TransferError, match="X1: probing the device: the device's shell"):
                probe(device)
    assert len(marks) == 2
    assert device.round_trips == 2


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"uname": b"6.1.0\n"}, "uname on the device said '6.1.0'"),
    ],
)
def test_garbage_is_an_error_that_names_the_device(changed: dict[str, bytes], seen: str) -> None:
    def run(sock: socket.socket, command: str) -> None:
        mark = command.split("MARK=")[1].split()[0].strip("'")
        sock.sendall(packet(1, answer(**changed).replace(MARK.encode(), mark.encode())))
        sock.sendall(packet(3, b"\0"))

    with device_that(run) as device, pytest.raises(TransferError) as caught:
        probe(device)
    assert caught.value.seen == seen
    assert caught.value.device == "X1"


def test_the_script_looks_where_modules_are() -> None:
    script = probe_script(MARK)
    assert " /vendor/lib/modules/kheaders.ko* " in script
    assert " /lib/modules/*/kernel/kernel/kheaders.ko*" in script, "where depmod's layout has it"
