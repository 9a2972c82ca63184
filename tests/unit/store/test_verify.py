"""What verify finds and repairs, and what export hands out."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.store import Store
from kheaders_adb.store.upkeep.export import export_archive, export_tree
from kheaders_adb.store.upkeep.gc import collect
from kheaders_adb.store.upkeep.problems import Problem, ProblemKind
from kheaders_adb.store.upkeep.verify import verify
from tests.conftest import SCALE
from tests.unit.store.helpers import (
    AUTOCONF,
    digest_of_folder,
    files_of,
    headers,
    identity,
    litter,
    pack,
    packed,
    pull,
    record,
    stage,
)

HEADER = "include/part4/header4.h"


def by_path(problems: tuple[Problem, ...]) -> dict[str, ProblemKind]:
    return {problem.path: problem.kind for problem in problems}


def flip(path: Path, position: int) -> None:
    """Change one bit of one byte, as a failing disk does: without a new modification time."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_sound_store_has_no_problems(store: Store) -> None:
    for number in range(3):
        pull(store, number, variant=number)
    done = verify(store)
    assert done.is_sound
    assert len(done.trees) == 3
    assert done.files == 3 * 42


def test_links_that_were_left_out_are_counted_and_nothing_may_stand_in_their_place(
    store: Store,
) -> None:
    links: dict[str, bytes | str] = {
        "include/uapi/ion.h": "../../drivers/ion.h",
        "include/rtmm.h": "/home/builder/rtmm.h",
    }
    made = pull(store, 0, data=pack(headers() | links))
    pull(store, 1, variant=1)
    assert made.archive.omitted_count == 2
    assert {(link.path, link.target) for link in made.archive.omitted} == set(links.items())
    assert store.resolve(made.key).archive == made.archive
    done = verify(store)
    assert done.is_sound
    assert (done.files, done.omitted) == (2 * 42, 2)
    assert verify(store, [made]).omitted == 2
    (store.tree_path(made.tree) / "include/rtmm.h").symlink_to("/home/builder/rtmm.h")
    assert by_path(verify(store).problems) == {"include/rtmm.h": ProblemKind.EXTRA}
    assert verify(store, repair_with=read_archive).is_sound
    assert not (store.tree_path(made.tree) / "include/rtmm.h").is_symlink()


def test_one_flipped_byte_in_each_of_200_files_is_found_and_mended(store: Store) -> None:
    made = pull(store, data=packed(0, 260))
    tree = store.tree_path(made.tree)
    before = digest_of_folder(store.root)
    paths = sorted(path for path in tree.rglob("*.h") if path.is_file() and path.stat().st_size)
    for seed in range(SCALE):
        chance = random.Random(seed)
        damaged = chance.sample([path for path in paths if not path.is_symlink()], 200)
        for path in damaged:
            flip(path, chance.randrange(path.stat().st_size))
        found = verify(store)
        assert by_path(found.problems) == {
            str(path.relative_to(tree)): ProblemKind.CONTENT for path in damaged
        }
        assert not found.is_sound
        repaired = verify(store, repair_with=read_archive)
        assert len(repaired.problems) == 200
        assert repaired.is_sound
        assert verify(store).problems == ()
        assert digest_of_folder(store.root) == before


def extra_folder(tree: Path) -> None:
    (tree / "build/deep").mkdir(parents=True)


def folder_for_file(tree: Path) -> None:
    (tree / HEADER).unlink()
    (tree / HEADER / "sub").mkdir(parents=True)


def fifo_for_file(tree: Path) -> None:
    (tree / HEADER).unlink()
    os.mkfifo(tree / HEADER)


def symlink_for_file(tree: Path) -> None:
    (tree / HEADER).unlink()
    (tree / HEADER).symlink_to("/etc/hostname")


def another_target(tree: Path) -> None:
    (tree / LINK).unlink()
    (tree / LINK).symlink_to("/etc/passwd")


def file_for_symlink(tree: Path) -> None:
    (tree / LINK).unlink()
    (tree / LINK).touch()


def file_for_folder(tree: Path) -> None:
    shutil.rmtree(tree / FOLDER)
    (tree / FOLDER).touch()


