"""A bounded, streaming xz decoder: exactly one stream, with an integrity check, and stream padding after it.

Padding is zero bytes, a multiple of four, which whoever writes in blocks leaves at the end (section 2.2 of
the xz file format; ``xz -t`` accepts it).
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator

from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits
from kheaders_adb.untrusted.rules import Rule

MAGIC = b"\xfd7zXZ\x00"

_FEED_BYTES = 128 * 1024
_BLOCK_BYTES = 512 * 1024
# What liblzma needs beside the dictionary, generously; it counts towards its memory limit.
_DECODER_BYTES = 1024 * 1024
_PADDING_UNIT_BYTES = 4
_CHECKS = (lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256)


def decompress(chunks: Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> Iterator[bytes]:
    """Yield what one xz stream unpacks to, in blocks of at most 512 KiB.

    Args:
        chunks: the stream's bytes, cut anywhere; empty chunks are allowed.
        limits: caps on the bytes in, the bytes out, and the dictionary.

    Raises:
        CorruptArchiveError: the bytes are not exactly one intact xz stream.  The integrity check is
            known only at its end, so blocks yielded before may turn out to be damaged.
        UnsafeArchiveError: a cap was exceeded.
        Exception: whatever ``chunks`` raises passes through.
    """
    decoder = lzma.LZMADecompressor(
        format=lzma.FORMAT_XZ, memlimit=limits.dictionary_bytes + _DECODER_BYTES
    )
    ended = False
    head = tail = b""
    padding_bytes = 0
    taken = 0
    given = 0
    for piece in _pieces(chunks):
        taken += len(piece)
        if taken > limits.compressed_bytes:
            raise Rule.COMPRESSED_TOO_LARGE.error(
                f"more than {limits.compressed_bytes} compressed bytes"
            )
        if ended:
            padding_bytes, tail = _after(padding_bytes, tail, piece)
            if len(tail) >= len(MAGIC):
                break
            continue
        if len(head) < len(MAGIC):
            head += piece[: len(MAGIC) - len(head)]
            if not MAGIC.startswith(head):
                raise _not_xz(head)
        feed = piece
        while True:
            try:
                block = decoder.decompress(feed, _BLOCK_BYTES)
            except lzma.LZMAError as error:
                raise _undecodable(error, limits) from error
            feed = b""
            if block:
                given += len(block)
                if given > limits.total_bytes:
                    raise Rule.TOTAL_TOO_LARGE.error(f"more than {limits.total_bytes} bytes")
                yield block
            ended = decoder.eof
            if ended or decoder.needs_input:
                break
        if ended:
            if decoder.check not in _CHECKS:
                raise _unchecked(decoder.check)
            padding_bytes, tail = _after(0, b"", decoder.unused_data)
            if len(tail) >= len(MAGIC):
                break
    if taken == 0:
        raise Rule.EMPTY.error("no bytes at all")
    if not ended:
        raise Rule.XZ_TRUNCATED.error(
            f"it ends after {taken} bytes, within the xz stream",
            hint="fetch it again; if it is a file, compare it with its origin",
        )
    if tail:
        raise _after_end(tail)
    if padding_bytes % _PADDING_UNIT_BYTES:
        raise Rule.DATA_AFTER_XZ.error(
            f"{padding_bytes} zero bytes follow the end of the xz stream, no multiple of four"
        )


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut large chunks: liblzma's binding copies what it has not consumed at every call."""
    for chunk in chunks:
        if len(chunk) <= _FEED_BYTES:
            if chunk:
                yield chunk
        else:
            for start in range(0, len(chunk), _FEED_BYTES):
                yield chunk[start : start + _FEED_BYTES]


def _after(padding_bytes: int, tail: bytes, piece: bytes) -> tuple[int, bytes]:
    """How much padding there is after the stream, and the first bytes after that, with one piece more."""
    if not tail:
        rest = piece.lstrip(b"\0")
        padding_bytes, piece = padding_bytes + len(piece) - len(rest), rest
    return padding_bytes, (tail + piece)[: len(MAGIC)]


def _not_xz(head: bytes) -> Exception:
    return Rule.NOT_XZ.error(
        f"begins with {head.hex(' ')}, an xz stream with {MAGIC.hex(' ')}",
        hint="give the kheaders.tar.xz itself, as the kernel hands it out",
    )


def _unchecked(check: int) -> Exception:
    if check == lzma.CHECK_NONE:
        return Rule.XZ_UNCHECKED.error(
            "the xz stream holds no integrity check, so that nobody can tell whether it is damaged",
            hint="no build of a kernel leaves that out; if you made the file, pack it with one, as xz does",
        )
    return Rule.XZ_UNCHECKED.error(f"an integrity check that is not known here ({check})")


def _after_end(data: bytes) -> Exception:
    if data.startswith(MAGIC):
        return Rule.SECOND_STREAM.error("another xz stream follows the first")
    return Rule.DATA_AFTER_XZ.error(f"{data[:8].hex(' ')} … follows the end of the xz stream")


def _undecodable(error: lzma.LZMAError, limits: Limits) -> Exception:
    # The binding tells its errors apart by text alone.
    if "emory usage limit" in str(error):
        return Rule.DICTIONARY_TOO_LARGE.error(
            f"its xz dictionary takes more than {limits.dictionary_bytes} bytes"
        )
    return Rule.XZ_DAMAGED.error(f"the xz stream does not decode: {error}")
