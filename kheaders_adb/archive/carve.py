"""Take the archive out of a ``kheaders.ko`` on the host, without loading the module."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb.archive.elf import STEP, ElfModule, damaged, parse_module
from kheaders_adb.archive.pack import read_module, unpack_module
from kheaders_adb.archive.xz import MAGIC
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits
from kheaders_adb.untrusted.rules import Rule
from kheaders_adb.untrusted.text import printable

_START, _END = "kernel_headers_data", "kernel_headers_data_end"
_NAME = "kheaders"
_STREAM_FOOTER = b"YZ"
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CarvedModule:
    """A ``kheaders.ko`` and the archive in it.

    Attributes:
        archive: the archive's bytes, as the kernel would hand them out; not yet checked.
        name: the module's name.
        vermagic: its vermagic, without the space at its end; None if it has none.
        modversions: whether it carries symbol CRCs, so that a kernel that has them too ignores the
            release in vermagic.
        machine: the architecture, as in UTS_MACHINE: "x86_64", "aarch64", …
    """

    archive: bytes
    name: str
    vermagic: str | None
    modversions: bool
    machine: str


def carve_module(path: Path, limits: Limits = DEFAULT_LIMITS) -> CarvedModule:
    """Take the archive out of a kernel module in a file, plain or packed with xz, gzip or zstd.

    Args:
        path: a ``kheaders.ko``, ``.ko.xz``, ``.ko.gz`` or ``.ko.zst``; its content decides, not its name.
        limits: caps on the module's size, and on the archive's.

    Raises:
        UsageError: the file cannot be read.
        CorruptArchiveError: it is no kheaders module, or a damaged one.
        UnsafeArchiveError: a cap was exceeded.
    """
    return carve(read_module(path, limits), limits)


def carve(data: bytes, limits: Limits = DEFAULT_LIMITS) -> CarvedModule:
    """Take the archive out of a kernel module in memory; otherwise as carve_module()."""
    data = unpack_module(data, limits)
    module = parse_module(data, frozenset({_START, _END}))
    name = module.modinfo.get("name")
    if name is None and _START not in module.symbols:
        raise Rule.OTHER_MODULE.error("a kernel module without a name, not kheaders", step=STEP)
    if name is not None and name != _NAME:
        raise Rule.OTHER_MODULE.error(
            f"a kernel module named {printable(name)}, not kheaders",
            step=STEP,
            hint="give the kheaders.ko that was built with the kernel",
        )
    by_symbols = _START in module.symbols and _END in module.symbols
    start, end = _between_symbols(module) if by_symbols else _around_magic(data, limits)
    archive = data[start:end]
    if not archive.startswith(MAGIC) or not archive.endswith(_STREAM_FOOTER):
        raise Rule.MODULE_WITHOUT_ARCHIVE.error(
            "what lies between its symbols is no xz stream", step=STEP
        )
    if len(archive) > limits.compressed_bytes:
        raise Rule.COMPRESSED_TOO_LARGE.error(
            f"more than {limits.compressed_bytes} compressed bytes", step=STEP
        )
    vermagic = module.modinfo.get("vermagic")
    return CarvedModule(
        archive=archive,
        name=_NAME,
        vermagic=None if vermagic is None else vermagic.strip(),
        modversions=module.modversions,
        machine=module.machine,
    )


def _between_symbols(module: ElfModule) -> tuple[int, int]:
    start, end = module.symbols[_START], module.symbols[_END]
    if end <= start:
        raise damaged("the archive's end lies before its beginning")
    return start, end


def _around_magic(data: bytes, limits: Limits) -> tuple[int, int]:
    """Find the archive in a module without symbols: its only xz magic, and where that stream ends."""
    start = data.find(MAGIC)
    if start < 0:
        raise Rule.MODULE_WITHOUT_ARCHIVE.error("no xz stream in it", step=STEP)
    if data.find(MAGIC, start + 1) >= 0:
        raise Rule.MODULE_WITHOUT_ARCHIVE.error(
            "stripped of its symbols, and several xz streams in it", step=STEP
        )
    return start, start + _stream_length(data[start:], limits)


def _stream_length(data: bytes, limits: Limits) -> int:
    """Return the length of the xz stream at the beginning of the data, by decoding it."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.dictionary_bytes + 2**20)
    unpacked = 0
    for at in range(0, len(data), _PIECE_BYTES):
        feed = data[at : at + _PIECE_BYTES]
        while not decoder.eof:
            try:
                unpacked += len(decoder.decompress(feed, _PIECE_BYTES))
            except lzma.LZMAError as error:
                raise Rule.XZ_DAMAGED.error(
                    f"its xz stream does not decode: {error}", step=STEP
                ) from error
            feed = b""
            if unpacked > limits.total_bytes:
                raise Rule.TOTAL_TOO_LARGE.error(f"more than {limits.total_bytes} bytes", step=STEP)
            if decoder.needs_input:
                break
        if decoder.eof:
            return min(at + _PIECE_BYTES, len(data)) - len(decoder.unused_data)
    raise Rule.XZ_TRUNCATED.error("its xz stream is cut short", step=STEP)
