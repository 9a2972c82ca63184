"""Read an archive of kernel headers from untrusted bytes, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kheaders_adb.archive.tar import read_tar
from kheaders_adb.archive.xz import decompress
from kheaders_adb.model import Member, OmittedLink
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits


def read_archive(
    chunks: Iterable[bytes],
    limits: Limits = DEFAULT_LIMITS,
    *,
    on_omitted: Callable[[OmittedLink], None] | None = None,
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

    Yields:
        Members with normalised, relative, unique paths; each after its parent directory, which is a
        directory of the archive (yielded even where the archive does not list it).  Symlinks come
        last; they are relative and lead straight to a regular file of the archive.  The content is
        empty but for files.

    Raises:
        CorruptArchiveError: damaged, cut short, or no such archive; its ``rule`` names why.
        UnsafeArchiveError: a member must not be extracted, or a cap was exceeded; likewise.
        Exception: whatever ``chunks`` raises passes through.
    """
    return read_tar(decompress(chunks, limits), limits, on_omitted=on_omitted)
