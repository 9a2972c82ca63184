"""The shape of an archive as it grows: parents, duplicates, collisions and links."""

from __future__ import annotations

import unicodedata

from kheaders_adb.archive.names import clean_target
from kheaders_adb.model import Member, MemberKind
from kheaders_adb.untrusted.limits import Limits
from kheaders_adb.untrusted.rules import Rule

_ROOT = ""


class Tree:
    """Admits members one by one and refuses what cannot stand beside those before it.

    Invariant: every admitted member's parents are directories of the archive.  Hence no admitted
    path leads through a symlink, and a lexical check of a path is a check of the real one.
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
            UnsafeArchiveError: if it contradicts an earlier member, or links out of the tree.
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

    def last_target(self) -> str:
        """The target of the symlink admitted last, checked."""
        return self._links[-1][1]

    def finish(self) -> None:
        """Check every symlink against the complete archive.

        Raises:
            UnsafeArchiveError: if one does not lead straight to a file of the archive.
        """
        for link, target in self._links:
            at = link.rpartition("/")[0]
            for component in target.split("/"):
                if self._kinds[at] is not MemberKind.DIRECTORY:  # also before a dot: ENOTDIR
                    self._refuse_way(link, target, at)
                if component == ".":
                    continue
                if component == "..":
                    at = at.rpartition("/")[0]
                    continue
                at = f"{at}/{component}" if at else component
                if at not in self._kinds:
                    raise Rule.LINK_DANGLING.error(
                        f"a symlink to {target}, which the archive does not hold",
                        member=link,
                        hint="some builds archive links in place of the headers (bcc #4503); "
                        "this archive cannot be completed from itself",
                    )
            kind = self._kinds[at]
            if kind is MemberKind.DIRECTORY:
                raise Rule.LINK_TO_DIRECTORY.error(f"a symlink to {target}", member=link)
            if kind is MemberKind.SYMLINK:
                raise Rule.LINK_CHAIN.error(f"a symlink to the symlink {target}", member=link)

    def _refuse_way(self, link: str, target: str, at: str) -> None:
        if self._kinds[at] is MemberKind.SYMLINK:
            raise Rule.LINK_CHAIN.error(f"a symlink to {target}, through a symlink", member=link)
        raise Rule.LINK_DANGLING.error(f"a symlink to {target}, through a file", member=link)

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
