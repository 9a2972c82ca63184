"""The shape of an archive as it grows: parents, duplicates, collisions and links."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from kheaders_adb.archive.names import clean_target, escape_of
from kheaders_adb.model import Member, MemberKind, OmittedLink
from kheaders_adb.untrusted.limits import Limits
from kheaders_adb.untrusted.rules import Omission, Rule
from kheaders_adb.untrusted.text import printable

_ROOT = ""


class Tree:
    """Admits members one by one and refuses what cannot stand beside those before it.

    Invariant: every admitted member's parents are directories of the archive.  Hence no admitted
    path leads through a symlink, and a lexical check of a path is a check of the real one.  A symlink that
    is left out in the end holds its name all the same: nothing else may have it or lead through it.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kinds: dict[str, MemberKind] = {_ROOT: MemberKind.DIRECTORY}
        self._directories: set[str] = {_ROOT}
        self._implied: set[str] = {_ROOT}
        self._links: list[tuple[str, str]] = []
        self._composed: dict[str, str] = {}

    def __len__(self) -> int:
        """The number of members, implied directories among them, the root not."""
        return len(self._kinds) - 1

    def admit(self, path: str, kind: MemberKind, target: bytes) -> list[Member]:
        """Take in one member.

        Args:
            path: its normalised path; empty for the root.
            kind: its kind.
            target: a symlink's target, raw.

        Returns:
            The directories to create first: parents that the archive has not listed.  The member
            itself is not among them, and need not be created if ``holds(path)`` held before.

        Raises:
            UnsafeArchiveError: if it contradicts an earlier member.
        """
        created: list[Member] = []
        parent = path.rpartition("/")[0]
        if parent not in self._directories:
            created = self._imply(parent, path)
        if path in self._kinds:
            self._again(path, kind)
            return created
        if self._composed or not path.isascii():
            self._check_composition(path)
        self._kinds[path] = kind
        if len(self._kinds) > self._limits.members + 1:
            raise Rule.TOO_MANY_MEMBERS.error(f"more than {self._limits.members} members")
        if kind is MemberKind.DIRECTORY:
            self._directories.add(path)
        elif kind is MemberKind.SYMLINK:
            self._links.append((path, clean_target(target, path, self._limits)))
        return created

    def holds(self, path: str) -> bool:
        """Whether the path is there already, if only because another member lies below it."""
        return path in self._kinds

    def finish(self) -> Iterator[Member | OmittedLink]:
        """Follow every symlink through the complete archive, in the archive's order.

        Yields:
            The symlinks that lead straight to a file of the archive, to be made; and those that do not,
            which are left out.
        """
        for link, target in self._links:
            fault = self._fault(link, target)
            if fault is None:
                yield Member(link, MemberKind.SYMLINK, 0, target)
            else:
                shown = printable(link, self._limits.path_bytes)
                yield OmittedLink(shown, printable(target), fault.value)

    def _fault(self, link: str, target: str) -> Omission | None:
        """Why a symlink leads to no file of the archive, or None if it does: component by component."""
        if escape := escape_of(target, link):
            return escape
        at = link.rpartition("/")[0]
        for component in target.split("/"):
            if self._kinds[at] is not MemberKind.DIRECTORY:  # also before a dot: ENOTDIR
                return self._dead_end(at)
            if component == ".":
                continue
            if component == "..":
                at = at.rpartition("/")[0]
                continue
            at = f"{at}/{component}" if at else component
            if at not in self._kinds:
                return Omission.LINK_DANGLING
        if self._kinds[at] is MemberKind.DIRECTORY:
            return Omission.LINK_TO_DIRECTORY
        return None if self._kinds[at] is MemberKind.FILE else Omission.LINK_CHAIN

    def _dead_end(self, at: str) -> Omission:
        through_link = self._kinds[at] is MemberKind.SYMLINK
        return Omission.LINK_CHAIN if through_link else Omission.LINK_DANGLING

    def _imply(self, directory: str, member: str) -> list[Member]:
        missing = []
        while directory not in self._directories:
            kind = self._kinds.get(directory)
            if kind is MemberKind.SYMLINK:
                raise Rule.PARENT_IS_LINK.error(
                    f"leads through the symlink {directory}", member=member
                )
            if kind is MemberKind.FILE:
                raise Rule.PARENT_NOT_DIRECTORY.error(
                    f"leads through the file {directory}", member=member
                )
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        created = []
        for path in reversed(missing):
            self.admit(path, MemberKind.DIRECTORY, b"")
            self._implied.add(path)
            created.append(Member(path, MemberKind.DIRECTORY))
        return created

    def _again(self, path: str, kind: MemberKind) -> None:
        """Allow one listing of a directory that was only implied so far; refuse all else."""
        if path not in self._implied:
            raise Rule.DUPLICATE.error("listed twice", member=path or "./")
        if kind is MemberKind.DIRECTORY:
            self._implied.discard(path)
        elif not path:
            raise Rule.ROOT_NOT_DIRECTORY.error(f"the root as a {kind.value}", member="./")
        elif kind is MemberKind.SYMLINK:
            raise Rule.PARENT_IS_LINK.error("a symlink with members below it", member=path)
        else:
            raise Rule.PARENT_NOT_DIRECTORY.error("a file with members below it", member=path)

    def _check_composition(self, path: str) -> None:
        composed = unicodedata.normalize("NFC", path)
        other = self._composed.get(composed, composed)
        if other != path and (other in self._kinds or composed in self._composed):
            raise Rule.UNICODE_COLLISION.error(f"the same text as {other}", member=path)
        self._composed[composed] = path
