"""Reading an archive once more, where it differs, for what its headers say of the symbols that do."""

from __future__ import annotations

from collections.abc import Iterable

from kheaders_adb.archive.reader import read_archive
from kheaders_adb.kernel.differences import with_mentions
from kheaders_adb.kernel.survey import Survey, Surveyor
from kheaders_adb.model import Verdict
from kheaders_adb.untrusted.limits import Limits


def survey_archive(
    chunks: Iterable[bytes], verdict: Verdict, limits: Limits
) -> tuple[Verdict, Survey]:
    """Return the verdict with the headers that depend on what differs, and the survey of them.

    It takes as long as extracting does (about a second), which only an archive that differs costs.

    Args:
        chunks: the archive's bytes, which were read and judged before.
        verdict: the judgement.
        limits: caps for the archive.

    Raises:
        ArchiveError, StoreError: it is not the same any more, or the disk failed.
    """
    surveyor = Surveyor([difference.symbol for difference in verdict.differences])
    if not verdict.differences:
        return verdict, surveyor.survey()
    for member, content in read_archive(chunks, limits):
        surveyor.add(member.path, content)
    survey = surveyor.survey()
    return with_mentions(verdict, survey.mentions), survey
