"""What is fuzzed: functions of bytes that raise an error of ours or nothing.

The fuzzer (fuzz_archive.py) and the test that repeats its corpus share them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fixtures.archives import writer
from fixtures.archives.module import ModuleSpec, build_module
from kheaders_adb.archive.carve import carve
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.archive.tar import read_tar
from kheaders_adb.errors import ArchiveError
from kheaders_adb.kernel.autoconf import parse_autoconf, render_autoconf
from kheaders_adb.kernel.config import (
    load_config,
    parse_config,
)
from kheaders_adb.kernel.differences import compare_configs
from kheaders_adb.kernel.facts import FactCollector, require_kheaders
from kheaders_adb.kernel.match import match
from kheaders_adb.model import ArchiveFacts, KernelIdentity
from tests.unit.archive.helpers import check_guarantees, check_omitted

_CPU_S = 2.0
_FACT_FILES = (
    "include/generated/autoconf.h",
    "include/generated/utsrelease.h",
    "include/generated/compile.h",
    "include/generated/uapi/linux/version.h",
)
_MODULE = build_module(ModuleSpec(writer.xz(writer.tar(writer.file(b"./a.h"))), before=b"x"))


def fuzz_stream(data: bytes) -> None:
    """An xz stream, in two chunks."""
    half = len(data) // 2
    check_guarantees(list(read_archive([data[:half], data[half:]], on_omitted=check_omitted)))


def fuzz_tar(data: bytes) -> None:
    """A tar stream."""
    check_guarantees(list(read_tar(iter([data]), on_omitted=check_omitted)))


def fuzz_tar_with_sums(data: bytes) -> None:
    """A tar stream in which every block with a magic gets the right check sum, and an end."""
    tar = bytearray(data + bytes(-len(data) % 512))
    for at in range(0, len(tar), 512):
        if tar[at + 257 : at + 262] == b"ustar":
            tar[at + 148 : at + 156] = b" " * 8
            tar[at + 148 : at + 156] = b"%06o\0 " % sum(tar[at : at + 512])
    fuzz_tar(bytes(tar) + bytes(1024))


def fuzz_members(data: bytes) -> None:
    """A tar stream of members written from a terse notation, so that short inputs reach far.

    Members end in ``\\xfe``; each is a type, a digit for what precedes it, and the name and target,
    apart at ``\\xfd``.
    """
    members = []
    for text in data.split(b"\xfe"):
        if len(text) < 2:
            continue
        name, _, target = text[2:].partition(b"\xfd")
        match text[1:2]:
            case b"1":
                members.append(writer.long_name(name))
            case b"2":
                members.append(writer.long_name(target, flag=b"K"))
            case b"3":
                members.append(writer.pax([(b"path", name), (b"linkpath", target)]))
            case b"4":
                members.append(writer.pax([(b"path", name)]))
        content = target if text[:1] == b"0" else b""
        link = b"" if text[:1] == b"0" else target
        head = writer.header(name, flag=text[:1], size=len(content), target=link)
        members.append(head + writer.padded(content))
    fuzz_tar(writer.tar(*members))


def fuzz_facts(data: bytes) -> None:
    """The generated headers, apart at NUL bytes, and a verdict on them."""
    collector = FactCollector()
    for path, content in zip(_FACT_FILES, data.split(b"\0"), strict=False):
        collector.add(path, content)
    facts = collector.facts()
    require_kheaders(facts)
    identity = KernelIdentity(facts.release or "", "#1 SMP", "x86_64", facts.compiler)
    match(identity, facts.config, facts)


def fuzz_config(data: bytes) -> None:
    """A configuration, plain or gzipped; whatever it holds survives regeneration."""
    config = parse_config(load_config(data))
    assert compare_configs(config, parse_autoconf(render_autoconf(config))) == ([], [])


def fuzz_module(data: bytes) -> None:
    """A kernel module."""
    assert carve(data).archive.startswith(b"\xfd7zXZ\0")


def fuzz_patched_module(data: bytes) -> None:
    """A good kernel module with bytes changed: two bytes of offset, one of length, the bytes."""
    module = bytearray(_MODULE)
    while len(data) > 3:
        at = int.from_bytes(data[:2], "little") % len(module)
        count = data[2] % 9
        new = data[3 : 3 + count]
        module[at : at + len(new)] = new
        data = data[3 + count :]
    fuzz_module(bytes(module))


def fuzz_match(data: bytes) -> None:
    """A verdict on any identity."""
    texts = [text.decode("utf-8", "replace") for text in data.split(b"\0")] + [""] * 9
    identity = KernelIdentity(texts[0], texts[1], texts[2], texts[3])
    facts = ArchiveFacts(
        release=texts[4] or "6.1",
        srcarch="arm64",
        config={"SMP": "y"},
        compile_by=texts[5],
        compile_host=texts[6],
        compiler=texts[7],
        uts_machine=texts[2],
    )
    for check in match(identity, {texts[8]: texts[5]}, facts, vermagic=texts[8]).checks:
        shown = (check.expected, check.found, check.note)
        assert all(text is None or text.isprintable() for text in shown)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "stream": fuzz_stream,
    "tar": fuzz_tar,
    "sums": fuzz_tar_with_sums,
    "members": fuzz_members,
    "facts": fuzz_facts,
    "config": fuzz_config,
    "module": fuzz_module,
    "patched": fuzz_patched_module,
    "match": fuzz_match,
}


def run_target(name: str, data: bytes) -> None:
    """Run one target on one input.

    Raises:
        AssertionError: it broke a promise, took too long, or its error has no rule.
        Exception: whatever else came out, which is a finding too.
    """
    refusal: ArchiveError | None = None
    started_s = time.process_time()
    try:
        TARGETS[name](data)
    except ArchiveError as error:
        refusal = error
    assert time.process_time() - started_s < _CPU_S, "too slow"
    if refusal is not None:
        assert getattr(refusal, "rule", None), f"an error without a rule: {refusal}"
        assert str(refusal).isprintable()
