"""A cold pull: read the archive, stage it while it comes, judge it, and only then publish it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from kheaders_adb.device.device import Device
from kheaders_adb.device.outcome import ArchiveHeader, NoWorkFolderError, ReadReport
from kheaders_adb.device.probe import Probe
from kheaders_adb.device.transfer import ArchiveStream
from kheaders_adb.errors import (
    ArchiveError,
    KheadersError,
    MismatchError,
    ModuleRefusedError,
    NoHeadersError,
    StoreError,
)
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.match import match
from kheaders_adb.model import ArchiveFacts, Grounds, Reuse
from kheaders_adb.pipeline.absence import absence_error
from kheaders_adb.pipeline.options import Options
from kheaders_adb.pipeline.plans import Carved, OnDevice, Unusable
from kheaders_adb.pipeline.recalled import recall
from kheaders_adb.pipeline.source import ways
from kheaders_adb.pipeline.staged import find_staged
from kheaders_adb.pipeline.stager import Judged, Stager, require_archive
from kheaders_adb.steps import StepKind, Steps
from kheaders_adb.store.changes import ChangeKind
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from kheaders_adb.untrusted.rules import Rule

_ALLOW_MORE = (
    "allow more with --timeout; an archive of Linux's own headers takes this host a few seconds"
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a cold pull ended with.

    Attributes:
        record: the kernel's record, as stored.
        cached: whether another process staged it while this one waited for it.
        notes: what the user should be told.
        reuse: on what grounds a stored tree or archive was used again, if one was.
    """

    record: KernelRecord
    cached: bool
    notes: tuple[str, ...]
    reuse: Reuse | None = None


_SAME_MODULE = "this device's own sha256 of {} is a stored module's, whose archive was matched anew"
_SAME_BYTES = Reuse(
    Grounds.DIGEST,
    "this device's own sha256 of the archive is that of a stored one, which was matched anew",
)


def fetch(device: Device, about: Probe, store: Store, options: Options, steps: Steps) -> Fetched:
    """Read the headers of the running kernel and stage them; as `ensure`, for a cold store.

    Args:
        steps: tells of each.
    """
    pull = _Pull(device, about, store, options, steps)
    refused: list[KheadersError] = []
    doubted: set[str] = set()
    last: KheadersError | None = None
    steps.begin(StepKind.SOURCE)
    for plan in ways(
        device,
        about,
        via=options.via,
        module=options.module,
        tolerance=options.tolerance,
        limits=options.limits,
        doubted=doubted,
        recall=lambda path: None if options.refresh else recall(device, about, store, path),
    ):
        if isinstance(plan, Unusable):
            refused.append(plan.error)
            continue
        if plan.origin in doubted or (
            isinstance(plan, OnDevice) and plan.elsewhere and not _blames_folder(last)
        ):
            continue
        last = None
        try:
            fetched = pull.carved(plan) if isinstance(plan, Carved) else pull.on_device(plan)
        except ModuleRefusedError as error:
            refused.append(last := error)
            if error.doubts_build:
                doubted.add(plan.origin)  # then what is in it is not this kernel's either
        except NoHeadersError as error:
            refused.append(last := error)
        except (ArchiveError, MismatchError) as error:
            if isinstance(error, ArchiveError):
                # The reader knows neither; who gets the message must.
                error.device = error.device or device.serial
                error.step = error.step or "reading the archive"
            # What the kernel shows, or the user gave, is the last word; of its modules another may fit.
            if not _is_one_of_many(plan, about):
                raise _with(error, refused) from None
            refused.append(error)
        else:
            skipped = tuple(f"skipped, {error.step}: {error.seen}" for error in refused)
            notes = dict.fromkeys(skipped + plan.notes + fetched.notes + device.notes)
            return replace(fetched, notes=tuple(notes))
        steps.end(failed=True)
        steps.begin(StepKind.SOURCE)
    raise _with(_worst(refused), refused) if refused else absence_error(device.serial, about)


def _is_one_of_many(plan: Carved | OnDevice, about: Probe) -> bool:
    return any(str(file.path) == plan.origin for file in about.modules) and not (
        isinstance(plan, OnDevice) and plan.shown
    )


def _blames_folder(error: KheadersError | None) -> bool:
    """Whether a load may go better in another folder for temporary files."""
    if isinstance(error, ModuleRefusedError):
        return error.doubts_folder
    return isinstance(error, NoWorkFolderError)


def _worst(refused: list[KheadersError]) -> KheadersError:
    """Which of several refusals tells the user most: headers that are there and wrong, else the first."""
    return next((error for error in refused if isinstance(error, MismatchError)), refused[0])


def _with(error: KheadersError, refused: list[KheadersError]) -> KheadersError:
    others = [other for other in refused if other is not error and other.seen != error.seen]
    for note in dict.fromkeys(f"tried as well, {other.step}: {other.seen}" for other in others):
        error.add_note(note)
    return error


