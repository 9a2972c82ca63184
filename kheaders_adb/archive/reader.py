"""Read an archive of kernel headers from untrusted bytes, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from kheaders_adb.archive.tar import read_tar
from kheaders_adb.archive.xz import decompress
from kheaders_adb.model import Member, OmittedLink
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits

T = TypeVar("T")


def go_on_always() -> None:
    """Let a reading that nobody waits for take as long as it takes."""


def read_archive(
    chunks: Iterable[bytes],
    limits: Limits = DEFAULT_LIMITS,
    *,
    on_omitted: Callable[[OmittedLink], None] | None = None,
    go_on: Callable[[], None] = go_on_always,
) -> Iterator[tuple[Member, bytes]]:
    """Yield every member of a ``kheaders.tar.xz``, checked, with its content.

    Nothing is held but the member at hand, one block of the stream and the paths seen so far.  What
    was yielded is final only when the iterator ends: the integrity check of the xz stream is known only
    then, so a caller must throw away what it built when an error comes.

    Args:
        chunks: the compressed bytes, cut anywhere.
        limits: caps on sizes and counts.
        on_omitted: called, at the end, for each symlink that leads to no file of the archive: it is not
            yielded, and must not be made.
        go_on: called at least once for each 512 KiB unpacked, and for each member; what it raises ends the
            reading.  A small archive may hold minutes of work.

    Yields:
        Members with normalised, relative, unique paths; each after its parent directory, which is a
        directory of the archive (yielded even where the archive does not list it).  Symlinks come
        last; they are relative and lead straight to a regular file of the archive.  The content is
        empty but for files.

    Raises:
        CorruptArchiveError: damaged, cut short, or no such archive; its ``rule`` names why.
        UnsafeArchiveError: a member must not be extracted, or a cap was exceeded; likewise.
        Exception: whatever ``chunks`` or ``go_on`` raises passes through.
    """
    blocks = _watched(decompress(chunks, limits), go_on)
    return _watched(read_tar(blocks, limits, on_omitted=on_omitted), go_on)


def _watched(items: Iterable[T], go_on: Callable[[], None]) -> Iterator[T]:
    for item in items:
        go_on()
        yield item
