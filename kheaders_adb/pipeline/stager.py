"""From an archive's bytes to a record in the store: extract, judge, and only then publish."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from kheaders_adb._version import __version__
from kheaders_adb.archive.reader import go_on_always, read_archive
from kheaders_adb.errors import MismatchError, StoreError
from kheaders_adb.kernel.autoconf import AUTOCONF, render_autoconf
from kheaders_adb.kernel.facts import FactCollector
from kheaders_adb.kernel.regeneration import find_obstacle, render_unusable, repaired
from kheaders_adb.kernel.survey import Survey
from kheaders_adb.model import (
    Archive,
    ArchiveFacts,
    HeaderSource,
    KernelIdentity,
    Level,
    SourceKind,
    Verdict,
)
from kheaders_adb.pipeline.options import Tolerance
from kheaders_adb.pipeline.surveying import read_facts, survey_archive
from kheaders_adb.steps import StepKind, Steps
from kheaders_adb.store.records import RULES, KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits

STEP = "matching the headers with the running kernel"

_RIGHT = (Level.EXACT, Level.CONSISTENT)
_SHOWN = (SourceKind.SYSFS, SourceKind.PROC)
_NOT_OURS = (
    "the kernel itself shows this archive, so what it says elsewhere may be the wrong one of the two: "
    "compare with the build that was flashed; --allow-mismatch stages these headers, marked as wrong"
)
_OF_THIS_BUILD = (
    "get the kheaders.ko of this very build; --allow-mismatch stages these headers, marked as wrong"
)
_OF_THAT_FILE = (
    "give the archive and the configuration of one build; "
    "--allow-mismatch stages these headers, marked as wrong"
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What an archive turned out to be: for which kernel it is staged, and under which verdict."""

    identity: KernelIdentity
    verdict: Verdict
    source: HeaderSource


