"""Packed kernel modules: ``kheaders.ko.xz``, ``.ko.gz`` and ``.ko.zst``, known by their first bytes.

Builds and distributions pack modules (CONFIG_MODULE_COMPRESS_…), but what ``insmod`` hands to the kernel
has to be the plain file.  A packed one is exactly one stream, as ``make modules_install`` writes it.
"""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb.archive.elf import MAGIC as _ELF_MAGIC
from kheaders_adb.archive.elf import STEP
from kheaders_adb.archive.xz import MAGIC as _XZ_MAGIC
from kheaders_adb.archive.xz import decompress
from kheaders_adb.errors import ArchiveError, UsageError
from kheaders_adb.untrusted import host_file
from kheaders_adb.untrusted.gzipped import MAGIC as _GZIP_MAGIC
from kheaders_adb.untrusted.gzipped import gunzip
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits
from kheaders_adb.untrusted.rules import Rule

if TYPE_CHECKING:
    from backports.zstd import ZstdDecompressor

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# zstd knows windows from 1 KiB to 2 GiB, by their logarithm.
_WINDOW_LOGS = range(10, 32)
_AGAIN = "fetch the module again; if it is packed so where it was made, unpack it there"


class Packing(enum.StrEnum):
    """How a module is packed."""

    XZ = "xz"
    GZIP = "gzip"
    ZSTD = "zstd"


_MAGICS = {Packing.XZ: _XZ_MAGIC, Packing.GZIP: _GZIP_MAGIC, Packing.ZSTD: _ZSTD_MAGIC}


def packing_of(data: bytes) -> Packing | None:
    """How bytes are packed, by the first six of them; None if they are not, or in no way known here."""
    return next((kind for kind, magic in _MAGICS.items() if data.startswith(magic)), None)


def read_module(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return a module's bytes as ``insmod`` takes them: unpacked, if the file is packed.

    Args:
        path: a ``kheaders.ko``, ``.ko.xz``, ``.ko.gz`` or ``.ko.zst``; its content decides, not its name.
        limits: caps on its size, packed and unpacked.

    Raises:
        UsageError: it is no file, or cannot be read.
        CorruptArchiveError, UnsafeArchiveError: as `unpack_module`.
    """
    return unpack_module(host_file.read(path, limits.module_bytes, step=STEP), limits)


def require_module(path: Path) -> None:
    """Make sure that what a user names may be a module, or is a folder, which may hold some.

    Raises:
        UsageError: it is something else, or cannot be read.
    """
    if host_file.kind_of(path, step=STEP) is host_file.Kind.FOLDER:
        return
    head = host_file.read(path, 7, step=STEP)
    if not head.startswith(_ELF_MAGIC) and packing_of(head) is None:
        raise UsageError(
            f"{path} is no kernel module: it does not begin as an ELF file does, nor as a packed one",
            step=STEP,
            hint="give a kheaders.ko, or a folder that holds one",
        )


def unpack_module(data: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the plain module in bytes that were read from a file or a device.

    Args:
        data: the module, packed or not; untrusted.  No more than ``limits.module_bytes`` of it and one byte
            need to be read.
        limits: caps on its size, packed and unpacked, and on the memory for unpacking.

    Returns:
        The same bytes, if they are not packed; whether they are a module is for others to see.

    Raises:
        CorruptArchiveError: it is packed and does not unpack: cut short, damaged, more than one stream, other
            bytes behind it, or packed twice.
        UnsafeArchiveError: it is larger than the cap, or unpacks to more.

    Guarantees:
        No more than the cap is ever unpacked.
    """
    cap = limits.module_bytes
    if len(data) > cap:
        raise _too_large(cap)
    packing = packing_of(data)
    match packing:
        case None:
            return data
        case Packing.XZ:
            content = _unxz(data, limits)
        case Packing.GZIP:
            content = _gunzip(data, cap)
        case Packing.ZSTD:
            content = _unzstd(data, cap)
    inner = packing_of(content)
    if inner is not None:
        raise Rule.MODULE_COMPRESSION.error(
            f"packed twice: what its {packing} stream holds is packed with {inner}",
            step=STEP,
            hint="unpack it once, and give the result",
        )
    return content


def _too_large(cap: int) -> Exception:
    return Rule.MODULE_TOO_LARGE.error(f"more than {cap} bytes", step=STEP)


def _unxz(data: bytes, limits: Limits) -> bytes:
    cap = limits.module_bytes
    inner = Limits(compressed_bytes=cap, total_bytes=cap, dictionary_bytes=limits.dictionary_bytes)
    try:
        return b"".join(decompress([data], inner))
    except ArchiveError as error:
        error.step = STEP
        raise


def _gunzip(data: bytes, cap: int) -> bytes:
    unpacked = gunzip(data, cap)
    if unpacked.fault is not None:
        raise _undecodable(Packing.GZIP, unpacked.fault)
    if len(unpacked.content) > cap:
        raise _too_large(cap)
    return _whole(Packing.GZIP, unpacked.content, unpacked.rest, ended=unpacked.whole)


def _unzstd(data: bytes, cap: int) -> bytes:
    # A window larger than the module can be serves nothing; `zstd --ultra -22` takes 128 MiB in a pipe.
    window_log = min(max((cap - 1).bit_length(), _WINDOW_LOGS[0]), _WINDOW_LOGS[-1])
    decoder, failure = _zstd_decoder(window_log)
    try:
        content = decoder.decompress(data, cap + 1)
    except failure as error:
        # The binding tells its errors apart by text alone.
        if "too much memory" in str(error):
            raise Rule.DICTIONARY_TOO_LARGE.error(
                f"its zstd window takes more than {2**window_log} bytes", step=STEP
            ) from error
        raise _undecodable(Packing.ZSTD, str(error)) from error
    if len(content) > cap:
        raise _too_large(cap)
    rest = decoder.unused_data if decoder.eof else b""
    return _whole(Packing.ZSTD, content, rest, ended=decoder.eof)


def _zstd_decoder(window_log: int) -> tuple[ZstdDecompressor, type[Exception]]:
    """A decoder with a bounded window, and the error that it raises."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except (
        ImportError
    ) as error:  # a Python built without it, or an environment put together by hand
        raise Rule.MODULE_COMPRESSION.error(
            f"packed with zstd, which this Python cannot unpack: {error}",
            step=STEP,
            hint="install backports.zstd, or unpack the module first: zstd -d kheaders.ko.zst",
        ) from error
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: window_log}
    return zstd.ZstdDecompressor(options=options), zstd.ZstdError


def _whole(packing: Packing, content: bytes, rest: bytes, *, ended: bool) -> bytes:
    """The content, provided that its stream came to its end and nothing follows."""
    if not ended:
        raise Rule.MODULE_COMPRESSION.error(
            f"its {packing} stream is cut short", step=STEP, hint=_AGAIN
        )
    if rest:
        what = (
            f"another {packing} stream follows the first"
            if packing_of(rest) is packing
            else f"{len(rest)} bytes follow the end of its {packing} stream ({rest[:8].hex(' ')} …)"
        )
        raise Rule.MODULE_COMPRESSION.error(what, step=STEP, hint=_AGAIN)
    return content


def _undecodable(packing: Packing, said: str) -> Exception:
    return Rule.MODULE_COMPRESSION.error(
        f"its {packing} stream does not decode: {said}", step=STEP, hint=_AGAIN
    )
