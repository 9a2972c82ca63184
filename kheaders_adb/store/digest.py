"""Whether a stored file is still what it was."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def digest_of_file(path: Path) -> str:
    """The sha256 of a file's content, in hex.

    Raises:
        OSError: it cannot be read.
    """
    hashed = sha256()
    for chunk in chunks_of_file(path):
        hashed.update(chunk)
    return hashed.hexdigest()


def has_digest(path: Path, digest: str) -> bool:
    """Whether there is a file of this content; False if there is none, or one of another content.

    Raises:
        OSError: it is there and cannot be read, so that nobody can tell.
    """
    try:
        return digest_of_file(path) == digest
    except FileNotFoundError:
        return False


def chunks_of_file(path: Path) -> Iterator[bytes]:
    """A file's content, piece by piece.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
