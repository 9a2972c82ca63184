"""What a good archive reads as, in any dialect and any chunking; and the caps."""

from __future__ import annotations

import itertools
import lzma
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.archives.writer import (
    USTAR,
    directory,
    file,
    header,
    long_name,
    pax,
    symlink,
    tar,
    xz,
)
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import UnsafeArchiveError
from kheaders_adb.model import Member, MemberKind
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits
from tests.unit.archive.helpers import (
    SMALL,
    Entry,
    check_guarantees,
    listing,
    rule_of,
    tarfile_listing,
    tree_listing,
)

ROOT = directory(b"./")
DIRECTORY: Entry = (MemberKind.DIRECTORY, None, b"")


def text(content: bytes) -> Entry:
    return (MemberKind.FILE, None, content)


def test_small_real_archive_reads_as_tarfile_reads_it() -> None:
    data = SMALL.read_bytes()
    ours = listing([data])
    assert ours == tarfile_listing(data)
    assert sum(kind is MemberKind.SYMLINK for kind, _, _ in ours.values()) == 3
    check_guarantees(read_archive([data]))


@given(st.lists(st.integers(0, len(SMALL.read_bytes())), max_size=20))
def test_any_chunking_gives_the_same(cuts: list[int]) -> None:
    data = SMALL.read_bytes()
    edges = [0, *sorted(cuts), len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert listing(chunks) == listing([data])


def test_byte_by_byte() -> None:
    data = SMALL.read_bytes()
    assert listing(data[at : at + 1] for at in range(len(data))) == listing([data])


def test_members_come_before_the_archive_ends() -> None:
    """Extraction overlaps the transfer only if the reader does not wait for the last chunk."""
    noise = random.Random(1).randbytes(2 * 2**20)
    data = xz(tar(ROOT, file(b"./first.h", b"first"), file(b"./noise.h", noise)))
    half, handed_out = len(data) // 2, []

    def chunks() -> Iterator[bytes]:
        yield data[:half]
        handed_out.append(True)
        yield data[half:]

    members = read_archive(chunks())
    assert next(members) == (Member("first.h", MemberKind.FILE, 5), b"first")
    assert not handed_out


def test_errors_of_the_source_pass_through() -> None:
    class LostError(Exception):
        pass

    def chunks() -> Iterator[bytes]:
        yield SMALL.read_bytes()[:9000]
        raise LostError

    with pytest.raises(LostError):
        for _ in read_archive(chunks()):
            pass


def test_several_blocks_in_one_stream_are_fine() -> None:
    """`xz -T2 --block-size` writes them."""
    if shutil.which("xz") is None:
        pytest.skip("xz is not installed")
    stream = subprocess.run(
        ["xz", "--block-size=4096", "-T2"],
        input=lzma.decompress(SMALL.read_bytes()),
        capture_output=True,
        check=True,
    ).stdout
    assert listing([stream]) == listing([SMALL.read_bytes()])


@pytest.mark.parametrize("padding_bytes", [4, 8, 10_240, 256 * 1024])
def test_stream_padding_is_part_of_the_format(padding_bytes: int) -> None:
    """bsdtar leaves it when it writes into a pipe, which it fills up to a whole record."""
    data = SMALL.read_bytes()
    padded = data + bytes(padding_bytes)
    assert listing([padded]) == listing([data])
    assert listing(padded[at : at + 7001] for at in range(0, len(padded), 7001)) == listing([data])


def test_padding_counts_towards_the_cap() -> None:
    data = SMALL.read_bytes()
    with pytest.raises(UnsafeArchiveError) as caught:
        list(read_archive([data, bytes(8)], Limits(compressed_bytes=len(data) + 4)))
    assert rule_of(caught.value) == "compressed-too-large"


def test_a_stream_without_check_is_not_called_damaged() -> None:
    with pytest.raises(UnsafeArchiveError, match="holds no integrity check") as caught:
        list(read_archive([xz(tar(ROOT, file(b"./a.h")), check=lzma.CHECK_NONE)]))
    assert "pack it with one" in (caught.value.hint or "")


def test_directories_come_first_even_if_they_are_not_listed() -> None:
    data = xz(tar(file(b"./a/b/x.h", b"x"), directory(b"./a/"), file(b"a/y.h", b"y")))
    assert list(listing([data]).items()) == [
        ("a", DIRECTORY),
        ("a/b", DIRECTORY),
        ("a/b/x.h", text(b"x")),
        ("a/y.h", text(b"y")),
    ]


def test_links_may_come_before_their_targets() -> None:
    data = xz(tar(symlink(b"./d/l.h", b".././e/./x.h"), file(b"./e/x.h", b"x")))
    assert listing([data])["d/l.h"] == (MemberKind.SYMLINK, ".././e/./x.h", b"")


@pytest.mark.parametrize("mode", [0o2755, 0o2775, 0o700, 0o777])
def test_modes_of_the_builders_directories_do_not_matter(mode: int) -> None:
    data = xz(tar(directory(b"./d/", mode=mode), file(b"./d/x.h", b"", mode=0o600)))
    assert listing([data]) == {"d": DIRECTORY, "d/x.h": text(b"")}


def test_long_names_of_every_dialect() -> None:
    long = b"./" + b"d" * 60 + b"/" + b"e" * 60 + b".h"
    name = long[2:].decode()
    parent = "d" * 60
    dialects: list[tuple[bytes, ...]] = [
        (long_name(long), file(long, b"x")),
        (long_name(long), file(long[:99], b"x")),
        (pax([(b"path", long), (b"mtime", b"1.5")]), file(long, b"x", magic=USTAR)),
        (file(b"e" * 60 + b".h", b"x", magic=USTAR, prefix=b"./" + b"d" * 60),),
    ]
    for members in dialects:
        assert listing([xz(tar(*members))]) == {parent: DIRECTORY, name: text(b"x")}
    target = (long_name(long), file(long, b"x"))
    link = (long_name(long[2:], flag=b"K"), symlink(b"./l", long[2:]))
    assert listing([xz(tar(*target, *link))])["l"] == (MemberKind.SYMLINK, name, b"")


def test_names_beyond_ascii() -> None:
    data = xz(tar(file("./naïve/größe.h".encode(), b"x"), file("./naïve/日本.h".encode(), b"y")))
    assert set(listing([data])) == {"naïve", "naïve/größe.h", "naïve/日本.h"}


def test_large_numbers_of_owners_and_times() -> None:
    """A builder's user id beyond 2^21 is written in base-256; it does not matter here."""
    data = xz(tar(file(b"./a.h", b"x", fields={108: b"\x80\0\0\0\x7f\xff\xff\xff"})))
    assert listing([data]) == {"a.h": text(b"x")}


def test_check_sums_beyond_65521() -> None:
    """Names beyond ASCII can take the sum of a header's bytes past the modulus of Adler-32."""
    letters = "\u07ea" * 50
    target = file(letters.encode(), magic=USTAR, prefix=("./" + letters).encode())
    link = header(
        (letters[:-1] + "l").encode(),
        flag=b"2",
        target=letters.encode(),
        magic=USTAR,
        prefix=("./" + letters).encode(),
        fields={265: b"\xff" * 32, 297: b"\xff" * 32},
    )
    assert sum(link) > 65_521
    assert listing([xz(tar(target, link))])[f"{letters}/{letters[:-1]}l"][1] == letters


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (Limits(compressed_bytes=20_000), "compressed-too-large"),
        (Limits(total_bytes=100_000), "total-too-large"),
        (Limits(file_bytes=10_000), "file-too-large"),
        (Limits(members=100), "too-many-members"),
        (Limits(depth=5), "path-too-deep"),
        (Limits(path_bytes=30), "path-too-long"),
        (Limits(dictionary_bytes=4 * 2**20), "dictionary-too-large"),
    ],
)
def test_each_cap_is_adjustable(limits: Limits, rule: str) -> None:
    data = SMALL.read_bytes()
    with pytest.raises(UnsafeArchiveError) as caught:
        listing([data], limits)
    assert rule_of(caught.value) == rule


