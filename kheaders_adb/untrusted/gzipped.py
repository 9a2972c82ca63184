"""Unpacking one gzip stream of untrusted bytes, under a cap."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Gunzipped:
    """What a gzip stream unpacked to.

    Attributes:
        content: the bytes; one more than the cap where there are more.
        rest: what follows the stream.
        whole: whether the stream came to its end and its check sum is right.
        fault: what the decoder said where it gave up; else None.
    """

    content: bytes
    rest: bytes = b""
    whole: bool = False
    fault: str | None = None


def gunzip(data: bytes, cap_bytes: int) -> Gunzipped:
    """Unpack the gzip stream at the beginning of `data`, but no more than `cap_bytes` of it and one byte."""
    decoder = zlib.decompressobj(wbits=31)
    try:
        content = decoder.decompress(data, cap_bytes + 1)
    except zlib.error as error:
        return Gunzipped(b"", fault=str(error))
    return Gunzipped(content, decoder.unused_data, decoder.eof)
