"""Reading an archive once more: for what it says by today's rules, or of the symbols that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kheaders_adb.archive.reader import go_on_always, read_archive
from kheaders_adb.kernel.differences import with_mentions
from kheaders_adb.kernel.facts import FactCollector
from kheaders_adb.kernel.survey import Survey, Surveyor
from kheaders_adb.model import ArchiveFacts, Verdict
from kheaders_adb.untrusted.limits import Limits


def read_facts(
    chunks: Iterable[bytes], limits: Limits, go_on: Callable[[], None] = go_on_always
) -> ArchiveFacts:
    """Return what an archive says of its kernel.

    Args:
        chunks: the archive's bytes.
        limits: caps for the archive.
        go_on: as for `read_archive`.

    Raises:
        ArchiveError: it is damaged or unsafe.
    """
    collector = FactCollector()
    for member, content in read_archive(chunks, limits, go_on=go_on):
        collector.add(member.path, content)
    return collector.facts()


def survey_archive(
    chunks: Iterable[bytes],
    verdict: Verdict,
    limits: Limits,
    go_on: Callable[[], None] = go_on_always,
) -> tuple[Verdict, Survey]:
    """Return the verdict with the headers that depend on what differs, and the survey of them.

    It takes as long as extracting does (about a second), which only an archive that differs costs.

    Args:
        chunks: the archive's bytes, which were read and judged before.
        verdict: the judgement.
        limits: caps for the archive.
        go_on: as for `read_archive`.

    Raises:
        ArchiveError, StoreError: it is not the same any more, or the disk failed.
    """
    surveyor = Surveyor([difference.symbol for difference in verdict.differences])
    if not verdict.differences:
        return verdict, surveyor.survey()
    for member, content in read_archive(chunks, limits, go_on=go_on):
        surveyor.add(member.path, content)
    survey = surveyor.survey()
    return with_mentions(verdict, survey.mentions), survey