def _recalled(plan: Carved | OnDevice) -> Reuse | None:
    return Reuse(Grounds.DIGEST, _SAME_MODULE.format(plan.origin)) if plan.recalled else None


@dataclass(slots=True)
class _Pull:
    """One cold pull on its way."""

    device: Device
    about: Probe
    store: Store
    options: Options
    steps: Steps
    announced: set[str] = field(default_factory=set)

    def on_device(self, plan: OnDevice) -> Fetched:
        """Read the archive on the device, loading a module if the plan says so."""
        stream = ArchiveStream(
            self.device,
            self.about,
            module=plan.module,
            payload=plan.payload,
            payload_path=plan.payload_path,
            module_sha256=plan.module_sha256,
            known=self._known(plan),
            work=plan.work,
            beside=plan.beside,
        )
        # Where it is not known what the archive must be, it may be another module's.
        module_sha256 = plan.module_sha256 if plan.archive_sha256 else ""
        stager = self._stager(stream.finish, plan.vermagic, module_sha256)
        with self._noted(plan, stream), stream:
            if not plan.shown and plan.origin:
                self.steps.begin(StepKind.LOAD, plan.origin)
            header = stream.open()
            self.steps.begin(StepKind.READ, header.path)
            with self._turn(header.size_bytes):
                if meanwhile := self._staged_meanwhile():
                    return meanwhile
                chunks = self._counted(stream.chunks(), header.size_bytes)
                reuse: Reuse | None = None
                wanted = plan.archive_sha256
                if known := self._is_known(stream, header):
                    require_archive(known, wanted, self.device.serial)
                    if plan.archive:
                        reuse = _recalled(plan)
                        record = stager.stage_or_restage(plan.archive)
                    else:
                        reuse = _SAME_BYTES
                        record = stager.restage(known)
                elif self.store.find_archive(header.size_bytes):
                    # Maybe the very same: see before it is extracted a second time.
                    record = stager.stage_or_restage(b"".join(chunks), expected_sha256=wanted)
                else:
                    record = stager.stage(chunks, expected_sha256=wanted)
                report = stream.finish()
        notes = (*report.notes, *stager.notes)
        return Fetched(record, cached=False, notes=notes, reuse=reuse)

    @contextmanager
    def _noted(self, plan: OnDevice, stream: ArchiveStream) -> Iterator[None]:
        """Say and note that a module is loaded, until it is known that nothing of that is left."""
        if plan.shown or not plan.origin:
            yield
            return
        announce = self.options.on_change or (lambda _: None)
        device, claim = self.device, None
        if plan.origin not in self.announced:
            announce(f"{device.serial}: loading {plan.origin}, which is unloaded afterwards")
            self.announced.add(plan.origin)
        try:
            claim = self.store.changes.begin(
                device.serial, device.boot_id, ChangeKind.MODULE, device.place
            )
        except StoreError as error:
            announce(f"{device.serial}: if this run is killed, that will not be told: {error.seen}")
        try:
            yield
        finally:
            if claim is not None:
                if stream.is_clean and claim.is_last():
                    claim.settle()
                claim.close()

    def carved(self, plan: Carved) -> Fetched:
        """Stage an archive that was taken out of a module."""
        report = ReadReport(plan.source, boot_id=plan.boot_id, notes=())
        with self._turn(len(plan.archive)):
            if meanwhile := self._staged_meanwhile():
                return meanwhile
            stager = self._stager(lambda: report, plan.vermagic, plan.module_sha256)
            record = stager.stage_or_restage(plan.archive)
        notes = tuple(stager.notes)
        return Fetched(record, cached=False, notes=notes, reuse=_recalled(plan))

    def _stager(
        self, report: Callable[[], ReadReport], vermagic: str | None, module_sha256: str
    ) -> Stager:
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
            config_text=self.about.config,
            module_sha256=module_sha256 or None,
            vermagic=vermagic,
            serial=self.device.serial,
            tolerance=self.options.tolerance,
            limits=self.options.limits or DEFAULT_LIMITS,
            go_on=self._require_time,
            steps=self.steps,
        )

    def _require_time(self) -> None:
        self.device.deadline.require(
            step="extracting the headers", device=self.device.serial, hint=_ALLOW_MORE
        )

    def _known(self, plan: OnDevice) -> list[tuple[int, str]]:
        """The archive that the kernel will show once the module given is loaded, if the store has it."""
        size_bytes = plan.archive_bytes
        if plan.archive and plan.archive_sha256 is not None:
            return [(len(plan.archive), plan.archive_sha256)]  # at hand: it need not be sent again
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

    def _staged_meanwhile(self) -> Fetched | None:
        if self.options.refresh:
            return None
        found = find_staged(self.store, self.about, self.device, self.options)
        if found.record is None:
            return None
        return Fetched(found.record, cached=True, notes=(), reuse=found.reuse)

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
