"""A cold pull: read the archive, stage it while it comes, judge it, and only then publish it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from kheaders_adb.device.device import Device
from kheaders_adb.device.outcome import ArchiveHeader, ReadReport
from kheaders_adb.device.probe import Probe
from kheaders_adb.device.transfer import ArchiveStream
from kheaders_adb.errors import ArchiveError
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.match import match
from kheaders_adb.model import ArchiveFacts
from kheaders_adb.pipeline.options import Options
from kheaders_adb.pipeline.source import Carved, OnDevice, choose_source
from kheaders_adb.pipeline.staged import find_staged
from kheaders_adb.pipeline.stager import Judged, Stager
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from kheaders_adb.untrusted.rules import Rule


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a cold pull ended with.

    Attributes:
        record: the kernel's record, as stored.
        cached: whether another process staged it while this one waited for it.
        notes: what the user should be told.
    """

    record: KernelRecord
    cached: bool
    notes: tuple[str, ...]


def fetch(
    device: Device, about: Probe, store: Store, options: Options, timing_s: dict[str, float]
) -> Fetched:
    """Read the headers of the running kernel and stage them; as `ensure`, for a cold store.

    Args:
        timing_s: receives the seconds of each phase.
    """
    started_s = time.monotonic()
    plan = choose_source(
        device,
        about,
        via=options.via,
        module=options.module,
        tolerance=options.tolerance,
        limits=options.limits,
    )
    timing_s["source"] = time.monotonic() - started_s
    pull = _Pull(device, about, store, options, timing_s)
    try:
        fetched = pull.carved(plan) if isinstance(plan, Carved) else pull.on_device(plan)
    except ArchiveError as error:
        # The reader knows neither; who gets the message must.
        error.device = error.device or device.serial
        error.step = error.step or "reading the archive"
        raise
    return replace(fetched, notes=plan.notes + fetched.notes)


@dataclass(slots=True)
class _Pull:
    """One cold pull on its way."""

    device: Device
    about: Probe
    store: Store
    options: Options
    timing_s: dict[str, float]

    def on_device(self, plan: OnDevice) -> Fetched:
        """Read the archive on the device, loading a module if the plan says so."""
        started_s = time.monotonic()
        stream = ArchiveStream(
            self.device,
            self.about,
            module=plan.module,
            payload=plan.payload,
            payload_path=plan.payload_path,
            known=self._known(plan),
        )
        stager = self._stager(stream.finish, plan.vermagic)
        with stream:
            header = stream.open()
            self.timing_s["open"] = time.monotonic() - started_s
            with self._turn(header.size_bytes):
                if record := self._staged_meanwhile():
                    return Fetched(record, cached=True, notes=())
                chunks = self._counted(stream.chunks(), header.size_bytes)
                if known := self._is_known(stream, header):
                    record = stager.restage(known)
                elif self.store.find_archive(header.size_bytes):
                    # Maybe the very same: see before it is extracted a second time.
                    record = stager.stage_or_restage(b"".join(chunks))
                else:
                    record = stager.stage(chunks, expected_sha256=plan.archive_sha256)
                report = stream.finish()
        return Fetched(record, cached=False, notes=report.notes)

    def carved(self, plan: Carved) -> Fetched:
        """Stage an archive that was taken out of a module."""
        report = ReadReport(plan.source, boot_id=plan.boot_id, notes=())
        with self._turn(len(plan.archive)):
            if record := self._staged_meanwhile():
                return Fetched(record, cached=True, notes=())
            record = self._stager(lambda: report, plan.vermagic).stage_or_restage(plan.archive)
        return Fetched(record, cached=False, notes=())

    def _stager(self, report: Callable[[], ReadReport], vermagic: str | None) -> Stager:
        config = None if self.about.config is None else parse_config(self.about.config)

        def judge(facts: ArchiveFacts) -> Judged:
            identity = self.about.identity
            verdict = match(
                identity, config, facts, vermagic=vermagic, boot_id_after=report().boot_id
            )
            return Judged(identity, verdict, report().source)

        return Stager(
            self.store,
            judge,
            config=config,
            serial=self.device.serial,
            tolerance=self.options.tolerance,
            limits=self.options.limits or DEFAULT_LIMITS,
            timing_s=self.timing_s,
        )

    def _known(self, plan: OnDevice) -> list[tuple[int, str]]:
        """The archive that the kernel will show once the module given is loaded, if the store has it."""
        size_bytes = plan.archive_bytes
        if self.options.refresh or size_bytes is None:
            return []
        return [(size_bytes, sha256) for sha256 in self.store.find_archive(size_bytes)]

    def _is_known(self, stream: ArchiveStream, header: ArchiveHeader) -> str | None:
        """The archive's sha256, if the store has it and it need not cross the wire."""
        if header.sha256 is not None or self.options.refresh:
            return header.sha256
        stored = self.store.find_archive(header.size_bytes)
        if not stored or not stream.waits:
            return None
        sha256 = stream.device_sha256()
        return sha256 if sha256 in stored else None

    def _turn(self, size_bytes: int) -> AbstractContextManager[None]:
        # Whoever wants an archive of this size waits here, so that two processes which pull the same
        # kernel at once extract it once.
        return self.store.archive_lock(size_bytes)

    def _staged_meanwhile(self) -> KernelRecord | None:
        if self.options.refresh:
            return None
        return find_staged(self.store, self.about, self.device.serial, self.options)

    def _counted(self, chunks: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
        limit_bytes = (self.options.limits or DEFAULT_LIMITS).compressed_bytes
        done_bytes = 0
        for chunk in chunks:
            done_bytes += len(chunk)
            if done_bytes > limit_bytes:
                raise Rule.COMPRESSED_TOO_LARGE.error(f"more than {limit_bytes} compressed bytes")
            if self.options.on_progress is not None:
                self.options.on_progress(done_bytes, size_bytes)
            yield chunk
