"""The configurations of running kernels, kept so that a verdict can be found again without the device.

Each lies under the sha256 of its text, compressed here: what a device sends is a gzip stream of its own
making.
"""

from __future__ import annotations

import zlib
from hashlib import sha256

from kheaders_adb.untrusted.gzipped import gunzip
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS

_LEVEL = 9
_GZIP = 31


def pack(text: bytes) -> bytes:
    """The file of a configuration."""
    encoder = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return encoder.compress(text) + encoder.flush()


def unpack(data: bytes, digest: str) -> bytes | None:
    """The text in such a file; None if it is not the one of this sha256.

    No more is unpacked than a configuration may have.
    """
    unpacked = gunzip(data, DEFAULT_LIMITS.config_bytes)
    if not unpacked.whole or unpacked.rest or not is_text_of(unpacked.content, digest):
        return None
    return unpacked.content


def is_text_of(text: bytes, digest: str) -> bool:
    """Whether this is the configuration of this sha256, and no longer than one may be."""
    return len(text) <= DEFAULT_LIMITS.config_bytes and sha256(text).hexdigest() == digest
