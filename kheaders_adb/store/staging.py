"""Writing a new tree, and publishing it in one step.

The caller hands in members as they come off the wire; a thread writes them, so that writing overlaps the
transfer and the decompression.  Nothing is visible in the store before :meth:`Staging.publish`, and
whatever was not published is removed when the block ends.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import Self

from kheaders_adb.errors import StoreError
from kheaders_adb.model import Archive, ArchiveFacts, Member, MemberKind, OmittedLink
from kheaders_adb.store import durable, manifest, paths, scratch
from kheaders_adb.store.digest import has_digest
from kheaders_adb.store.faults import is_folder, wrapped
from kheaders_adb.store.locks import PATIENCE_S, TimeLeft, guarded
from kheaders_adb.store.manifest import TreeInfo
from kheaders_adb.store.records import MAX_OMITTED_LISTED, RULES
from kheaders_adb.store.writer import TreeWriter

#: Members are handed to the thread in batches: a hand-over costs more than a small file.
_CHUNK_BYTES = 256 * 1024
_BATCH_BYTES = 256 * 1024
_BATCH_MEMBERS = 64
#: How much may wait for the disk before the caller has to: else its time would be over unnoticed.
_MAX_WAITING_BYTES = 16 * 1024 * 1024
#: What a member counts for besides its content: making a file takes longer than writing a small one.
_MEMBER_BYTES = 4096

_Job = tuple[Member, bytes, bool]


class Staging:
    """A tree in the making.  Use it as a context manager; it belongs to one thread.

    Attributes:
        tree: the tree's name, once it is published.
    """

    def __init__(
        self, root: Path, *, case_sensitive: bool, time_left: TimeLeft = lambda: PATIENCE_S
    ) -> None:
        self._root = root
        self._time_left = time_left
        self._case_sensitive = case_sensitive
        self.tree: str | None = None

    def __enter__(self) -> Self:
        """Make room in the store's ``tmp`` and start the thread.

        Raises:
            StoreError: the disk failed.
        """
        scratch.sweep(self._root, self._time_left)
        self._hash = sha256()
        self._size_bytes = 0
        self._members = 0
        self._omitted: list[OmittedLink] = []
        self._omitted_count = 0
        self._batch: list[_Job] = []
        self._batch_bytes = 0
        self._waiting: deque[tuple[list[_Job], int]] = deque()
        self._waiting_bytes = 0
        self._finished = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="kheaders-store", daemon=True)
        self._undo = ExitStack()
        self._archive_fd = self._folder_fd = -1
        self._folder, self._lock_fd = scratch.make_folder(self._root, self._time_left)
        try:
            with wrapped("making room for a new tree", self._folder):
                self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self._archive_fd = os.open(
                    self._folder / "archive",
                    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                    0o444,
                )
                self._writer = TreeWriter(
                    self._root, self._folder / "tree", case_sensitive=self._case_sensitive
                )
                self._undo.callback(self._writer.close)
            self._thread.start()
        except BaseException:  # Ctrl-C too, which may come while the thread starts
            self._give_up()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread and remove what was not published."""
        self._give_up()

    def write_archive(self, chunk: bytes) -> None:
        """Keep the next bytes of the archive exactly as they were read.

        Raises:
            StoreError: the disk failed.
        """
        self._hash.update(chunk)
        self._size_bytes += len(chunk)
        with wrapped("storing the archive", self._folder / "archive"):
            durable.write_all(self._archive_fd, chunk)

    def archive_chunks(self) -> Iterator[bytes]:
        """The archive's bytes so far, once more.

        Raises:
            StoreError: the disk failed.
        """
        path = self._folder / "archive"
        with wrapped("reading the archive again", path), path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def add(self, member: Member, content: bytes) -> None:
        """Stage one checked member; parents that were not added are made.

        Args:
            member: what it is; its path is relative and normalised.
            content: a file's content, empty for the others.

        Raises:
            StoreError: the disk failed, here or at an earlier member, or the path is there already.
        """
        self._members += 1
        self._hand_over((member, content, False))

    def omit(self, link: OmittedLink) -> None:
        """Note a symlink of the archive that is not made; the manifest lists the first of them."""
        self._members += 1
        self._omitted_count += 1
        if len(self._omitted) < MAX_OMITTED_LISTED:
            self._omitted.append(link)

    def replace(self, path: str, content: bytes) -> None:
        """Put a regenerated file in the place of one that was added before.

        The tree is then another one, with a name of its own, and its manifest lists the file.

        Raises:
            StoreError: the disk failed, here or at an earlier member, or there is no such file.
        """
        self._hand_over((Member(path, MemberKind.FILE, len(content)), content, True))

    def publish(self, facts: ArchiveFacts, *, rules: int = RULES) -> Archive:
        """Complete the tree and put it, its manifest and its archive in their places.

        Where another process has published the same tree meanwhile, that one stays and this one is
        dropped.  Afterwards :attr:`tree` holds the tree's name.  The caller records the kernel next
        (``Store.record``); until then only gc's grace period keeps the tree.

        Args:
            facts: what the archive says of its kernel.
            rules: the version of the rules by which that was read.

        Returns:
            The archive's digest, size in bytes, number of members, and links that were left out.

        Raises:
            StoreError: the disk failed; nothing was published.

        Guarantees:
            Everything is on the disk before the rename that makes it visible.
        """
        self._flush()
        with self._changed:
            self._finished = True
            self._changed.notify_all()
        self._thread.join()
        self._raise_failure()
        written = self._writer
        archive = Archive(
            self._hash.hexdigest(),
            self._size_bytes,
            self._members,
            tuple(self._omitted),
            self._omitted_count,
        )
        tree = archive.sha256
        if written.regenerated:
            listing = "".join(
                f"{path}\0{written.digest_of(path)}\0" for path in written.regenerated
            )
            digest = sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
            tree = f"{tree}-repaired-{digest[:16]}"
        info = TreeInfo(
            archive,
            facts,
            tuple(written.collisions),
            tuple(written.regenerated),
            written.unshared,
            rules,
        )
        with wrapped("publishing the header tree", self._folder):
            written.close()
            (self._folder / "manifest").write_bytes(
                manifest.encode(info, written.lines(), written.size)
            )
            durable.sync_below(self._folder, self._folder_fd)
            with guarded(self._root, exclusive=True, time_left=self._time_left):
                self._move_into_place(archive, tree)
        self.tree = tree
        return archive

    def _move_into_place(self, archive: Archive, tree: str) -> None:
        """The renames, all or none.  The tree comes last: that it is there means that all of it is there."""
        archive_path = self._root / paths.ARCHIVES / f"{archive.sha256}.tar.xz"
        manifest_path = self._root / paths.MANIFESTS / f"{tree}.manifest"
        tree_path = self._root / paths.TREES / tree
        moves = []
        if not has_digest(archive_path, archive.sha256):
            moves.append((self._folder / "archive", archive_path))
        there = is_folder(tree_path)
        if there and _is_whole(manifest_path):
            os.utime(tree_path)  # in use from now on, as far as gc is concerned
        else:
            if there:
                # Half of a publication that a power cut undid, or a tree whose manifest is damaged: nobody
                # can tell what it holds.
                moves.append((tree_path, self._folder / "half"))
            moves.append((self._folder / "manifest", manifest_path))
            moves.append((self._folder / "tree", tree_path))
        done: list[tuple[Path, Path]] = []
        try:
            for source, target in moves:
                source.rename(target)
                done.append((source, target))
            for folder in {target.parent for _, target in done}:
                durable.fsync_path(folder)
        except BaseException:
            _undo(done)
            raise

    def _hand_over(self, job: _Job) -> None:
        self._raise_failure()
        self._batch.append(job)
        self._batch_bytes += len(job[1])
        if self._batch_bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_MEMBERS:
            self._flush()

    def _flush(self) -> None:
        if not self._batch:
            return
        with self._changed:
            while self._waiting_bytes > _MAX_WAITING_BYTES and self._failure is None:
                self._changed.wait()
            size_bytes = self._batch_bytes + _MEMBER_BYTES * len(self._batch)
            self._waiting.append((self._batch, size_bytes))
            self._waiting_bytes += size_bytes
            self._changed.notify_all()
        self._batch, self._batch_bytes = [], 0

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        """The thread: write what is waiting until told to stop, or until something fails."""
        while True:
            with self._changed:
                while not self._waiting and not self._finished:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch, size_bytes = self._waiting.popleft()
            try:
                for member, content, regenerated in batch:
                    if regenerated:
                        self._writer.replace(member.path, content)
                    else:
                        self._writer.add(member, content)
            except BaseException as error:  # raised again in the caller's thread
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._waiting_bytes -= size_bytes
                self._changed.notify_all()

    def _give_up(self) -> None:
        with self._changed:
            self._waiting.clear()
            self._finished = True
            self._changed.notify_all()
        with suppress(RuntimeError):  # it was not started
            self._thread.join()
        self._undo.close()
        self._clean_up()

    def _clean_up(self) -> None:
        for fd in (self._archive_fd, self._folder_fd):
            if fd >= 0:
                os.close(fd)
        scratch.discard(self._folder, self._lock_fd)


