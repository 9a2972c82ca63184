"""Checking what is in the store against recorded digests, and repairing it from the stored archives."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store import configs, manifest, paths
from kheaders_adb.store.digest import digest_of_file
from kheaders_adb.store.faults import is_folder, wrapped
from kheaders_adb.store.lookup import BrokenRecord
from kheaders_adb.store.manifest import Entry, EntryKind, Manifest
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.store.upkeep.problems import REFRESH, REPAIR, Problem, ProblemKind
from kheaders_adb.store.upkeep.remembered import forget
from kheaders_adb.store.upkeep.repair import ReadArchive, Repair

_STEP = "verifying the store"
_UNREADABLE = (
    "see to it that it can be read; if the disk has lost it, remove the file and run this again"
)
_LOOKS = 5
_FILES = (EntryKind.FILE, EntryKind.REGENERATED)


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at and what was wrong.

    Attributes:
        trees: the names of the trees that were looked at.
        files: how many files were in them.
        omitted: how many links of their archives were left out when they were staged.
        problems: all that was wrong, in the order of trees and paths.
    """

    trees: tuple[str, ...]
    files: int
    omitted: int
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether everything is now as it was recorded."""
        return all(problem.repaired for problem in self.problems)


def verify(
    store: Store,
    records: Iterable[KernelRecord] | None = None,
    *,
    repair_with: ReadArchive | None = None,
) -> Verified:
    """Compare trees, manifests and archives with what was recorded when they were published.

    Every file is read.  Trees that gc removes meanwhile are left out.

    Args:
        store: the store.
        records: the kernels whose trees are looked at; None for everything in the store, named by a
            record or not.
        repair_with: the archive reader; given, what is wrong is repaired from the stored archives, and what
            cannot be repaired is taken out of the store, so that the next pull stages it anew.

    Returns:
        What was wrong, and what was repaired.

    Raises:
        StoreError: the disk failed.
    """
    if not store.exists:
        return Verified((), 0, 0, ())
    problems: list[Problem] = []
    if records is None:
        names = {path.name for path in store.listing(paths.TREES)}
        scan = store.scan()
        names |= {record.tree for record in scan.records}
        kept = [path.name.removesuffix(".gz") for path in store.listing(paths.CONFIGS)]
        problems += [
            _broken_record(store, broken, repair=repair_with is not None) for broken in scan.broken
        ]
    else:
        records = tuple(records)
        names = {record.tree for record in records}
        kept = sorted({record.identity.config_sha256 or "" for record in records})
    checker = _Checker(store)
    files = 0
    trees = sorted(names)
    for tree in trees:
        with wrapped(_STEP, store.root / paths.TREES / tree):
            found, count = checker.check(tree)
            try:
                if found and repair_with is not None:
                    found = Repair(store, tree, repair_with).repair(found)
            finally:
                if found:
                    forget(store, tree)
        problems += found
        files += count
    for digest in kept:
        if paths.SHA256.fullmatch(digest) is not None:
            problems += _config(store, digest, repair=repair_with is not None)
    return Verified(tuple(trees), files, checker.omitted, tuple(problems))


def _broken_record(store: Store, broken: BrokenRecord, *, repair: bool) -> Problem:
    name = str(broken.path.relative_to(store.root))
    problem = Problem("", name, ProblemKind.RECORD, broken.seen)
    if broken.key is None:
        return replace(problem, remedy="move it out of the store")
    if not repair:
        return replace(
            problem, remedy=f"{REFRESH}; `kheaders-adb verify --all --repair` removes it"
        )
    with wrapped(_STEP, broken.path), store.guarded(exclusive=True):
        if store.find_kernel(broken.key) is None:  # else a pull has written it anew meanwhile
            broken.path.unlink(missing_ok=True)
    return replace(problem, repaired=True)


def _config(store: Store, digest: str, *, repair: bool) -> list[Problem]:
    """What is wrong with a configuration that is kept; it need not be there."""
    path = store.config_path(digest)
    # Read once: gc and remove may take it away meanwhile.
    data = store.read_if_there(path)
    if data is None or configs.unpack(data, digest) is not None:
        return []
    problem = Problem(
        "",
        str(path.relative_to(store.root)),
        ProblemKind.CONFIG,
        "the configuration's content has changed",
        remedy=f"{REPAIR}: that removes it; the next pull of that kernel keeps it again",
    )
    if not repair:
        return [problem]
    with wrapped(_STEP, path), store.guarded(exclusive=True):
        if store.read_config(digest) is None:  # else a pull has kept it anew meanwhile
            path.unlink(missing_ok=True)
    return [replace(problem, repaired=True)]


_Inode = tuple[int, int]


class _Checker:
    """Looks at trees; reads a content that several of them share once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._omitted: dict[str, int] = {}
        self._digests: dict[_Inode, tuple[tuple[int, int, int], str]] = {}
        self._archives: dict[str, Problem | None] = {}
        self._sharers: dict[_Inode, tuple[str, ...]] = {}
        self._damaged: dict[str, tuple[_Inode, bytes]] = {}

    @property
    def omitted(self) -> int:
        """How many links the archives of the trees so far had that were left out."""
        return sum(self._omitted.values())

    def check(self, tree: str) -> tuple[list[Problem], int]:
        """What is wrong with one tree, and the number of its files."""
        if paths.TREE.fullmatch(tree) is None:
            path = f"{paths.TREES}/{tree}"
            seen, remedy = "this is not the name of a tree", "move it out of the store"
            return [Problem(tree, path, ProblemKind.TREE, seen, remedy=remedy)], 0
        for _ in range(_LOOKS):
            before = _inode(self._store.tree_path(tree))
            found = self._look(tree)
            if not found[0]:
                break
            with self._store.guarded(exclusive=False):  # nothing is half removed or published now
                if _inode(self._store.tree_path(tree)) == before:
                    break
            self._archives.pop(tree.partition("-")[0], None)
        return found

    def _look(self, tree: str) -> tuple[list[Problem], int]:
        top = self._store.tree_path(tree)
        problems: list[Problem] = []
        if not is_folder(top):
            with self._store.guarded(exclusive=False):
                named = any(record.tree == tree for record in self._store.records())
                if named and not is_folder(top):
                    path, seen = f"{paths.TREES}/{tree}", "the tree is not there"
                    problems.append(Problem(tree, path, ProblemKind.TREE, seen, remedy=REPAIR))
            return problems, 0
        archive = self._archive(tree.partition("-")[0], tree)
        if archive is not None:
            problems.append(archive)
        text = self._store.read_if_there(self._store.manifest_path(tree))
        try:
            recorded = None if text is None else manifest.decode(text)
            seen = "the manifest is not there"
        except StoreError as error:
            recorded, seen = None, error.seen
        if recorded is None:
            path = f"{paths.MANIFESTS}/{tree}.manifest"
            problems.append(Problem(tree, path, ProblemKind.MANIFEST, seen, remedy=REFRESH))
            files = 0
        else:
            self._damaged.clear()
            self._omitted[tree] = recorded.info.archive.omitted_count
            found, files = self._compare(tree, top, recorded)
            problems += self._with_sharers(found)
        return (problems, files) if top.is_dir() else ([], 0)  # gc took it meanwhile

    def _archive(self, digest: str, tree: str) -> Problem | None:
        """What is wrong with an archive; looked at once for all its trees."""
        if digest not in self._archives:
            path = self._store.archive_path(digest)
            seen = None
            remedy = REFRESH
            try:
                if digest_of_file(path) != digest:
                    seen = "the archive's content has changed"
            except FileNotFoundError:
                seen = "the archive is not there"
            except OSError as error:
                seen = f"the archive cannot be read: {os.strerror(error.errno or 0)}"
                remedy = _UNREADABLE
            name = str(path.relative_to(self._store.root))
            self._archives[digest] = (
                None
                if seen is None
                else Problem(tree, name, ProblemKind.ARCHIVE, seen, remedy=remedy)
            )
            return self._archives[digest]
        return None

    def _compare(self, tree: str, top: Path, recorded: Manifest) -> tuple[list[Problem], int]:
        problems = []
        expected: set[str] = set()
        # Folders come before what is in them.  Nothing is looked at through a link in a folder's place.
        bad_folders: set[str] = set()
        files = 0
        for entry in recorded.entries:
            if entry.kind is EntryKind.COLLIDED:
                continue
            expected.add(entry.path)
            files += entry.kind in _FILES
            if entry.path.rpartition("/")[0] in bad_folders:
                problem: Problem | None = Problem(
                    tree, entry.path, ProblemKind.MISSING, "the folder that it is in is not sound"
                )
            else:
                problem = self._entry(tree, f"{top}/{entry.path}", entry)
            if problem is not None:
                problems.append(problem)
                if entry.kind is EntryKind.DIRECTORY:
                    bad_folders.add(entry.path)
        problems += [
            Problem(tree, path, ProblemKind.EXTRA, "nothing of the archive's")
            for path in _paths(top)
            if path not in expected
        ]
        return problems, files

    def _entry(self, tree: str, path: str, entry: Entry) -> Problem | None:
        def problem(kind: ProblemKind, seen: str) -> Problem:
            return Problem(tree, entry.path, kind, seen)

        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return problem(ProblemKind.MISSING, "it is not there")
        kind = stat.S_IFMT(found.st_mode)
        match entry.kind:
            case EntryKind.DIRECTORY:
                if kind != stat.S_IFDIR:
                    return problem(ProblemKind.TYPE, "it is not a folder")
            case EntryKind.SYMLINK:
                if kind != stat.S_IFLNK:
                    return problem(ProblemKind.TYPE, "it is not a symlink")
                target = os.readlink(path)  # noqa: PTH115  (a Path would drop a leading './')
                if target != entry.target:
                    return problem(
                        ProblemKind.TARGET, f"it points to {target!r}, not {entry.target!r}"
                    )
            case _:
                if kind != stat.S_IFREG:
                    return problem(ProblemKind.TYPE, "it is not a regular file")
                try:
                    digest = self._digest(path, found)
                except FileNotFoundError:
                    return problem(ProblemKind.MISSING, "it is not there")
                except OSError as error:
                    seen = f"it cannot be read: {os.strerror(error.errno or 0)}"
                    self._note_damage(entry, found)
                    return problem(ProblemKind.UNREADABLE, seen)
                if digest != entry.sha256:
                    self._note_damage(entry, found)
                    return problem(ProblemKind.CONTENT, "its content has changed")
                if found.st_mode & 0o7333:
                    return problem(
                        ProblemKind.MODE, f"its mode is {stat.S_IMODE(found.st_mode):04o}"
                    )
        return None

    def _digest(self, path: str, found: os.stat_result) -> str:
        inode = (found.st_dev, found.st_ino)  # which repairing may free for another file to take
        state = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = self._digests.get(inode)
        if known is not None and known[0] == state:
            return known[1]
        with open(path, "rb") as file:  # noqa: PTH123  (6,000 times a tree)
            digest = sha256(file.read()).hexdigest()
        if found.st_nlink > 1:
            self._digests[inode] = (state, digest)
        return digest

    def _note_damage(self, entry: Entry, found: os.stat_result) -> None:
        if found.st_nlink > 1 and entry.sha256 is not None:
            inode = (found.st_dev, found.st_ino)
            self._damaged[entry.path] = (inode, entry.sha256.encode("ascii"))

    def _with_sharers(self, problems: list[Problem]) -> list[Problem]:
        """The problems, with the other trees that have the same file and so the same damage."""
        found: dict[_Inode, list[str]] = {
            inode: [] for inode, _ in self._damaged.values() if inode not in self._sharers
        }
        if found:
            wanted = {digest for inode, digest in self._damaged.values() if inode in found}
            for path in self._store.listing(paths.MANIFESTS):
                tree = path.name.removesuffix(".manifest")
                for digest, name in self._files_of(path):
                    if digest in wanted:
                        place = f"{tree}/{os.fsdecode(name)}"
                        inode = _inode(self._store.root / paths.TREES / place)
                        if inode in found:
                            found[inode].append(place)
            self._sharers.update({inode: tuple(places) for inode, places in found.items()})
        return [
            replace(
                problem,
                also_in=tuple(
                    place
                    for place in self._sharers[self._damaged[problem.path][0]]
                    if place != f"{problem.tree}/{problem.path}"
                ),
            )
            if problem.path in self._damaged
            else problem
            for problem in problems
        ]

    def _files_of(self, path: Path) -> list[tuple[bytes, bytes]]:
        text = self._store.read_if_there(path)
        try:
            return [(digest, name) for digest, _, name in manifest.file_digests(text or b"")]
        except StoreError:
            return []  # that tree is reported for its manifest


def _inode(path: Path) -> _Inode | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _fail(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # it was removed meanwhile
        raise error


def _paths(top: Path) -> Iterator[str]:
    """Every path below ``top``, relative; symlinks are not followed."""
    prefix = len(os.fspath(top)) + 1
    for parent, folders, files in os.walk(top, onerror=_fail):
        for name in sorted(folders + files):
            yield f"{parent}/{name}"[prefix:]