def test_caps_allow_exactly_what_they_say() -> None:
    data = SMALL.read_bytes()
    entries = listing([data])
    exact = replace(
        DEFAULT_LIMITS,
        compressed_bytes=len(data),
        total_bytes=len(lzma.decompress(data)),
        file_bytes=max(len(content) for _, _, content in entries.values()),
        members=len(entries),
        depth=max(path.count("/") + 1 for path in entries),
    )
    assert listing([data], exact) == entries
    for cap in ("compressed_bytes", "total_bytes", "file_bytes", "members", "depth"):
        with pytest.raises(UnsafeArchiveError):
            listing([data], replace(exact, **{cap: getattr(exact, cap) - 1}))


def test_names_of_a_real_kernel_that_differ_only_in_case() -> None:
    """Eight pairs, such as xt_CONNMARK.h and xt_connmark.h: no reason to refuse an archive."""
    paths = listing([SMALL.read_bytes()])
    assert len(paths) - len({path.lower() for path in paths}) == 8


# --- the same as other programs ---------------------------------------------------------------


def _sources(root: Path) -> None:
    """A tree with everything that a header archive may hold."""
    deep = root / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    (deep / ("f" * 60 + ".h")).write_text("deep\n")
    (root / ("g" * 100)).write_text("a full name field\n")
    (root / ("h" * 99)).write_text("nearly\n")
    (root / "empty.h").touch()
    (root / "block.h").write_bytes(b"x" * 512)
    (root / "größe,x+y=z@1.h").write_text("names\n")
    (root / "dir").mkdir()
    (root / "dir" / "noexec.h").write_text("#pragma once\n")
    (root / "dir" / "link.h").symlink_to("../block.h")
    (root / "dir" / "void").mkdir()