def _undo(moves: list[tuple[Path, Path]]) -> None:
    """Undo renames, the last one first; stop where that fails, so that a tree keeps what belongs to it."""
    for source, target in reversed(moves):
        try:
            target.rename(source)
        except OSError:
            if target.is_dir():
                return
            with suppress(OSError):
                target.unlink()  # works on a full disk too


def _is_whole(path: Path) -> bool:
    """Whether there is a manifest that is not damaged."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return False
    try:
        manifest.checked_body(text)
    except StoreError:
        return False
    return True


def mend_archive(
    root: Path, digest: str, chunks: Iterable[bytes], time_left: TimeLeft = lambda: PATIENCE_S
) -> None:
    """Put an archive into its place unless the one that is there is sound; its tree is there already.

    Args:
        root: the store.
        digest: the archive's sha256.
        chunks: its bytes; not touched where they are not needed.
        time_left: gives the seconds that the run has left.

    Raises:
        StoreError: the disk failed, or these are not its bytes.
    """
    path = root / paths.ARCHIVES / f"{paths.require_sha256(digest)}.tar.xz"
    with wrapped("storing the archive", path):
        if has_digest(path, digest):
            return
        content = b"".join(chunks)
        if sha256(content).hexdigest() != digest:
            raise StoreError(f"these are not the bytes of {path}", step="storing the archive")
        with (
            guarded(root, exclusive=False, time_left=time_left),
            scratch.draft(root, content) as draft,
        ):
            draft.chmod(0o444)
            draft.rename(path)
        durable.fsync_path(path.parent)
