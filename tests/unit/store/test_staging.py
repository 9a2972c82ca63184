"""Writing and publishing trees: what is staged is what the archive holds, and nothing is ever half there."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from kheaders_adb.errors import StoreError
from kheaders_adb.model import Member, MemberKind
from kheaders_adb.store import Store, manifest
from kheaders_adb.store.staging import Staging
from kheaders_adb.store.upkeep import gc
from tests.unit.store.helpers import (
    AUTOCONF,
    FACTS,
    digest_of_folder,
    file_member,
    files_of,
    headers,
    litter,
    pack,
    packed,
    pull,
    stage,
)


def test_an_archive_is_not_mended_with_another_ones_bytes(store: Store) -> None:
    """Such as come from a file that is changed while it is imported."""
    made = pull(store)
    store.archive_path(made.archive.sha256).unlink()
    with pytest.raises(StoreError, match="these are not the bytes of"):
        store.mend_archive(made.archive.sha256, (packed(1),))
    assert not store.archive_path(made.archive.sha256).exists()
    assert litter(store) == []


def test_the_tree_holds_what_the_archive_holds(store: Store) -> None:
    archive, tree = stage(store, packed(1))
    assert files_of(store.tree_path(tree)) == headers(variant=1)
    assert archive.sha256 == hashlib.sha256(packed(1)).hexdigest() == tree
    assert archive.size_bytes == len(packed(1))
    assert store.archive_path(tree).read_bytes() == packed(1)
    folders = {path for path in store.tree_path(tree).rglob("*") if path.is_dir()}
    assert archive.members == len(headers()) + len(folders)


def test_the_tree_is_what_gnu_tar_extracts(store: Store, tmp_path: Path) -> None:
    _, tree = stage(store, packed())
    (tmp_path / "tar").mkdir()
    subprocess.run(["tar", "-xJf", store.archive_path(tree), "-C", tmp_path / "tar"], check=True)
    compared = subprocess.run(
        ["diff", "-r", "--no-dereference", tmp_path / "tar", store.tree_path(tree)],
        capture_output=True,
        check=False,
    )
    assert (compared.returncode, compared.stdout) == (0, b"")


def test_little_waits_for_the_disk_also_of_small_files(store: Store) -> None:
    """What waits is written when the time may be over already."""
    count = 20_000
    with store.stage() as staging:
        for number in range(count):
            staging.add(file_member(f"{number}.h", b""), b"")
        made = sum(1 for _ in (store.root / "tmp").glob("*/tree/*.h"))
    assert made > count - 5000


def test_files_are_read_only_and_folders_are_not(store: Store) -> None:
    _, tree = stage(store, packed())
    for path in store.tree_path(tree).rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir():
            assert mode & 0o700 == 0o700
        elif not path.is_symlink():
            assert mode & 0o333 == 0
            assert mode & 0o400
    assert stat.S_IMODE(store.archive_path(tree).stat().st_mode) & 0o222 == 0


def test_nothing_is_visible_before_it_is_published(store: Store) -> None:
    before = digest_of_folder(store.root)
    with store.stage() as staging:
        staging.write_archive(b"archive")
        staging.add(file_member("include/a.h", b"a"), b"a")
        assert digest_of_folder(store.root) == before
        assert len(litter(store)) == 1
    assert digest_of_folder(store.root) == before
    assert litter(store) == []


def test_whatever_raises_in_the_block_leaves_nothing(store: Store) -> None:
    before = digest_of_folder(store.root)
    for error in (ValueError, KeyboardInterrupt, SystemExit):

        def interrupted(error: type[BaseException] = error) -> None:
            with store.stage() as staging:
                for number in range(500):
                    staging.add(file_member(f"include/{number}.h", b"x" * 5000), b"x" * 5000)
                raise error

        with pytest.raises(error):
            interrupted()
        assert digest_of_folder(store.root) == before
        assert litter(store) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "kheaders-store"]


def test_of_two_that_publish_the_same_the_first_stays(store: Store) -> None:
    _, tree = stage(store, packed())
    inode = store.tree_path(tree).stat().st_ino
    before = digest_of_folder(store.root)
    assert stage(store, packed())[1] == tree
    assert store.tree_path(tree).stat().st_ino == inode
    assert digest_of_folder(store.root) == before
    assert litter(store) == []


def test_half_a_tree_that_a_power_cut_left_is_replaced(store: Store) -> None:
    _, tree = stage(store, packed())
    before = digest_of_folder(store.root)
    store.manifest_path(tree).unlink()
    next(store.tree_path(tree).rglob("header1.h")).unlink()
    assert store.find_archive(len(packed())) == ()
    stage(store, packed())
    assert digest_of_folder(store.root) == before


def test_an_archive_of_the_wrong_size_is_replaced(store: Store) -> None:
    _, tree = stage(store, packed())
    path = store.archive_path(tree)
    path.unlink()
    path.write_bytes(b"short")
    stage(store, packed())
    assert path.read_bytes() == packed()


def test_a_regenerated_file_makes_another_tree(store: Store) -> None:
    plain = pull(store)
    archive, tree = stage(store, packed(), replace={AUTOCONF: b"#define CONFIG_NEW 1\n"})
    assert archive == plain.archive
    assert tree != plain.tree
    assert tree.startswith(f"{archive.sha256}-repaired-")
    assert (store.tree_path(tree) / AUTOCONF).read_bytes() == b"#define CONFIG_NEW 1\n"
    assert (store.tree_path(plain.tree) / AUTOCONF).read_bytes() == headers()[AUTOCONF]
    info = store.tree_info(tree)
    assert info is not None
    assert info.regenerated == (AUTOCONF,)
    other = stage(store, packed(), replace={AUTOCONF: b"#define CONFIG_OLD 1\n"})[1]
    assert other not in (tree, plain.tree)


def test_only_a_file_of_the_archive_can_be_replaced(store: Store) -> None:
    with pytest.raises(StoreError, match=r"no file 'include/none\.h'"):
        stage(store, packed(), replace={"include/none.h": b""})
    assert litter(store) == []


UNSAFE = [
    *("", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/."),
    *("a\nb", "a\tb", "a\0b", "\x7f", "\ud800", "a/" * 300 + "a"),
]


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize("kind", MemberKind)
def test_unsafe_paths_are_refused_here_as_well(store: Store, path: str, kind: MemberKind) -> None:
    def attempt() -> None:
        with store.stage() as staging:
            staging.add(Member(path, kind, target="x"), b"")
            staging.publish(FACTS)

    with pytest.raises(StoreError):
        attempt()
    assert {path.name for path in store.root.parent.iterdir()} == {"store"}
    assert list((store.root / "trees").iterdir()) == []
    assert litter(store) == []


@pytest.mark.parametrize(
    "members",
    [
        [("link", "/outside"), ("link/file", None)],
        [("link", ".."), ("link/file", None)],
        [("file", None), ("file/below", None)],
        [("file", None), ("file", None)],
        [("link", "/etc/passwd")],
        [("link", "../canary")],
        [("folder/link", "../../canary")],
        [("link", "folder/../../canary")],
        [("link", "")],
    ],
)
def test_nothing_is_written_through_a_link_or_a_file(
    store: Store, members: list[tuple[str, str | None]]
) -> None:
    def attempt() -> None:
        with store.stage() as staging:
            for path, target in members:
                kind = MemberKind.FILE if target is None else MemberKind.SYMLINK
                staging.add(Member(path, kind, target=target), b"")
            staging.publish(FACTS)

    with pytest.raises(StoreError):
        attempt()
    assert list((store.root / "trees").iterdir()) == []


def test_many_links_left_out_are_counted_and_the_first_are_listed(store: Store) -> None:
    links: dict[str, bytes | str] = {f"include/{number:04}.h": "absent.h" for number in range(300)}
    archive, tree = stage(store, pack(headers() | links))
    assert archive.omitted_count == 300
    assert [link.path for link in archive.omitted] == sorted(links)[:100]
    assert archive.members == len(headers()) + 300 + 9, "folders are members too"
    info = store.tree_info(tree)
    assert info is not None
    assert info.archive == archive
    assert not set(links) & set(files_of(store.tree_path(tree)))


def test_an_error_of_the_thread_reaches_the_caller_soon(store: Store) -> None:
    with store.stage() as staging:
        staging.add(file_member("a", b"1"), b"1")
        staging.add(file_member("a", b"2"), b"2")

        def add_many() -> None:
            for number in range(100_000):
                staging.add(file_member(f"{number}.h", b""), b"")
                time.sleep(0)

        with pytest.raises(StoreError, match="'a' comes twice"):
            add_many()


def test_parents_that_are_no_members_are_made(store: Store) -> None:
    with store.stage() as staging:
        staging.write_archive(b"x")
        for number in range(300):
            staging.add(file_member(f"a/b{number}/c/d.h", b"d"), b"d")
            staging.add(file_member(f"a/e{number}.h", b"e"), b"e")
        staging.publish(FACTS)
    assert staging.tree is not None
    assert len(files_of(store.tree_path(staging.tree))) == 600


def test_litter_of_dead_processes_is_swept_and_that_of_the_living_is_not(store: Store) -> None:
    dead = store.root / "tmp" / "4711-dead"
    (dead / "tree" / "include").mkdir(parents=True)
    (dead / "lock").touch()
    (store.root / "tmp" / "4711-file").write_text("{")
    (store.root / "tmp" / "4711-empty").mkdir()
    with store.stage():
        living = litter(store)
        assert len(living) == 1
        with store.stage():
            assert len(litter(store)) == 2
            assert living[0] in litter(store)
    assert litter(store) == []


def test_the_archive_lock_takes_turns_and_ends_with_an_error(store: Store) -> None:
    with store.archive_lock(7):
        with store.archive_lock(8):
            pass
        with (
            pytest.raises(StoreError, match=r"staging an archive of 7 bytes for 0\.05 s"),
            store.archive_lock(7, timeout_s=0.05),
        ):
            pass
    with store.archive_lock(7, timeout_s=0):
        pass


class TestCaseInsensitive:
    """On a file system where `xt_MARK.h` and `xt_mark.h` are one file, the first is kept and this is said."""

    def test_the_first_is_kept_and_the_manifest_says_so(self, store: Store) -> None:
        with Staging(store.root, case_sensitive=False) as staging:
            staging.write_archive(b"x")
            for path in ("net/xt_MARK.h", "net/xt_mark.h", "net/other.h"):
                staging.add(file_member(path, path.encode()), path.encode())
            staging.publish(FACTS)
        assert staging.tree is not None
        tree = store.tree_path(staging.tree)
        assert (tree / "net/xt_MARK.h").read_bytes() == b"net/xt_MARK.h"
        assert not (tree / "net/xt_mark.h").exists()
        read = manifest.decode(store.manifest_path(staging.tree).read_bytes())
        assert read.info.collisions == (("net/xt_MARK.h", "net/xt_mark.h"),)
        lost = next(entry for entry in read.entries if entry.path == "net/xt_mark.h")
        assert lost.kind is manifest.EntryKind.COLLIDED
        assert lost.sha256 == hashlib.sha256(b"net/xt_mark.h").hexdigest()

    def test_a_lost_file_cannot_be_replaced(self, store: Store) -> None:
        with Staging(store.root, case_sensitive=False) as staging:
            for path in ("a.h", "A.h"):
                staging.add(file_member(path, b""), b"")
            staging.replace("A.h", b"")
            with pytest.raises(StoreError, match="no file"):
                staging.publish(FACTS)

    def test_ours_is_case_sensitive(self, store: Store) -> None:
        assert store.case_sensitive

    def test_on_a_real_one(self, tmp_path: Path) -> None:
        image, place = str(tmp_path / "image"), tmp_path / "mounted"
        place.mkdir()
        with Path(image).open("wb") as file:
            file.truncate(32 << 20)
        for command in (
            ["mkntfs", "-F", "-q", "-Q", image],
            # Of what Debian has, the one such file system that needs nothing of the kernel but FUSE.
            ["lowntfs-3g", "-o", "ignore_case", image, str(place)],
        ):
            if shutil.which(command[0]) is None:
                pytest.skip(f"{command[0]} is not installed (Debian: ntfs-3g)")
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no case-insensitive file system to be had: {done.stderr.strip()}")
        try:
            store = Store.open(place / "store")
            assert not store.case_sensitive
            with store.stage() as staging:
                staging.write_archive(b"x")
                for path in ("Net/xt_MARK.h", "net/xt_mark.h", "NET/other.h"):
                    staging.add(file_member(path, path.encode()), path.encode())
                staging.publish(FACTS)
            assert staging.tree is not None
            tree = store.tree_path(staging.tree)
            assert (tree / "net/XT_mark.h").read_bytes() == b"Net/xt_MARK.h"
            assert len(files_of(tree)) == 2
        finally:
            subprocess.run(["umount", place], check=True)


class TestSharing:
    """Contents are stored once, and a tree cannot be damaged through another one unnoticed."""

    def test_trees_of_the_same_source_share_their_files(self, store: Store) -> None:
        trees = [store.tree_path(stage(store, packed(variant, 400))[1]) for variant in range(4)]
        first = {path.stat().st_ino for path in trees[0].rglob("*") if path.is_file()}
        for tree in trees[1:]:
            own = {path.stat().st_ino for path in tree.rglob("*") if path.is_file()} - first
            assert len(own) == 4  # three changed headers and autoconf.h
        assert files_of(trees[3]) == headers(400, variant=3)

    def test_each_further_tree_takes_at_most_a_tenth(self, store: Store) -> None:
        seen: set[int] = set()
        taken = []
        for variant in range(5):
            tree = store.tree_path(stage(store, packed(variant, 800))[1])
            found = {path.lstat().st_ino: path.lstat().st_blocks for path in tree.rglob("*")}
            taken.append(sum(found[inode] for inode in found.keys() - seen))
            seen |= found.keys()
        assert max(taken[1:]) <= 0.1 * taken[0]

    def test_what_was_edited_in_place_is_not_lent(self, store: Store) -> None:
        first = store.tree_path(stage(store, packed(0))[1]) / "include/part4/header4.h"
        original = first.read_bytes()
        time.sleep(0.02)  # the clock of file systems ticks every 4 or 10 ms
        first.chmod(0o644)
        first.write_bytes(bytes(len(original)))
        first.chmod(0o444)
        second = store.tree_path(stage(store, packed(1))[1]) / "include/part4/header4.h"
        assert second.read_bytes() == original

    def test_what_is_writable_is_not_lent(self, store: Store) -> None:
        first = store.tree_path(stage(store, packed(0))[1]) / "include/part4/header4.h"
        first.chmod(0o644)
        second = store.tree_path(stage(store, packed(1))[1]) / "include/part4/header4.h"
        assert second.stat().st_ino != first.stat().st_ino
        assert second.stat().st_mode & 0o222 == 0

    def test_replacing_a_file_leaves_other_trees_alone(self, store: Store, tmp_path: Path) -> None:
        first = store.tree_path(stage(store, packed(0))[1]) / "include/part4/header4.h"
        second = store.tree_path(stage(store, packed(1))[1]) / "include/part4/header4.h"
        assert first.samefile(second)
        (tmp_path / "new").write_text("what an editor does")
        (tmp_path / "new").replace(first)
        assert second.read_bytes() == headers()["include/part4/header4.h"]

    def test_a_tree_outlives_the_one_that_it_shares_with(self, store: Store) -> None:
        first, second = pull(store, 0, variant=0), pull(store, 1, variant=1)
        gc.remove(store, first.key)
        assert not store.tree_path(first.tree).exists()
        assert files_of(store.tree_path(second.tree)) == headers(variant=1)

    def test_a_damaged_manifest_lends_nothing(self, store: Store) -> None:
        tree = stage(store, packed(0))[1]
        path = store.manifest_path(tree)
        text = path.read_bytes()
        digest = hashlib.sha256(b"").hexdigest().encode()
        swapped = text.replace(b"include/part4/header4.h", b"include/part4/header5.h")
        assert digest in text
        path.write_bytes(swapped)
        other = stage(store, packed(1))[1]
        assert files_of(store.tree_path(other)) == headers(variant=1)