LINK = "include/linked.h"
FOLDER = "include/generated"
DAMAGES: dict[str, tuple[Callable[[Path], object], dict[str, ProblemKind]]] = {
    "missing file": (lambda tree: (tree / HEADER).unlink(), {HEADER: ProblemKind.MISSING}),
    "extra file": (lambda tree: (tree / "new.h").touch(), {"new.h": ProblemKind.EXTRA}),
    "extra folder": (extra_folder, {"build": ProblemKind.EXTRA, "build/deep": ProblemKind.EXTRA}),
    "writable": (lambda tree: (tree / HEADER).chmod(0o644), {HEADER: ProblemKind.MODE}),
    "setuid": (lambda tree: (tree / HEADER).chmod(0o4444), {HEADER: ProblemKind.MODE}),
    "cut short": (lambda tree: os.truncate(tree / HEADER, 3), {HEADER: ProblemKind.CONTENT}),
    "folder for file": (
        folder_for_file,
        {HEADER: ProblemKind.TYPE, f"{HEADER}/sub": ProblemKind.EXTRA},
    ),
    "fifo for file": (fifo_for_file, {HEADER: ProblemKind.TYPE}),
    "symlink for file": (symlink_for_file, {HEADER: ProblemKind.TYPE}),
    "another target": (another_target, {LINK: ProblemKind.TARGET}),
    "file for symlink": (file_for_symlink, {LINK: ProblemKind.TYPE}),
    "file for folder": (
        file_for_folder,
        {FOLDER: ProblemKind.TYPE, AUTOCONF: ProblemKind.MISSING},
    ),
    "missing folder": (
        lambda tree: shutil.rmtree(tree / FOLDER),
        {FOLDER: ProblemKind.MISSING, AUTOCONF: ProblemKind.MISSING},
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_named_and_mended(store: Store, damage: str) -> None:
    made = pull(store)
    before = digest_of_folder(store.root)
    do, expected = DAMAGES[damage]
    do(store.tree_path(made.tree))
    assert by_path(verify(store).problems) == expected
    repaired = verify(store, repair_with=read_archive)
    assert by_path(repaired.problems) == expected
    assert repaired.is_sound
    assert digest_of_folder(store.root) == before
    assert litter(store) == []


@pytest.mark.parametrize("writable", [True, False])
def test_repair_writes_nothing_through_a_link_out_of_the_tree(
    store: Store, tmp_path: Path, writable: bool
) -> None:
    made = pull(store)
    tree = store.tree_path(made.tree)
    before = digest_of_folder(store.root)
    outside = tmp_path / "outside"
    shutil.move(tree / "include/generated", outside)
    if writable:
        (outside / "autoconf.h").chmod(0o644)
    (tree / "include/generated").symlink_to(outside)
    expected = digest_of_folder(outside)
    assert by_path(verify(store).problems) == {
        "include/generated": ProblemKind.TYPE,
        AUTOCONF: ProblemKind.MISSING,
    }
    assert verify(store, repair_with=read_archive).is_sound
    assert digest_of_folder(outside) == expected
    assert digest_of_folder(store.root) == before


class TestSharedFiles:
    def test_damage_through_a_shared_file_is_named_for_every_tree(self, store: Store) -> None:
        made = [pull(store, number, variant=number) for number in range(3)]
        path = store.tree_path(made[0].tree) / HEADER
        assert path.stat().st_nlink == 3
        path.chmod(0o644)
        path.write_text("#define HACKED 1\n")
        only = verify(store, [made[0]])
        assert by_path(only.problems) == {HEADER: ProblemKind.CONTENT}
        assert set(only.problems[0].also_in) == {f"{each.tree}/{HEADER}" for each in made[1:]}
        everything = verify(store)
        assert {problem.tree for problem in everything.problems} == {each.tree for each in made}
        assert verify(store, repair_with=read_archive).is_sound
        for number, each in enumerate(made):
            assert files_of(store.tree_path(each.tree)) == headers(variant=number)

    def test_a_content_that_a_tree_has_twice_is_named_twice(self, store: Store) -> None:
        twice = pack({**headers(), "include/twin.h": headers()[HEADER]})
        first, second = pull(store, 0, data=twice), pull(store, 1, variant=1)
        for name in (HEADER, "include/twin.h"):
            flip(store.tree_path(first.tree) / name, 0)
        shared = store.tree_path(second.tree) / HEADER
        found = verify(store, [first])
        assert by_path(found.problems) == {
            HEADER: ProblemKind.CONTENT,
            "include/twin.h": ProblemKind.CONTENT,
        }
        named = {problem.path: problem.also_in for problem in found.problems}
        for name, also_in in named.items():
            is_shared = shared.samefile(store.tree_path(first.tree) / name)
            assert also_in == ((f"{second.tree}/{HEADER}",) if is_shared else ())
        assert any(named.values())

    def test_mending_one_tree_parts_it_from_the_damaged_file(self, store: Store) -> None:
        first, second = pull(store, 0, variant=0), pull(store, 1, variant=1)
        flip(store.tree_path(first.tree) / HEADER, 0)
        assert verify(store, [first], repair_with=read_archive).is_sound
        assert files_of(store.tree_path(first.tree)) == headers()
        assert by_path(verify(store).problems) == {HEADER: ProblemKind.CONTENT}
        assert verify(store).problems[0].tree == second.tree


class TestArchivesAndManifests:
    def test_a_damaged_archive_is_found_and_taken_out(self, store: Store) -> None:
        made = pull(store)
        flip(store.archive_path(made.archive.sha256), 1000)
        name = f"archives/{made.archive.sha256}.tar.xz"
        assert by_path(verify(store).problems) == {name: ProblemKind.ARCHIVE}
        done = verify(store, repair_with=read_archive)
        assert not done.is_sound
        assert "--refresh" in (done.problems[0].remedy or "")
        assert store.find_archive(made.archive.size_bytes) == ()
        pull(store)
        assert verify(store).is_sound

    def test_nothing_is_mended_from_a_damaged_archive(self, store: Store) -> None:
        made = pull(store)
        flip(store.archive_path(made.archive.sha256), 1000)
        flip(store.tree_path(made.tree) / HEADER, 0)
        done = verify(store, repair_with=read_archive)
        unmended = next(problem for problem in done.problems if problem.path == HEADER)
        assert not unmended.repaired
        assert unmended.remedy is not None

    @pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
    def test_a_tree_without_its_manifest_counts_as_absent(self, store: Store, damage: str) -> None:
        made = pull(store)
        path = store.manifest_path(made.tree)
        match damage:
            case "flip":
                flip(path, path.stat().st_size // 2)
            case "cut":
                os.truncate(path, path.stat().st_size // 2)
            case _:
                path.unlink()
        assert list(by_path(verify(store).problems).values()) == [ProblemKind.MANIFEST]
        done = verify(store, repair_with=read_archive)
        assert "pull` again" in (done.problems[0].remedy or "")
        assert store.find(identity(), "device-1") is None
        pull(store)
        assert verify(store).is_sound

    def test_a_regenerated_file_is_not_the_archives(self, store: Store) -> None:
        archive, tree = stage(store, packed(), replace={AUTOCONF: b"#define CONFIG_NEW 1\n"})
        store.record(record(identity(), archive, tree))
        assert verify(store).is_sound
        flip(store.tree_path(tree) / AUTOCONF, 0)
        flip(store.tree_path(tree) / HEADER, 0)
        done = verify(store, repair_with=read_archive)
        assert [(each.path, each.repaired) for each in done.problems] == [
            (AUTOCONF, False),
            (HEADER, True),
        ]
        assert "regenerated" in (done.problems[0].remedy or "")

    def test_a_tree_that_is_gone_is_unpacked_again(self, store: Store) -> None:
        made = pull(store)
        before = digest_of_folder(store.root)
        shutil.rmtree(store.tree_path(made.tree))
        assert by_path(verify(store).problems) == {f"trees/{made.tree}": ProblemKind.TREE}
        assert by_path(verify(store, [made]).problems) == {f"trees/{made.tree}": ProblemKind.TREE}
        assert collect(store).archives == (), "it is needed"
        assert verify(store, [made], repair_with=read_archive).is_sound
        assert verify(store).problems == ()
        assert digest_of_folder(store.root) == before

    @pytest.mark.parametrize("lacks", ["archive", "manifest", "sound archive"])
    def test_a_tree_that_is_gone_and_cannot_be_unpacked(self, store: Store, lacks: str) -> None:
        made = pull(store)
        shutil.rmtree(store.tree_path(made.tree))
        archive = store.archive_path(made.archive.sha256)
        match lacks:
            case "archive":
                archive.unlink()
            case "manifest":
                store.manifest_path(made.tree).unlink()
            case _:
                flip(archive, 1000)
        done = verify(store, repair_with=read_archive)
        assert [each.repaired for each in done.problems] == [False]
        assert "`kheaders-adb pull` again" in (done.problems[0].remedy or "")
        assert litter(store) == []
        pull(store)
        assert verify(store).is_sound

    def test_a_regenerated_tree_that_is_gone_is_in_no_archive(self, store: Store) -> None:
        archive, tree = stage(store, packed(), replace={AUTOCONF: b"#define CONFIG_NEW 1\n"})
        store.record(record(identity(), archive, tree))
        shutil.rmtree(store.tree_path(tree))
        done = verify(store, repair_with=read_archive)
        assert "pull --repair-config` again" in (done.problems[0].remedy or "")

    def test_a_tree_in_use_is_not_taken_out(self, store: Store) -> None:
        made = pull(store)
        store.manifest_path(made.tree).write_bytes(b"")
        with store.in_use(made):
            done = verify(store, repair_with=read_archive)
            assert "uses the tree" in (done.problems[0].remedy or "")
            assert store.tree_path(made.tree).is_dir()

    def test_staging_again_replaces_what_is_damaged(self, store: Store) -> None:
        made = pull(store)
        before = digest_of_folder(store.root)
        flip(store.archive_path(made.archive.sha256), 1000)
        flip(store.manifest_path(made.tree), 1000)
        assert store.find_archive(made.archive.size_bytes) == ()
        pull(store)
        assert verify(store).is_sound
        assert digest_of_folder(store.root) == before

    def test_a_broken_record_is_named_and_removed(self, store: Store) -> None:
        made = pull(store)
        store.kernel_path(made.key).write_text("{}")
        found = verify(store)
        assert by_path(found.problems) == {f"kernels/{made.key}.json": ProblemKind.RECORD}
        assert verify(store, repair_with=read_archive).is_sound
        assert verify(store).problems == ()

    def test_a_stranger_among_the_trees(self, store: Store) -> None:
        (store.root / "trees" / "notes").mkdir()
        assert by_path(verify(store).problems) == {"trees/notes": ProblemKind.TREE}
        verify(store, repair_with=read_archive)
        assert (store.root / "trees" / "notes").is_dir()


class TestExport:
    def test_the_archive_is_the_original(self, store: Store, tmp_path: Path) -> None:
        made = pull(store)
        assert export_archive(store, made, tmp_path / "out.tar.xz") == len(packed())
        assert (tmp_path / "out.tar.xz").read_bytes() == packed()

    def test_what_is_there_is_never_replaced(self, store: Store, tmp_path: Path) -> None:
        made = pull(store)
        (tmp_path / "out").write_text("precious")
        with pytest.raises(UsageError, match="there already"):
            export_archive(store, made, tmp_path / "out")
        assert (tmp_path / "out").read_text() == "precious"
        with pytest.raises(UsageError):
            export_archive(store, made, tmp_path)

    def test_a_damaged_archive_is_not_handed_out(self, store: Store, tmp_path: Path) -> None:
        made = pull(store)
        flip(store.archive_path(made.archive.sha256), 5)
        with pytest.raises(StoreError, match="is damaged"):
            export_archive(store, made, tmp_path / "out")
        assert {path.name for path in tmp_path.iterdir()} == {"store"}

    def test_the_tree_is_a_writable_copy(self, store: Store, tmp_path: Path) -> None:
        made = pull(store)
        before = digest_of_folder(store.root)
        assert export_tree(store, made, tmp_path / "out") == 42
        assert files_of(tmp_path / "out") == headers()
        (tmp_path / "out" / HEADER).write_text("mine now")
        assert digest_of_folder(store.root) == before
        with pytest.raises(UsageError, match="there already"):
            export_tree(store, made, tmp_path / "out")

    def test_a_damaged_tree_is_not_handed_out(self, store: Store, tmp_path: Path) -> None:
        made = pull(store)
        flip(store.tree_path(made.tree) / HEADER, 5)
        with pytest.raises(StoreError, match="is damaged"):
            export_tree(store, made, tmp_path / "out")
        assert {path.name for path in tmp_path.iterdir()} == {"store"}

    def test_a_tree_without_its_manifest_is_not_handed_out(
        self, store: Store, tmp_path: Path
    ) -> None:
        made = pull(store)
        store.manifest_path(made.tree).unlink()
        with pytest.raises(StoreError, match="it is not there"):
            export_tree(store, made, tmp_path / "out")

    def test_a_place_that_is_not_there(self, store: Store, tmp_path: Path) -> None:
        made = pull(store)
        with pytest.raises(UsageError, match="cannot be written: No such file"):
            export_archive(store, made, tmp_path / "none" / "out")
        with pytest.raises(UsageError, match="cannot be written: No such file"):
            export_tree(store, made, tmp_path / "none" / "out")
