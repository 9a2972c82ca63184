"""Verdicts of older rules, found again from what the store holds: no device is asked.

What the kernel said stands in its record, its configuration beside that, and the archive is stored.  What is
missing there is unknown, and nothing that differed is taken for agreeing because it is unknown now.
"""

from __future__ import annotations

from dataclasses import replace

from kheaders_adb.errors import ArchiveError, MismatchError
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.facts import require_kheaders
from kheaders_adb.kernel.match import match
from kheaders_adb.model import ArchiveFacts, Check, CheckStatus, Level, SourceKind, Verdict
from kheaders_adb.pipeline.stager import mismatch_error
from kheaders_adb.pipeline.surveying import read_facts, survey_archive
from kheaders_adb.store.records import RULES, KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits

_STEP = "judging again what an older version has staged"
_CLAIMED = frozenset({"release", "machine", "version"})
# The first rules compared a carve's boot_id, and an import's own words, with themselves.
_FIRST_RULES = 1


def judge_again(
    store: Store, record: KernelRecord, limits: Limits = DEFAULT_LIMITS
) -> KernelRecord:
    """The record of a kernel under today's rules; the store keeps it, unless it turned out to be a mismatch.

    Args:
        store: where it is staged.
        record: as it was read.
        limits: caps for the archive.

    Returns:
        The record with today's verdict.  A tree that was repaired by older rules is a mismatch: what today's
        would make of it is known only when they have made it.

    Raises:
        ArchiveError: today's rules refuse the archive.
        StoreError: it is missing or damaged, or the disk failed.
    """
    try:
        verdict = _verdict(store, record, limits)
    except ArchiveError as error:
        error.step = _STEP
        raise
    now = replace(record, verdict=verdict, rules=RULES)
    if has_turned(record, now):
        return now  # nobody has wanted that: it is said each time
    store.amend(record, now)
    return now


def has_turned(record: KernelRecord, now: KernelRecord) -> bool:
    """Whether headers that were taken for the kernel's turned out to be none of its."""
    return now.verdict.level is Level.MISMATCH is not record.verdict.level


def turned_error(now: KernelRecord) -> MismatchError:
    """The error for headers of which `has_turned` is true."""
    return mismatch_error(
        now.verdict,
        now.source,
        now.serial,
        _STEP,
        hint="run `kheaders-adb pull` again, or import the archive again: then they are judged by all that "
        "can be read now",
    )


def _verdict(store: Store, record: KernelRecord, limits: Limits) -> Verdict:
    was = record.verdict
    if was.level is Level.REPAIRED:
        return replace(was, level=Level.MISMATCH)
    facts = _facts(store, record, limits)
    require_kheaders(facts)
    if was.level is Level.UNMATCHED:
        return was
    config = store.read_config(record.identity.config_sha256)
    verdict = match(
        record.identity,
        None if config is None else parse_config(config),
        facts,
        vermagic=record.vermagic or _found(record, "vermagic"),
        boot_id_after=_boot_id_after(record),
        unclaimed=_unclaimed(record),
    )
    verdict = _with_what_differed(verdict, was)
    if verdict.level is Level.MISMATCH and verdict.differences:
        archive = store.read_archive(record.archive.sha256)
        verdict, _ = survey_archive((archive,), verdict, limits)
    return verdict


def _facts(store: Store, record: KernelRecord, limits: Limits) -> ArchiveFacts:
    info = store.tree_info(record.tree)
    if info is not None and info.rules == RULES:
        return info.facts
    return read_facts((store.read_archive(record.archive.sha256),), limits)


def _check(record: KernelRecord, name: str) -> Check | None:
    return next((check for check in record.verdict.checks if check.name == name), None)


def _found(record: KernelRecord, name: str) -> str | None:
    check = _check(record, name)
    return None if check is None else check.found


def _boot_id_after(record: KernelRecord) -> str | None:
    carved = record.source.kind is SourceKind.MODULE_CARVED
    return None if carved and record.rules == _FIRST_RULES else _found(record, "continuity")


def _unclaimed(record: KernelRecord) -> frozenset[str]:
    """The checks for which an import had nothing but the archive's own words."""
    if record.source.kind is not SourceKind.FILE or record.serial is not None:
        return frozenset()
    if record.rules == _FIRST_RULES:
        return _CLAIMED
    checks = (check for check in record.verdict.checks if check.name in _CLAIMED)
    return frozenset(check.name for check in checks if check.expected is None)


def _with_what_differed(verdict: Verdict, was: Verdict) -> Verdict:
    """The verdict with the differences that were found once and cannot be looked at any more."""
    differed = {check.name: check for check in was.differing}
    checks = tuple(
        differed.get(check.name, check) if check.status is CheckStatus.UNKNOWN else check
        for check in verdict.checks
    )
    if checks == verdict.checks:
        return verdict
    return Verdict(Level.MISMATCH, checks, verdict.differences or was.differences)
