"""When regenerating ``autoconf.h`` from the running kernel's configuration mends an archive, and when not.

The other generated headers follow the configuration too, and their sources (kernel/bounds.c, asm-offsets.c)
are in no archive.  So it is done only where none of them can depend on a symbol that differs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from kheaders_adb.errors import CorruptArchiveError, MismatchError
from kheaders_adb.kernel.autoconf import parse_autoconf, render_autoconf
from kheaders_adb.kernel.config import Configuration
from kheaders_adb.kernel.differences import compare_configs
from kheaders_adb.kernel.heading import find_contradictions
from kheaders_adb.kernel.survey import Survey
from kheaders_adb.model import ArchiveFacts, CheckStatus, Level, Verdict
from kheaders_adb.untrusted.text import printable

_MANY_DIGITS = re.compile(r"[0-9]{2,}").fullmatch
_CONSTANT = re.compile(rb"^([ \t]*#[ \t]*define[ \t]+(\w+)[ \t]).*$", re.M)


def repaired(verdict: Verdict) -> Verdict:
    """Return the verdict on the tree after ``autoconf.h`` was regenerated.

    The checks stay as they were, so that the record shows what was repaired.

    Raises:
        MismatchError: something besides the configuration differs, or nothing does.
    """
    if not verdict.is_repairable:
        raise MismatchError(
            f"a new autoconf.h does not repair this: {not_only_config(verdict)}",
            verdict=verdict,
            step="repairing the configuration",
        )
    return dataclasses.replace(verdict, level=Level.REPAIRED)


def find_obstacle(
    verdict: Verdict, config: Mapping[str, str] | None, facts: ArchiveFacts, survey: Survey
) -> str | None:
    """Why a new ``autoconf.h`` would not make these headers the running kernel's; None if it would.

    Args:
        verdict: a mismatch.
        config: the running kernel's configuration.
        facts: what the archive says.
        survey: what its headers do with the symbols that differ.
    """
    if not verdict.is_repairable or config is None:
        return not_only_config(verdict)
    heading = config.heading if isinstance(config, Configuration) else None
    if contradictions := find_contradictions(heading, facts):
        return contradictions[0]
    symbols = sorted(difference.symbol for difference in verdict.differences)
    for symbol in symbols:
        if symbol in survey.deciding:
            generated, by = survey.deciding[symbol]
            through = f" by way of {printable(by)}" if by else ""
            return (
                f"CONFIG_{printable(symbol)} may decide what is in {generated}{through}, and that cannot be "
                "regenerated"
            )
    if survey.unknown:
        return f"{printable(survey.unknown[0])} may depend on any symbol, and cannot be regenerated"
    for difference in verdict.differences:
        if (
            difference.archive is None
            and difference.symbol in survey.mentions
            and _MANY_DIGITS(difference.kernel or "")
        ):
            return f"whether CONFIG_{printable(difference.symbol)} is a hexadecimal number cannot be told"
    return _not_expressible(config, facts)


def render_unusable(content: bytes) -> bytes:
    """Return a header of constants for assembler, each of them made an error in C.

    They follow the old configuration.  No header uses them for what C sees, but a program might, and must not
    get a wrong one in silence.
    """
    return _CONSTANT.sub(rb"\1kheaders_adb_repaired_this_tree_and_has_no_\2", content)


def not_only_config(verdict: Verdict) -> str:
    """Why a verdict says by itself that a new ``autoconf.h`` is no repair."""
    besides = [check.name for check in verdict.differing if check.name != "config"]
    if besides:
        return f"besides the configuration differs: {', '.join(besides)}"
    if not verdict.differing:
        return "nothing differs"
    unknown = [
        check.name
        for check in verdict.checks
        if check.name == "release" and check.status is not CheckStatus.AGREE
    ]
    return (
        f"only the configuration differs, but this is not known: {', '.join(unknown) or 'config'}"
    )


def _not_expressible(config: Mapping[str, str], facts: ArchiveFacts) -> str | None:
    try:
        regenerated = parse_autoconf(render_autoconf(config, facts.config))
    except CorruptArchiveError as error:
        return f"the kernel's configuration is not as Kconfig writes it: {error.seen}"
    differences, _ = compare_configs(config, regenerated)
    if differences:
        return f"CONFIG_{printable(differences[0].symbol)} has a value that C cannot be given"
    return None
