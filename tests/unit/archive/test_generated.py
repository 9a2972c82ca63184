"""Thousands of generated archives and mutations of a real one: all promises kept, or refused by name.

The generator is made to come close to valid archives: names from a small, nasty alphabet, so that
they collide, nest and escape; every kind of member; extension headers; damaged fields.
"""

from __future__ import annotations

import gc
import lzma
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.archives import writer
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import ArchiveError
from kheaders_adb.model import Member
from tests.conftest import SCALE
from tests.unit.archive.helpers import SMALL, check_guarantees, check_omitted, rule_of

_CPU_S = 2.0

_COMPONENTS = st.sampled_from(
    b"a|b|A|a.h|..|.||\xc3\xa9|e\xcc\x81|\xff|\n|a\0b|\\|%a|%b".replace(b"%a", b"c" * 90)
    .replace(b"%b", b"d" * 256)
    .split(b"|")
)
_PLAIN_COMPONENTS = st.sampled_from(
    [b"a", b"b", b"a.h", b"d", "\u00e9".encode(), b"e", b"f.h", b"g"]
)
_PATHS = st.builds(
    lambda start, parts, end: start + b"/".join(parts) + end,
    st.sampled_from([b"./", b"./", b"./", b"", b"/", b"../"]),
    st.one_of(
        st.lists(_PLAIN_COMPONENTS, min_size=1, max_size=3),
        st.lists(_COMPONENTS, max_size=4),
    ),
    st.sampled_from([b"", b"", b"", b"/"]),
)
_TARGETS = st.lists(
    st.one_of(_PLAIN_COMPONENTS, _PLAIN_COMPONENTS, st.sampled_from([b"..", b".", b""])),
    min_size=1,
    max_size=3,
).map(b"/".join)
_CONTENTS = st.sampled_from([b"", b"x", b"y" * 512, b"z" * 1000])
_MAGICS = st.sampled_from([writer.GNU, writer.GNU, writer.USTAR])
_FIELDS = st.dictionaries(
    st.integers(0, 500), st.binary(min_size=1, max_size=12), min_size=1, max_size=2
)
_LONG = st.binary(min_size=95, max_size=130).map(lambda tail: b"./" + tail)


_PLAIN_PATHS = st.lists(_PLAIN_COMPONENTS, min_size=1, max_size=3).map(b"/".join)
_PLAIN_MEMBERS = st.one_of(
    st.builds(lambda path, content: writer.file(b"./" + path, content), _PLAIN_PATHS, _CONTENTS),
    st.builds(lambda path: writer.directory(b"./" + path + b"/"), _PLAIN_PATHS),
    st.builds(lambda path, target: writer.symlink(b"./" + path, target), _PLAIN_PATHS, _TARGETS),
)
_NASTY_MEMBERS = st.one_of(
    st.builds(lambda name, content: writer.file(name, content), _PATHS, _CONTENTS),
    st.builds(writer.directory, _PATHS),
    st.builds(writer.symlink, _PATHS, _TARGETS),
    st.builds(
        lambda name, content, magic, prefix: writer.file(name, content, magic=magic, prefix=prefix),
        _PATHS,
        _CONTENTS,
        _MAGICS,
        st.sampled_from([b"", b"a", b"./d", b".."]),
    ),
    st.builds(
        lambda name, flag, mode, target: writer.header(name, flag=flag, mode=mode, target=target),
        _PATHS,
        st.binary(min_size=1, max_size=1),
        st.integers(0, 0o7777),
        _TARGETS,
    ),
    st.builds(lambda name, fields: writer.header(name, fields=fields), _PATHS, _FIELDS),
    st.builds(writer.long_name, _PATHS, flag=st.sampled_from([b"L", b"K"])),
    st.builds(lambda long: writer.long_name(long) + writer.file(long), _LONG),
    st.builds(
        lambda records, name: writer.pax(records) + writer.file(name),
        st.lists(
            st.tuples(
                st.sampled_from([b"path", b"linkpath", b"size", b"mtime", b"GNU.sparse.size"]),
                st.one_of(_PATHS, st.just(b"7")),
            ),
            max_size=2,
        ),
        _PATHS,
    ),
)
_ENDS = st.sampled_from([writer.END] * 12 + [b"", bytes(512), writer.END + b"x", bytes(8192)])
_TARS = st.builds(
    lambda plain, nasty, more, end: writer.tar(*plain, *nasty, *more, end=end),
    st.lists(_PLAIN_MEMBERS, max_size=6),
    st.lists(_NASTY_MEMBERS, max_size=1),
    st.lists(_PLAIN_MEMBERS, max_size=2),
    _ENDS,
)


