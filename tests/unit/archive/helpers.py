"""What the tests of archives share."""

from __future__ import annotations

import io
import lzma
import os
import resource
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import ArchiveError
from kheaders_adb.model import Member, MemberKind, OmittedLink
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits
from kheaders_adb.untrusted.rules import Omission

FIXTURES = Path(__file__).parents[3] / "fixtures" / "archives"
SMALL = FIXTURES / "small.tar.xz"

Entry = tuple[MemberKind, str | None, bytes]


def listing(chunks: Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> dict[str, Entry]:
    """The archive as we read it: kind, link target and content by path."""
    entries: dict[str, Entry] = {}
    for member, content in read_archive(chunks, limits):
        assert member.path not in entries
        entries[member.path] = (member.kind, member.target, content)
    return entries


def outcome(chunks: Iterable[bytes]) -> dict[str, Entry] | str:
    """The listing, or the name of the rule that refused the archive."""
    try:
        return listing(chunks)
    except ArchiveError as error:
        return rule_of(error)


def rule_of(error: ArchiveError) -> str:
    """The name of the rule behind an error; every error of the reader has one."""
    rule = getattr(error, "rule", None)
    assert isinstance(rule, str)
    assert f"[{rule}]" in str(error)
    return rule


def tarfile_listing(data: bytes) -> dict[str, Entry]:
    """The archive as Python's tarfile reads it."""
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as archive:
        for info in archive:
            path = info.name.removeprefix("./")
            if path == ".":
                continue
            if info.isreg():
                file = archive.extractfile(info)
                assert file is not None
                entries[path] = (MemberKind.FILE, None, file.read())
            elif info.issym():
                entries[path] = (MemberKind.SYMLINK, info.linkname, b"")
            else:
                assert info.isdir()
                entries[path] = (MemberKind.DIRECTORY, None, b"")
    return entries


def tree_listing(root: Path) -> dict[str, Entry]:
    """A directory tree as another program extracted it."""
    entries: dict[str, Entry] = {}
    for path in root.rglob("*"):
        inside = path.relative_to(root).as_posix()
        if path.is_symlink():
            entries[inside] = (MemberKind.SYMLINK, str(path.readlink()), b"")
        elif path.is_dir():
            entries[inside] = (MemberKind.DIRECTORY, None, b"")
        else:
            assert path.is_file()
            entries[inside] = (MemberKind.FILE, None, path.read_bytes())
    return entries


def check_guarantees(members: Iterable[tuple[Member, bytes]]) -> None:
    """Assert what read_archive promises, by other means than its own."""
    kinds: dict[str, MemberKind] = {"": MemberKind.DIRECTORY}
    links: list[tuple[str, str]] = []
    for member, content in members:
        path = member.path
        parts = path.split("/")
        assert path not in kinds, "unique"
        assert path.isprintable() or not path.isascii()
        assert not any(part in ("", ".", "..") for part in parts), "normal and relative"
        assert kinds.get("/".join(parts[:-1])) is MemberKind.DIRECTORY, "after its directory"
        assert not links or member.kind is MemberKind.SYMLINK, "links come last"
        assert len(content) == member.size_bytes
        assert content == b"" or member.kind is MemberKind.FILE
        kinds[path] = member.kind
        if member.kind is MemberKind.SYMLINK:
            assert member.target is not None
            assert not member.target.startswith("/")
            links.append((path, member.target))
        else:
            assert member.target is None
    for path, target in links:
        # Walk as the kernel does, one component at a time, without any normalisation beforehand.
        at = path.split("/")[:-1]
        for part in target.split("/"):
            assert kinds["/".join(at)] is MemberKind.DIRECTORY, "no symlink or file on the way"
            if part == "..":
                assert at, "stays within"
                at.pop()
            elif part != ".":
                at.append(part)
        assert kinds["/".join(at)] is MemberKind.FILE, "leads straight to a file"


def check_omitted(link: OmittedLink) -> None:
    """Assert what is promised of a link that is left out: a known reason, and text fit to be shown."""
    assert link.reason in set(Omission)
    assert link.path.isprintable()
    assert link.target.isprintable()
    assert len(link.path) <= DEFAULT_LIMITS.path_bytes
    assert len(link.target) <= 160


def run_bounded(
    code: str, path: Path | str, *, memory_bytes: int
) -> subprocess.CompletedProcess[str]:
    """Python code on a file, in a process with so much memory and two seconds of processor time."""

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CPU, (2, 2))

    return subprocess.run(
        [sys.executable, "-c", code, path],
        capture_output=True,
        text=True,
        preexec_fn=restrict,
        cwd=Path(__file__).parents[3],
        # Counting lines would use up the time.
        env={name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")},
        check=False,
    )
