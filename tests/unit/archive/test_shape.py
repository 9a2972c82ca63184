"""Symlinks: those that lead to a file of the archive are made, the others are left out by name."""

from __future__ import annotations

import itertools
import lzma
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.archives.stray import Stray, stray_archives
from fixtures.archives.writer import directory, file, symlink, tar, xz
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import UnsafeArchiveError
from kheaders_adb.model import Member, MemberKind, OmittedLink
from kheaders_adb.untrusted.limits import Limits
from kheaders_adb.untrusted.rules import Omission
from tests.unit.archive.helpers import check_guarantees, check_omitted, rule_of, tree_listing

ARCHIVES = stray_archives()


def read(data: bytes) -> tuple[list[tuple[Member, bytes]], list[OmittedLink]]:
    omitted: list[OmittedLink] = []
    return list(read_archive([data], on_omitted=omitted.append)), omitted


@pytest.mark.parametrize("stray", ARCHIVES, ids=lambda stray: stray.name)
def test_links_that_lead_nowhere_are_left_out_and_the_rest_is_read(
    stray: Stray, tmp_path: Path
) -> None:
    """The rest is what GNU tar extracts, but for these links."""
    members, omitted = read(stray.build())
    assert {link.path: link.reason for link in omitted} == stray.left_out
    check_guarantees(members)
    stream = lzma.decompress(stray.build())
    subprocess.run(["tar", "-xPf", "-", "-C", tmp_path], input=stream, check=True)
    extracted = tree_listing(tmp_path)
    gone = set(extracted) - {member.path for member, _ in members}
    assert {path.encode("unicode_escape").decode() for path in gone} == {
        path.encode("unicode_escape").decode() for path in _unescaped(stray)
    }
    for member, content in members:
        assert extracted[member.path] == (member.kind, member.target, content)


def _unescaped(stray: Stray) -> set[str]:
    return {path.replace("\\u0381", "\u0381") for path in stray.left_out}


def test_every_reason_has_an_archive() -> None:
    reasons = Counter(itertools.chain(*(stray.left_out.values() for stray in ARCHIVES)))
    assert set(reasons) == set(Omission)


@pytest.mark.parametrize("stray", ARCHIVES, ids=lambda stray: stray.name)
def test_what_is_listed_never_acts_on_a_terminal(stray: Stray) -> None:
    for link in read(stray.build())[1]:
        check_omitted(link)


def test_links_come_when_all_that_they_may_lead_to_is_known() -> None:
    data = xz(tar(symlink(b"./d/l.h", b"../e/x.h"), file(b"./e/x.h", b"x"), directory(b"./f/")))
    assert [member.path for member, _ in read(data)[0]] == ["d", "e", "e/x.h", "f", "d/l.h"]


def test_links_that_are_left_out_count_as_members() -> None:
    links = [symlink(b"./%d.h" % number, b"absent") for number in range(4)]
    with pytest.raises(UnsafeArchiveError) as caught:
        list(read_archive([xz(tar(*links))], Limits(members=3)))
    assert rule_of(caught.value) == "too-many-members"
    assert len(read(xz(tar(*links)))[1]) == 4


_NAMES = st.sampled_from([b"a", b"b", b"c"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(b"/".join)
_TARGETS = st.lists(st.one_of(_NAMES, st.sampled_from([b"..", b"."])), min_size=1, max_size=4).map(
    b"/".join
)


@given(st.dictionaries(_PATHS, st.one_of(st.none(), _TARGETS), min_size=1, max_size=8))
def test_a_link_is_made_exactly_if_it_leads_straight_to_a_file(
    entries: dict[bytes, bytes | None],
) -> None:
    """Walked here by sets of paths, not component by component through a table of kinds."""
    # What lies below a file or a link is refused; these are other tests' concern.
    paths = {path for path in entries if not any(path.startswith(each + b"/") for each in entries)}
    files = {path for path in paths if entries[path] is None}
    folders = {b""} | {b"/".join(path.split(b"/")[:n]) for path in paths for n in range(3)}
    folders -= paths
    made, omitted = read(
        xz(
            tar(
                *(
                    file(b"./" + path) if target is None else symlink(b"./" + path, target)
                    for path, target in entries.items()
                    if path in paths
                )
            )
        )
    )

    def leads_to_a_file(path: bytes, target: bytes) -> bool:
        way = path.split(b"/")[:-1]
        *before, last = target.split(b"/")
        for part in before:
            way = way if part == b"." else [*way, part]
            if part == b"..":
                if len(way) < 2:
                    return False
                way = way[:-2]
            if b"/".join(way) not in folders:
                return False
        return last not in (b".", b"..") and b"/".join([*way, last]) in files

    links = {path for path in paths if path not in files}
    good = {path for path in links if leads_to_a_file(path, entries[path] or b"")}
    assert {member.path.encode() for member, _ in made if member.kind is MemberKind.SYMLINK} == good
    assert {link.path.encode() for link in omitted} == links - good