class _TooSlow(BaseException):
    """Not an Exception, so that nothing under test can swallow it."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Fail once the process has computed that long; waiting for a busy machine does not count.

    Nor does the collector, which after thousands of examples needs seconds for Hypothesis's own objects.
    """

    def stop(*_: object) -> None:
        raise _TooSlow

    previous = signal.signal(signal.SIGVTALRM, stop)
    gc.disable()
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        gc.enable()
        signal.signal(signal.SIGVTALRM, previous)


def judge(data: bytes) -> str | None:
    """Read an archive; return the rule that refused it, or None if it kept every promise."""
    members: list[tuple[Member, bytes]] = []
    with cpu_limit(_CPU_S):
        try:
            members.extend(read_archive([data], on_omitted=check_omitted))
        except ArchiveError as error:
            return rule_of(error)
    check_guarantees(members)
    return None


@settings(max_examples=2_000 * SCALE)
@given(_TARS)
def test_generated_archives(tar: bytes) -> None:
    judge(writer.xz(tar))


_SMALL_XZ = SMALL.read_bytes()
_SMALL_TAR = lzma.decompress(_SMALL_XZ)
_HEADERS = [
    at for at in range(0, len(_SMALL_TAR), 512) if _SMALL_TAR[at + 257 : at + 262] == b"ustar"
]


def _fix_check_sum(tar: bytearray, at: int) -> None:
    tar[at + 148 : at + 156] = b" " * 8
    tar[at + 148 : at + 156] = b"%06o\0 " % sum(tar[at : at + 512])


def _mutate_header(choice: tuple[int, int, bytes]) -> bytes:
    """A header of the real archive with other bytes somewhere and a check sum that is right again."""
    index, offset, data = choice
    at = _HEADERS[index % len(_HEADERS)]
    tar = bytearray(_SMALL_TAR)
    tar[at + offset : at + offset + len(data)] = data
    _fix_check_sum(tar, at)
    return writer.xz(bytes(tar))


def _splice(choice: tuple[int, int, int]) -> bytes:
    """Blocks of the real archive repeated, dropped or moved."""
    start, end, to = (block * 512 for block in choice)
    return writer.xz(_SMALL_TAR[:to] + _SMALL_TAR[start:end] + _SMALL_TAR[to:])


def _mutate_stream(choice: tuple[int, bytes]) -> bytes:
    """The compressed bytes with others somewhere."""
    at, data = choice
    at %= len(_SMALL_XZ)
    return _SMALL_XZ[:at] + data + _SMALL_XZ[at + len(data) :]


def _cut_stream(at: int) -> bytes:
    return _SMALL_XZ[: at % len(_SMALL_XZ)]


_INTERESTING = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from(
        [b"./../../x\0", b"/etc/passwd\0", b"77777777777\0", b"\xff" * 12, b"\0", b"2"]
    ),
)
_BLOCKS = st.integers(0, len(_SMALL_TAR) // 512)
_MUTATIONS: list[tuple[Callable[..., bytes], st.SearchStrategy[object], int]] = [
    (_mutate_header, st.tuples(st.integers(0, 200), st.integers(0, 345), _INTERESTING), 300),
    (_splice, st.tuples(_BLOCKS, _BLOCKS, _BLOCKS), 100),
    (_mutate_stream, st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=8)), 200),
    (_cut_stream, st.integers(0, 2**16), 100),
]


@pytest.mark.parametrize(
    ("mutate", "choices", "count"), _MUTATIONS, ids=[one[0].__name__[1:] for one in _MUTATIONS]
)
def test_mutations_of_a_real_archive(
    mutate: Callable[..., bytes], choices: st.SearchStrategy[object], count: int
) -> None:
    refused: set[str | None] = set()

    @settings(max_examples=count * SCALE)
    @given(choices)
    def run(choice: object) -> None:
        refused.add(judge(mutate(choice)))

    run()
    assert refused - {None}, "the mutations must do harm, or they show nothing"
