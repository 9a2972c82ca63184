"""Every named hostile archive is refused by the rule meant for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.archives import writer
from fixtures.archives.hostile import Hostile, hostile_archives
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import ArchiveError, CorruptArchiveError, UnsafeArchiveError
from kheaders_adb.untrusted.rules import Origin, Rule
from tests.unit.archive.helpers import rule_of, run_bounded

RULES = {rule.value: rule for rule in Rule}
ARCHIVES = hostile_archives()
BOMBS = [one for one in ARCHIVES if one.name.startswith("bomb")]
# Rules that an archive by itself cannot break: they speak of modules, configurations and headers.
_ELSEWHERE = {
    Rule.NOT_KHEADERS,
    Rule.FACT_NOT_TEXT,
    Rule.FACT_TOO_LARGE,
    Rule.AUTOCONF_ODD,
    Rule.CONFIG_DAMAGED,
    Rule.CONFIG_EMPTY,
    Rule.COMPRESSED_TOO_LARGE,  # tests/unit/archive/test_reader.py, with a lower cap
    *(rule for rule in Rule if rule.name.endswith("_MODULE") or rule.name.startswith("MODULE_")),
}


@pytest.mark.parametrize("hostile", ARCHIVES, ids=lambda hostile: hostile.name)
def test_refused_by_its_rule(hostile: Hostile) -> None:
    with pytest.raises(ArchiveError) as caught:
        for _ in read_archive([hostile.build()]):
            pass
    error = caught.value
    assert rule_of(error) == hostile.rule
    assert type(error) is (
        CorruptArchiveError if RULES[hostile.rule].damaged else UnsafeArchiveError
    )
    assert error.hint, "an error says what to do next"
    accused = "hostile" in error.hint
    assert accused is (RULES[hostile.rule].origin is Origin.HOSTILE), "nobody else is accused"
    assert str(error).isprintable(), "nothing of the archive may act on a terminal"


@pytest.mark.parametrize(
    "hostile", [one for one in ARCHIVES if one not in BOMBS], ids=lambda hostile: hostile.name
)
def test_refused_by_the_same_rule_byte_by_byte(hostile: Hostile) -> None:
    data = hostile.build()
    with pytest.raises(ArchiveError) as caught:
        for _ in read_archive(data[at : at + 1] for at in range(len(data))):
            pass
    assert rule_of(caught.value) == hostile.rule


def test_what_a_message_quotes_is_escaped() -> None:
    """An unassigned character is allowed in names, but no terminal knows what to do with it."""
    data = writer.xz(writer.tar(writer.symlink(b"./l.h", "a//\u0381.h".encode())))
    with pytest.raises(ArchiveError) as caught:
        list(read_archive([data]))
    assert rule_of(caught.value) == "link-not-normal"
    assert "a symlink to a//\\u0381.h " in str(caught.value)


def test_every_rule_has_a_hostile_archive() -> None:
    covered = {RULES[one.rule] for one in ARCHIVES}
    assert covered == set(Rule) - _ELSEWHERE


def test_there_are_enough() -> None:
    assert len(ARCHIVES) >= 60


@pytest.mark.parametrize("hostile", BOMBS, ids=lambda hostile: hostile.name)
def test_bombs_within_256_mib_and_two_seconds_of_cpu(hostile: Hostile, tmp_path: Path) -> None:
    """In a process that is killed beyond that; the whole of Python counts in it."""
    archive = tmp_path / "bomb.tar.xz"
    archive.write_bytes(hostile.build())
    code = (
        "import sys\n"
        "from kheaders_adb.archive.reader import read_archive\n"
        "from kheaders_adb.errors import ArchiveError\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "try:\n"
        "    for _ in read_archive([data]): pass\n"
        "except ArchiveError as error:\n"
        "    print(error.rule)\n"
    )

    done = run_bounded(code, archive, memory_bytes=256 * 2**20)
    assert (done.stdout.strip(), done.stderr) == (hostile.rule, "")
