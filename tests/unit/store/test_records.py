"""The forms on disk: whatever a file holds, it is what we wrote or a StoreError."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.errors import StoreError
from kheaders_adb.model import (
    Archive,
    ArchiveFacts,
    Check,
    CheckStatus,
    HeaderSource,
    KernelIdentity,
    Level,
    OmittedLink,
    SourceKind,
    SymbolDifference,
    Verdict,
)
from kheaders_adb.store import DeviceRecord, KernelRecord, manifest
from kheaders_adb.store.paths import device_file_name
from kheaders_adb.store.records import (
    device_from_json,
    device_to_json,
    kernel_from_json,
    kernel_to_json,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
MAYBE = st.none() | TEXT
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
ARCHIVES = st.builds(
    lambda omitted, more, **rest: Archive(
        omitted=omitted, omitted_count=len(omitted) + more, **rest
    ),
    st.lists(st.builds(OmittedLink, TEXT, TEXT, TEXT), max_size=3).map(tuple),
    st.integers(0, 9),
    sha256=DIGEST,
    size_bytes=st.integers(0, 2**40),
    members=st.integers(0, 10**6),
)
CHECKS = st.builds(Check, TEXT, st.sampled_from(CheckStatus), MAYBE, MAYBE, MAYBE)
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(Level),
    st.lists(CHECKS, max_size=3).map(tuple),
    st.lists(st.builds(SymbolDifference, TEXT, MAYBE, MAYBE), max_size=3).map(tuple),
)
RECORDS = st.builds(
    lambda archive, suffix, **rest: KernelRecord(
        archive=archive, tree=archive.sha256 + suffix, **rest
    ),
    archive=ARCHIVES,
    suffix=st.sampled_from(["", "-repaired-0123456789abcdef"]),
    identity=st.builds(KernelIdentity, TEXT, TEXT, TEXT, MAYBE, MAYBE, MAYBE, MAYBE),
    verdict=VERDICTS,
    source=st.builds(HeaderSource, st.sampled_from(SourceKind), TEXT),
    tool_version=TEXT,
    serial=MAYBE,
    staged_at=st.floats(0, 1e12),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
SAMPLE = KernelRecord(
    identity=KernelIdentity("6.1.0", "#1 SMP", "x86_64", "Linux", "aa", None, "boot"),
    verdict=Verdict(
        Level.MISMATCH,
        (Check("config", CheckStatus.DIFFER, "y", None, "note"),),
        (SymbolDifference("SMP", "y", None),),
    ),
    source=HeaderSource(SourceKind.SYSFS, "/sys/kernel/kheaders.tar.xz"),
    archive=Archive("0" * 64, 7, 2),
    tree="0" * 64,
    tool_version="0.1.0",
    serial="device",
    staged_at=1.5,
)


@given(RECORDS)
def test_kernels_survive_the_round_trip(record: KernelRecord) -> None:
    assert kernel_from_json(kernel_to_json(record)) == record


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(StoreError):
        kernel_from_json(text)
    with pytest.raises(StoreError):
        device_from_json(text)
    with pytest.raises(StoreError):
        manifest.decode(text)
    with pytest.raises(StoreError):
        manifest.decode_size(text)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    items = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


@given(st.data(), JSON)
def test_one_changed_value_is_refused_or_understood(data: st.DataObject, value: Any) -> None:
    whole = json.loads(kernel_to_json(SAMPLE))
    place = data.draw(st.sampled_from(places(whole)[1:]))
    inner = whole
    for key in place[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[place[-1]] = value
    else:
        del inner[place[-1]]
    try:
        record = kernel_from_json(json.dumps(whole).encode())
    except StoreError:
        return
    assert kernel_from_json(kernel_to_json(record)) == record


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"tree": "0', '"tree": "../0'),
        ('"tree": "0', '"tree": "1'),
        ('"sha256": "0', '"sha256": "O'),
        ('"release": "6.1.0"', '"release": "6.1.1"'),
        ('"staged_at": 1.5', '"staged_at": NaN'),
        ('"staged_at": 1.5', '"staged_at": -1'),
        ('"staged_at": 1.5', '"staged_at": true'),
        ('"staged_at": 1.5', '"staged_at": 1' + "0" * 400),
        ('"staged_at": 1.5', '"staged_at": 1' + "0" * 5000),
        ('"size_bytes": 7', '"size_bytes": -7'),
        ('"size_bytes": 7', '"size_bytes": 7.5'),
        ('"level": "mismatch"', '"level": "fine"'),
        ('"serial": "device"', '"serial": 7'),
    ],
)
def test_values_that_must_not_pass(old: str, new: str) -> None:
    text = kernel_to_json(SAMPLE).decode()
    assert old in text
    with pytest.raises(StoreError):
        kernel_from_json(text.replace(old, new).encode())


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(StoreError):
        kernel_from_json(b"[" * 100_000)


@given(TEXT, MAYBE, DIGEST, st.lists(DIGEST, max_size=40, unique=True))
def test_devices_survive_and_remember_a_bounded_history(
    serial: str, boot_id: str | None, kernel: str, others: list[str]
) -> None:
    device = DeviceRecord(serial, boot_id, kernel, (kernel,))
    for other in others:
        device = device.now_running(other, boot_id)
    assert device_from_json(device_to_json(device)) == device
    assert device.history[0] == device.kernel
    assert len(set(device.history)) == len(device.history) <= 32


@given(st.lists(st.text(max_size=300), unique=True, max_size=20))
def test_every_serial_has_a_file_name_of_its_own(serials: list[str]) -> None:
    names = [device_file_name(serial) for serial in serials]
    assert len(set(names)) == len(names)
    for name in names:
        assert "/" not in name
        assert not name.startswith(".")
        assert len(name.encode()) <= 255
        assert name.isprintable()


PATHS = st.lists(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"),
        min_size=1,
        max_size=8,
    ).filter(lambda part: part not in (".", "..")),
    min_size=1,
    max_size=4,
).map("/".join)
FACTS = st.builds(
    ArchiveFacts,
    release=MAYBE,
    config=st.none() | st.dictionaries(TEXT, TEXT, max_size=3),
    version_code=st.none() | st.integers(0, 2**32),
)


@given(ARCHIVES, FACTS, st.dictionaries(PATHS, st.binary(max_size=9), max_size=8), PATHS)
def test_manifests_survive_and_betray_every_change(
    archive: Archive, facts: ArchiveFacts, files: dict[str, bytes], link: str
) -> None:
    info = manifest.TreeInfo(archive, facts, (("A", "a"),), ("x",), None)
    lines = [
        manifest.file_line(manifest.EntryKind.FILE, "ab" * 32, len(content), path)
        for path, content in files.items()
    ]
    lines += [manifest.symlink_line("x", link), manifest.directory_line(link)]
    size = manifest.TreeSize(len(files), sum(map(len, files.values())))
    text = manifest.encode(info, lines, size)
    read = manifest.decode(text)
    assert read.info == info == manifest.decode_info(text)
    assert {each.path: each.size_bytes for each in read.entries if each.sha256} == {
        path: len(content) for path, content in files.items()
    }
    assert read.entries[-2].target == "x"
    assert manifest.decode_size(text[-manifest.TAIL_BYTES :]) == size
    for position in range(0, len(text), max(1, len(text) // 5)):
        changed = bytearray(text)
        changed[position] ^= 1
        with pytest.raises(StoreError):
            manifest.decode(bytes(changed))
    with pytest.raises(StoreError):
        manifest.decode(text[:-1])


@pytest.mark.parametrize(
    "line",
    [
        "f\tab\t1\tx\n",
        "f\t" + "ab" * 32 + "\t-1\tx\n",
        "x\ty\n",
        "d\t../x\n",
        "d\t/x\n",
        "l\tx\n",
        "l\t/etc/passwd\tx\n",
        "l\t../x\tx\n",
        "l\ta/../../x\tx\n",
        "l\t\tx\n",
        "\n",
    ],
)
def test_lines_that_are_no_entries(line: str) -> None:
    info = manifest.TreeInfo(Archive("0" * 64, 1, 1), ArchiveFacts())
    with pytest.raises(StoreError):
        manifest.decode(manifest.encode(info, [line], manifest.TreeSize(0, 0)))


@pytest.mark.parametrize(
    ("field", "value", "seen"),
    [
        ("collisions", [["a"]], "a collision is not two paths"),
        ("regenerated", [1], "a path is not a string"),
    ],
)
def test_what_a_manifest_lists_of_the_tree(field: str, value: Any, seen: str) -> None:
    info = replace(manifest.TreeInfo(Archive("0" * 64, 1, 1), ArchiveFacts()), **{field: value})
    text = manifest.encode(info, [], manifest.TreeSize(0, 0))
    with pytest.raises(StoreError, match=seen):
        manifest.decode_info(text)


def test_a_history_that_is_no_list_of_strings() -> None:
    text = device_to_json(DeviceRecord("X1", None, "0" * 64, ("0" * 64,)))
    changed = {**json.loads(text), "history": [1]}
    with pytest.raises(StoreError, match="a string was expected, not int"):
        device_from_json(json.dumps(changed).encode())


def test_the_quick_reader_of_manifests_refuses_what_is_no_file() -> None:
    info = manifest.TreeInfo(Archive("0" * 64, 1, 1), ArchiveFacts())
    for line in ("f\tab\tx\n", "r\tab\tone\tx\n", "f\tab\t1\tx\ty\n"):
        text = manifest.encode(info, [line], manifest.TreeSize(0, 0))
        with pytest.raises(StoreError):
            list(manifest.file_digests(text))


def test_the_key_leaves_out_the_boot() -> None:
    other = replace(SAMPLE, identity=replace(SAMPLE.identity, boot_id="another"))
    assert other.key == SAMPLE.key


LINK = OmittedLink("include/uapi/linux/ion.h", "../../../drivers/ion.h", "link-dangling")


def test_what_was_written_before_links_were_left_out_has_none() -> None:
    old = json.loads(kernel_to_json(SAMPLE))
    del old["archive"]["omitted"], old["archive"]["omitted_count"]
    assert kernel_from_json(json.dumps(old).encode()) == SAMPLE
    info = manifest.TreeInfo(SAMPLE.archive, ArchiveFacts())
    text = manifest.encode(info, [], manifest.TreeSize(0, 0))
    head = json.loads(text.partition(b"\n")[0])
    del head["archive"]["omitted"], head["archive"]["omitted_count"]
    body = json.dumps(head).encode() + b"\n" + text.split(b"\n")[1] + b"\n"
    assert manifest.decode(body + f"end\t{sha256(body).hexdigest()}\n".encode()).info == info


@pytest.mark.parametrize(
    "damage",
    [
        {"omitted": "x"},
        {"omitted": ["include/uapi/linux/ion.h"]},
        {"omitted": [{"path": "x", "target": "y"}]},
        {"omitted_count": 0},
        {"omitted_count": None},
        {"omitted": [{"path": "x", "target": "y", "reason": "z"}] * 101, "omitted_count": 101},
    ],
)
def test_links_left_out_that_are_none(damage: dict[str, object]) -> None:
    whole = replace(SAMPLE, archive=replace(SAMPLE.archive, omitted=(LINK,), omitted_count=1))
    assert kernel_from_json(kernel_to_json(whole)) == whole
    document = json.loads(kernel_to_json(whole))
    document["archive"] |= damage
    with pytest.raises(StoreError):
        kernel_from_json(json.dumps(document).encode())