GNU_WRITERS = [
    ["tar", f"--format={dialect}", *options, "-cf", "-", "."]
    for dialect, options in [
        ("gnu", []),
        ("gnu", ["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]),
        ("gnu", ["--mtime=@0", "--mode=u=rw,go=r,a+X"]),
        ("gnu", ["--blocking-factor=1"]),
        ("gnu", ["--owner=+5000000"]),
        ("oldgnu", []),
        ("posix", []),
        ("posix", ["--pax-option=delete=atime,delete=ctime"]),
        ("ustar", []),
        ("v7", []),
    ]
]
BSD_WRITERS = [
    ["bsdtar", "--format", dialect, "-cf", "-", "."]
    for dialect in ("gnutar", "ustar", "pax", "v7", "cpio", "zip")
] + [["bsdtar", "-cf", "-", "."]]
# What ours refuses although the others read it.
REFUSED = {
    "tar --format=v7": "not-tar",
    "bsdtar --format v7": "not-tar",
    "bsdtar --format cpio": "header-checksum",
    "bsdtar --format zip": "header-checksum",
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    _sources(root)
    return root


def _extracted(extractor: str, stream: bytes, target: Path) -> dict[str, Entry]:
    target.mkdir()
    subprocess.run([extractor, "-xf", "-", "-C", target], input=stream, check=True)
    return tree_listing(target)


@pytest.mark.parametrize("command", GNU_WRITERS + BSD_WRITERS, ids=" ".join)
def test_listed_as_gnu_tar_and_bsdtar_do(command: list[str], sources: Path, tmp_path: Path) -> None:
    for tool in ("tar", "bsdtar"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian: libarchive-tools)")
    stream = subprocess.run(command, cwd=sources, capture_output=True, check=False).stdout
    refusal = REFUSED.get(" ".join(command[: 2 if command[0] == "tar" else 3]))
    if refusal is not None:
        with pytest.raises(Exception, match=refusal) as caught:
            listing([xz(stream)])
        assert caught.type.__module__ == "kheaders_adb.errors"
        return
    ours = listing([xz(stream)])
    assert ours == _extracted("tar", stream, tmp_path / "gnu")
    assert ours == _extracted("bsdtar", stream, tmp_path / "bsd")
    assert len(ours) >= 8


@pytest.mark.parametrize("dialect", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_listed_as_gnu_tar_does_if_python_wrote_it(
    dialect: int, sources: Path, tmp_path: Path
) -> None:
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w", format=dialect) as archive:
        for entry in sorted(sources.rglob("*")):
            name = "./" + entry.relative_to(sources).as_posix()
            # In pax format Python writes question marks into the plain header of such a name.
            if name.isascii() or dialect != tarfile.PAX_FORMAT:
                archive.add(entry, name, recursive=False)
    stream = path.read_bytes()
    assert listing([xz(stream)]) == _extracted("tar", stream, tmp_path / "gnu")


def test_small_real_archive_as_gnu_tar_and_bsdtar_extract_it(tmp_path: Path) -> None:
    stream = lzma.decompress(SMALL.read_bytes())
    ours = listing([SMALL.read_bytes()])
    assert ours == _extracted("tar", stream, tmp_path / "gnu")
    if shutil.which("bsdtar") is None:
        pytest.skip("bsdtar is not installed (Debian: libarchive-tools)")
    assert ours == _extracted("bsdtar", stream, tmp_path / "bsd")
