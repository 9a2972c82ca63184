"""An archive that is already on the host: the same match and the same store, without a transfer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from kheaders_adb.errors import ArchiveError, UsageError
from kheaders_adb.importing.claim import STEP, Claim
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.facts import require_kheaders
from kheaders_adb.kernel.match import match
from kheaders_adb.model import (
    ArchiveFacts,
    HeaderSource,
    Level,
    SourceKind,
    Verdict,
)
from kheaders_adb.pipeline.options import Tolerance
from kheaders_adb.pipeline.stager import Judged, Stager
from kheaders_adb.steps import OnStep, StepKind, Steps
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.untrusted import host_file
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits
from kheaders_adb.untrusted.rules import Rule

_CHUNK_BYTES = 256 * 1024
#: How long to wait for another process that pulls an archive of this size.
_PATIENCE_S = 300.0
_XZ_MAGIC = b"\xfd7zXZ\0"
_OTHER_KINDS = {
    b"\x7fELF": "an ELF file; give a kheaders.ko to `pull --module FILE --via carve` instead",
    b"\x1f\x8b": "gzip-compressed",
    b"ANDROID!": "an Android boot image",
}


def import_archive(
    path: Path,
    store: Store,
    claim: Claim | None = None,
    *,
    serial: str | None = None,
    tolerance: Tolerance = Tolerance.NOTHING,
    limits: Limits = DEFAULT_LIMITS,
    on_note: Callable[[str], None] | None = None,
    on_step: OnStep | None = None,
) -> KernelRecord:
    """Stage an archive that lies on the host.

    Args:
        path: a ``kheaders.tar.xz``.
        store: where it is staged.
        claim: the kernel that it is matched with; without one its verdict is `unmatched`.
        serial: the device that `claim` was probed on.
        tolerance: as for a pull.
        limits: caps for the archive.
        on_note: told, in sentences, what the user should know.
        on_step: told of each step as it begins and when it is over.

    Returns:
        The record that was made.

    Raises:
        UsageError: the file is not there, or of another kind.
        MismatchError: the archive does not belong to that kernel.
        ArchiveError, StoreError: it is damaged or unsafe, or the disk failed.
    """
    claim = claim or Claim()
    config = claim.config_text(limits)

    before: list[KernelRecord] = []

    def judge(facts: ArchiveFacts) -> Judged:
        # Not before the file is found: this fails where the folder that one is in has been removed.
        source = HeaderSource(SourceKind.FILE, str(path.absolute()))
        require_kheaders(facts)
        identity = claim.identity(config, facts)
        before.extend(filter(None, [store.find_kernel(identity.key)]))
        if claim.is_empty:
            return Judged(identity, Verdict(Level.UNMATCHED), source)
        symbols = None if config is None else parse_config(config, claim.config_name)
        verdict = match(identity, symbols, facts, unclaimed=claim.unclaimed)
        return Judged(identity, verdict, source)

    steps = Steps(on_step, serial)
    stager = Stager(
        store,
        judge,
        config=None if config is None else parse_config(config, claim.config_name),
        config_text=config,
        serial=serial,
        tolerance=tolerance,
        limits=limits,
        steps=steps,
    )
    try:
        with steps, host_file.opened(path, step=STEP) as file:
            steps.begin(StepKind.IMPORT, path)
            size_bytes = _require_archive(path, file, limits)
            with store.archive_lock(size_bytes, timeout_s=_PATIENCE_S):
                digest = sha256()
                for chunk in _chunks(file):
                    digest.update(chunk)
                if digest.hexdigest() in store.find_archive(size_bytes):
                    store.mend_archive(digest.hexdigest(), _chunks(file))
                    record = stager.restage(digest.hexdigest())
                else:
                    record = stager.stage(_chunks(file))
    except ArchiveError as error:
        error.step = error.step or f"{STEP} {path}"
        raise
    if on_note is not None:
        for note in stager.notes:
            on_note(note)
        for other in before:
            # Where nothing but the release is known, archives of several builds have one key.
            if other.archive.sha256 != record.archive.sha256:
                on_note(
                    f"it takes the place of another archive that says the same of itself "
                    f"(sha256 {other.archive.sha256[:12]}…), which no name means any more"
                )
    return record


def require_archive(path: Path, limits: Limits = DEFAULT_LIMITS) -> None:
    """Look whether a file may be an archive, before anything is made for it.

    Raises:
        UsageError: it is not there, or of another kind.
        ArchiveError: it is larger than any.
    """
    with host_file.opened(path, step=STEP) as file:
        _require_archive(path, file, limits)


def _require_archive(path: Path, file: BinaryIO, limits: Limits) -> int:
    """The size of what may be an archive, in bytes."""
    head = file.read(8)
    if head.startswith(_XZ_MAGIC):
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limits.compressed_bytes:
            raise Rule.COMPRESSED_TOO_LARGE.error(
                f"{size_bytes} bytes, more than {limits.compressed_bytes}"
            )
        return size_bytes
    kind = next((kind for magic, kind in _OTHER_KINDS.items() if head.startswith(magic)), None)
    raise UsageError(
        f"{path} is {kind or 'no xz file'}",
        step=STEP,
        hint="give a kheaders.tar.xz as the kernel shows it at /sys/kernel/kheaders.tar.xz",
    )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The file's content, from its beginning."""
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