@dataclass(slots=True)
class Stager:
    """Stages archives in one store by one set of rules.

    Attributes:
        store: the store.
        judge: called with what an archive says once all of it has come.
        config: the running kernel's configuration, for regenerating autoconf.h; None if unknown.
        config_text: the text of that, which the store keeps.
        module_sha256: of the module that the archive is in, as a file that was read here; or None.
        vermagic: that module's.
        serial: the device that it is for, or None.
        tolerance: what to do with headers that do not belong to the kernel.
        limits: caps for the archive.
        go_on: as for `read_archive`; not asked any more once publishing has begun, which is finished.
        steps: tells of each; the caller begins with what `stage` is to be told of while the archive comes in.
        notes: receives what the user should be told.
    """

    store: Store
    judge: Callable[[ArchiveFacts], Judged]
    config: dict[str, str] | None = None
    config_text: bytes | None = None
    module_sha256: str | None = None
    vermagic: str | None = None
    serial: str | None = None
    tolerance: Tolerance = Tolerance.NOTHING
    limits: Limits = DEFAULT_LIMITS
    go_on: Callable[[], None] = go_on_always
    steps: Steps = field(default_factory=Steps)
    notes: list[str] = field(default_factory=list)

    def stage(self, chunks: Iterable[bytes], *, expected_sha256: str | None = None) -> KernelRecord:
        """Extract an archive that the store does not have, while it comes in.

        Args:
            chunks: its bytes, cut anywhere.
            expected_sha256: what it must be, or None if that is not known.

        Raises:
            MismatchError: it does not belong to the kernel, or is not the one expected.
            ArchiveError, StoreError: it is damaged or unsafe, or the disk failed.
            Exception: whatever `chunks` or `go_on` raises.
        """
        collector = FactCollector()
        digest = hashlib.sha256()
        with self.store.stage() as staging:

            def kept() -> Iterator[bytes]:
                for chunk in chunks:
                    digest.update(chunk)
                    staging.write_archive(chunk)
                    yield chunk

            for member, content in read_archive(
                kept(), self.limits, on_omitted=staging.omit, go_on=self.go_on
            ):
                staging.add(member, content)
                collector.add(member.path, content)
            require_archive(digest.hexdigest(), expected_sha256, self.serial)
            facts = collector.facts()
            judged, survey = self._accept(facts, staging.archive_chunks)
            if judged.verdict.level is Level.REPAIRED:
                # Nothing is repaired against an unknown configuration, or unseen.
                assert self.config is not None
                assert survey is not None
                staging.replace(AUTOCONF, render_autoconf(self.config, facts.config))
                for path, content in survey.offsets.items():
                    staging.replace(path, render_unusable(content))
            self.go_on()
            self.steps.begin(StepKind.STAGE)
            archive = staging.publish(facts)
            assert staging.tree is not None
            return self._record(judged, archive, staging.tree)

    def restage(self, sha256: str) -> KernelRecord:
        """Judge an archive that the store has, read again only where older rules have read it.

        Raises:
            MismatchError: it does not belong to the kernel.
            ArchiveError: it was staged by older rules, and today's refuse it.
            StoreError: it is not there any more, or the disk failed.
        """
        info = self.store.tree_info(sha256)
        if info is None:
            raise StoreError(
                f"archive {sha256[:12]} vanished from the store while it was needed",
                step="staging",
                hint="is `gc` or `remove` running? run the same command again",
            )
        self.steps.begin(StepKind.CHECK)
        # Those by which it was staged may have been laxer.
        facts = (
            info.facts
            if info.rules == RULES
            else read_facts((self.store.read_archive(sha256),), self.limits, self.go_on)
        )
        judged, _ = self._accept(facts, lambda: (self.store.read_archive(sha256),))
        if judged.verdict.level is Level.REPAIRED:
            self.steps.begin(StepKind.STAGE)
            return self.stage((self.store.read_archive(sha256),))
        return self._record(judged, info.archive, sha256)

    def stage_or_restage(self, data: bytes, *, expected_sha256: str | None = None) -> KernelRecord:
        """Stage an archive that is at hand as a whole; the same archive is never extracted twice.

        Args:
            expected_sha256: as for `stage`.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        require_archive(sha256, expected_sha256, self.serial)
        if sha256 in self.store.find_archive(len(data)):
            self.store.mend_archive(sha256, (data,))
            return self.restage(sha256)
        self.steps.begin(StepKind.STAGE)
        return self.stage((data,))

    def _accept(
        self, facts: ArchiveFacts, archive: Callable[[], Iterable[bytes]]
    ) -> tuple[Judged, Survey | None]:
        """Judge the archive; where it differs, see by its headers what that means and what can be done.

        Args:
            facts: what it says.
            archive: gives its bytes once more.
        """
        self.steps.begin(StepKind.CHECK)
        judged = self.judge(facts)
        if judged.verdict.level is not Level.MISMATCH:
            return judged, None
        verdict, survey = survey_archive(archive(), judged.verdict, self.limits, self.go_on)
        judged = replace(judged, verdict=verdict)
        obstacle = None
        if Tolerance.REPAIRED in self.tolerance:
            obstacle = find_obstacle(verdict, self.config, facts, survey)
            if obstacle is None:
                return replace(judged, verdict=repaired(verdict)), survey
        if not self.tolerance.accepts(verdict):
            raise mismatch_error(verdict, judged.source, self.serial, STEP, obstacle)
        if obstacle is not None:
            self.notes.append(f"not repaired: {obstacle}")
        self._keep_better(judged)
        return judged, survey

    def _keep_better(self, judged: Judged) -> None:
        """Make sure that headers known to be wrong take no right ones' place, which might not be had again.

        Raises:
            MismatchError: right ones are staged for this kernel.
        """
        staged = self.store.find_kernel(judged.identity.key)
        if staged is None or staged.rules != RULES or staged.verdict.level not in _RIGHT:
            return
        raise MismatchError(
            f"headers that are {staged.verdict.level} are staged for this kernel; these are not its own and "
            "do not replace them",
            verdict=judged.verdict,
            step=STEP,
            device=self.serial,
            hint="take another --store for these; the right ones may not be had again",
        )

    def _record(self, judged: Judged, archive: Archive, tree: str) -> KernelRecord:
        record = KernelRecord(
            identity=judged.identity,
            verdict=judged.verdict,
            source=judged.source,
            archive=archive,
            tree=tree,
            tool_version=__version__,
            serial=self.serial,
            staged_at=self.store.now(),
            module_sha256=self.module_sha256,
            vermagic=self.vermagic,
        )
        self.store.record(record, self.config_text)
        return record


def require_archive(sha256: str, expected_sha256: str | None, serial: str | None) -> None:
    """Make sure that the kernel shows the archive of the module that was loaded, by whatever way it came.

    Raises:
        MismatchError: it shows another one.
    """
    if expected_sha256 not in (None, sha256):
        raise MismatchError(
            "the archive that the kernel shows is not the one in the module given",
            step=STEP,
            device=serial,
            hint="another kheaders was loaded meanwhile; see `lsmod` on the device, try again",
        )


def mismatch_error(
    verdict: Verdict,
    source: HeaderSource,
    serial: str | None,
    step: str,
    obstacle: str | None = None,
    hint: str | None = None,
) -> MismatchError:
    """The error for a verdict that is a mismatch, with every check that differs on a line of its own.

    Args:
        obstacle: why the repair that was asked for cannot be done.
        hint: what to do; None for what helps where an archive has just been read.
    """
    whose = "that kernel" if serial is None else "the running kernel"
    rows = "".join(
        f"\n    {check.name}: the kernel has {check.expected}, the headers have {check.found}"
        + (f"\n        ({check.note})" if check.note else "")
        for check in verdict.differing
    )
    if obstacle is not None:
        rows += f"\n    a new autoconf.h does not repair this: {obstacle}"
    return MismatchError(
        f"these headers do not belong to {whose}:{rows}",
        verdict=verdict,
        step=step,
        device=serial,
        hint=hint or _hint_for(source, serial),
    )


def _hint_for(source: HeaderSource, serial: str | None) -> str:
    if source.kind in _SHOWN:
        return _NOT_OURS
    return _OF_THAT_FILE if serial is None else _OF_THIS_BUILD
