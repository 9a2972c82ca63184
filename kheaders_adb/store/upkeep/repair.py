"""Repairing a tree from its stored archive."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

from kheaders_adb.errors import ArchiveError, KheadersError, StoreError
from kheaders_adb.model import Member, MemberKind, OmittedLink
from kheaders_adb.store import durable, manifest, paths, scratch
from kheaders_adb.store.digest import chunks_of_file, digest_of_file, has_digest
from kheaders_adb.store.faults import is_folder
from kheaders_adb.store.locks import is_locked
from kheaders_adb.store.manifest import Entry, EntryKind
from kheaders_adb.store.store import Store
from kheaders_adb.store.upkeep.problems import Problem, ProblemKind, pull_again


class ReadArchive(Protocol):
    """Turns the bytes of an archive into its members: the archive package's reader."""

    def __call__(
        self,
        chunks: Iterable[bytes],
        /,
        *,
        on_omitted: Callable[[OmittedLink], None] | None = None,
    ) -> Iterator[tuple[Member, bytes]]:
        """Yield the members; tell `on_omitted` of the links that are left out."""


_FILES = (EntryKind.FILE, EntryKind.REGENERATED)


class Repair:
    """Repairs one tree from its archive.

    A damaged file is not written over but replaced, so that it is no longer shared with other trees.
    """

    def __init__(self, store: Store, tree: str, read_archive: ReadArchive) -> None:
        self._store = store
        self._tree = tree
        self._top = store.root / paths.TREES / tree
        self._read_archive = read_archive

    def repair(self, problems: list[Problem]) -> list[Problem]:
        """The same problems, with those that could be put right marked so."""
        by_kind: dict[ProblemKind, list[Problem]] = {}
        for problem in problems:
            by_kind.setdefault(problem.kind, []).append(problem)
        if paths.TREE.fullmatch(self._tree) is None:
            return problems  # a stranger's
        if ProblemKind.TREE in by_kind:
            back = self._unpack_again()
            return [
                replace(problem, repaired=True, remedy=None)
                if back
                else replace(problem, remedy=pull_again(self._tree))
                for problem in problems
            ]
        if ProblemKind.MANIFEST in by_kind:
            return self._set_aside(problems)
        if ProblemKind.ARCHIVE in by_kind:
            self._remove_damaged_archive()
        text = self._store.read_if_there(self._store.manifest_path(self._tree))
        if text is None:
            return problems
        entries = {entry.path: entry for entry in manifest.decode(text).entries}
        repaired = {
            problem.path
            for problem in by_kind.get(ProblemKind.EXTRA, ())
            if self._remove(problem.path)
        }
        damaged = [
            entries[problem.path]
            for problem in problems
            if problem.kind not in (ProblemKind.EXTRA, ProblemKind.ARCHIVE)
        ]
        files = {entry.path: entry for entry in damaged if entry.kind in _FILES}
        for entry in damaged:
            if entry.path not in files and self._restore(entry):
                repaired.add(entry.path)
        if files:
            repaired |= self._restore_files(files, usable=ProblemKind.ARCHIVE not in by_kind)
        return [
            replace(problem, repaired=True, remedy=None)
            if problem.path in repaired
            else replace(problem, remedy=problem.remedy or self._remedy(entries, problem))
            for problem in problems
        ]

    def _remove_damaged_archive(self) -> None:
        """A damaged archive proves nothing; without it the next pull brings a sound one."""
        digest = self._tree.partition("-")[0]
        path = self._store.archive_path(digest)
        with self._store.guarded(exclusive=True):
            try:
                if digest_of_file(path) != digest:  # else a pull has brought a sound one meanwhile
                    path.unlink()
            except OSError:
                return  # it is not there, or that it cannot be read says nothing of what it holds

    def _remedy(self, entries: dict[str, Entry], problem: Problem) -> str:
        entry = entries.get(problem.path)
        if entry is not None and entry.kind is EntryKind.REGENERATED:
            return f"it is regenerated, not the archive's: remove the kernel, then {pull_again(self._tree)}"
        return f"the archive cannot repair it: remove the kernel, then {pull_again(self._tree)}"

    def _unpack_again(self) -> bool:
        """Put a tree that is not there back; its manifest has the facts, its archive all of its files."""
        digest = self._tree.partition("-")[0]
        archive = self._store.archive_path(digest)
        text = self._store.read_if_there(self._store.manifest_path(self._tree))
        if self._tree != digest or text is None or not has_digest(archive, digest):
            return False  # what was regenerated is in no archive
        try:
            info = manifest.decode_info(text)
            facts, rules = info.facts, info.rules
        except StoreError:
            return False
        try:
            with self._store.stage() as staging:

                def kept() -> Iterator[bytes]:
                    for chunk in chunks_of_file(archive):
                        staging.write_archive(chunk)
                        yield chunk

                for member, content in self._read_archive(kept(), on_omitted=staging.omit):
                    staging.add(member, content)
                staging.publish(facts, rules=rules)
        except ArchiveError:
            return False  # a reader that has become stricter refuses it now
        return True

    def _set_aside(self, problems: list[Problem]) -> list[Problem]:
        """Take out a tree that nothing can be proved of; it counts as absent already."""
        folder, lock_fd = scratch.make_folder(self._store.root)
        try:
            with self._store.guarded(exclusive=True):
                if is_locked(self._store.tree_lock_path(self._tree)):
                    remedy = "a running command uses the tree; let it finish, then run this again"
                    return [replace(problem, remedy=remedy) for problem in problems]
                if self._store.tree_info(self._tree) is None:  # else a pull has mended it meanwhile
                    if is_folder(self._top):
                        self._top.rename(folder / "tree")
                    self._store.manifest_path(self._tree).unlink(missing_ok=True)
        finally:
            scratch.discard(folder, lock_fd)
        remedy = f"the tree was taken out of the store; {pull_again(self._tree)}"
        return [replace(problem, remedy=remedy) for problem in problems]

    def _restore_files(self, wanted: dict[str, Entry], *, usable: bool) -> set[str]:
        repaired: set[str] = set()
        by_mode = [entry for entry in wanted.values() if self._has_content(entry)]
        for entry in by_mode:
            (self._top / entry.path).chmod(0o444)
            repaired.add(entry.path)
        if not usable or not set(wanted) - repaired:
            return repaired
        archive = self._store.archive_path(self._tree.partition("-")[0])
        try:
            for member, content in self._read_archive(chunks_of_file(archive)):
                entry_or_none = wanted.get(member.path)
                if (
                    entry_or_none is not None
                    and member.path not in repaired
                    and member.kind is MemberKind.FILE
                    and sha256(content).hexdigest() == entry_or_none.sha256
                ):
                    self._put(member.path, content)
                    repaired.add(member.path)
        except KheadersError:
            # Its bytes are those that were read once; a reader that has become stricter refuses them now.
            return repaired
        return repaired

    def _has_content(self, entry: Entry) -> bool:
        path = self._top / entry.path
        try:
            return (
                stat.S_ISREG(path.lstat().st_mode)
                and sha256(path.read_bytes()).hexdigest() == entry.sha256
            )
        except OSError:
            return False

    def _put(self, name: str, content: bytes) -> None:
        """Put a file in its place: written beside, brought to the disk, renamed."""
        path = self._top / name
        with (
            self._store.guarded(exclusive=False),
            scratch.draft(self._store.root, content) as draft,
        ):
            draft.chmod(0o444)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            draft.rename(path)
        durable.fsync_path(path.parent)

    def _restore(self, entry: Entry) -> bool:
        """Put a folder or a symlink in its place."""
        path = self._top / entry.path
        self._remove(entry.path)
        if entry.kind is EntryKind.SYMLINK:
            assert entry.target is not None
            path.symlink_to(entry.target)
        else:
            path.mkdir(exist_ok=True)
        return True

    def _remove(self, name: str) -> bool:
        path = self._top / name
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass  # it went with an extra folder, which comes first
        return True
