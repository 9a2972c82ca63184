"""Opening, finding, recording and naming kernels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.model import KernelIdentity
from kheaders_adb.store import Store
from kheaders_adb.store.upkeep.gc import remove
from tests.unit.store.helpers import (
    digest_of_folder,
    headers,
    identity,
    litter,
    packed,
    pull,
    record,
    stage,
)

UNAME_ONLY = KernelIdentity("6.1.0", "#1 SMP", "x86_64", boot_id="boot-1")


class TestOpening:
    def test_a_new_store_has_format_1(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "deep" / "store")
        assert (store.root / "format").read_text() == "1\n"
        assert {path.name for path in store.root.iterdir() if path.is_dir()} == {
            "archives", "trees", "manifests", "kernels", "devices", "pins", "tmp", "locks",
        }  # fmt: skip

    def test_opening_again_changes_nothing(self, store: Store) -> None:
        pull(store)
        before = digest_of_folder(store.root, without=())
        Store.open(store.root)
        assert digest_of_folder(store.root, without=()) == before

    def test_a_newer_format_is_refused_and_left_alone(self, store: Store) -> None:
        (store.root / "format").write_text("2\n")
        with pytest.raises(StoreError, match=r"format 2.*knows format 1") as caught:
            Store.open(store.root)
        assert caught.value.hint is not None
        assert "newer" in caught.value.hint
        assert (store.root / "format").read_text() == "2\n"

    @pytest.mark.parametrize("text", ["", "one", "-1", "0", "1 2", "1" * 40, "\0"])
    def test_a_format_that_is_no_number_is_refused(self, store: Store, text: str) -> None:
        (store.root / "format").write_text(text)
        with pytest.raises(StoreError, match="store format"):
            Store.open(store.root)

    def test_a_folder_that_is_something_else_is_not_touched(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("do not touch")
        with pytest.raises(StoreError, match="not a store"):
            Store.open(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_store_that_a_crash_left_without_folders_gets_them(self, store: Store) -> None:
        (store.root / "locks").rmdir()
        (store.root / "trees").rmdir()
        pull(Store.open(store.root))

    def test_a_missing_store_that_must_not_be_made_is_an_empty_one(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "none", create=False)
        assert store.records() == []
        assert store.find(identity(), "device-1") is None
        assert store.find_archive(7) == ()
        assert store.devices() == []
        assert store.pinned() == frozenset()
        with pytest.raises(UsageError, match="no kernel is staged"):
            store.resolve("latest")
        assert not (tmp_path / "none").exists()

    def test_a_file_in_the_place_of_the_store(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="file"):
            Store.open(tmp_path / "file")


class TestFinding:
    def test_a_recorded_kernel_is_found(self, store: Store) -> None:
        made = pull(store)
        found = store.find(identity(), "device-1")
        assert found is not None
        assert replace(found, last_used_at=None) == made
        assert (store.tree_path(found.tree) / "include/empty.h").read_bytes() == b""

    def test_another_kernel_is_not(self, store: Store) -> None:
        pull(store)
        assert store.find(identity(1), "device-1") is None

    def test_a_kernel_without_its_tree_is_not(self, store: Store, tmp_path: Path) -> None:
        made = pull(store)
        store.tree_path(made.tree).rename(tmp_path / "gone")
        assert store.find(identity(), "device-1") is None

    def test_a_kernel_whose_tree_a_power_cut_left_without_a_manifest_is_not(
        self, store: Store
    ) -> None:
        made = pull(store)
        store.manifest_path(made.tree).unlink()
        assert store.find(identity(), "device-1") is None

    def test_a_broken_record_is_not(self, store: Store) -> None:
        made = pull(store)
        store.kernel_path(made.key).write_text('{"key": ')
        assert store.find(identity(), "device-1") is None

    def test_the_record_of_another_kernel_under_this_name_is_not(self, store: Store) -> None:
        made, other = pull(store, 0), pull(store, 1)
        store.kernel_path(made.key).write_bytes(store.kernel_path(other.key).read_bytes())
        assert store.find(identity(), "device-1") is None

    @pytest.mark.parametrize(
        ("kernel", "serial", "found"),
        [
            (UNAME_ONLY, "device-1", True),
            (UNAME_ONLY, "device-2", False),
            (UNAME_ONLY, None, False),
            (replace(UNAME_ONLY, boot_id="boot-2"), "device-1", False),
            (replace(UNAME_ONLY, boot_id=None), "device-1", False),
        ],
    )
    def test_uname_alone_is_trusted_for_the_same_boot_of_the_same_device(
        self, store: Store, kernel: KernelIdentity, serial: str | None, found: bool
    ) -> None:
        archive, tree = stage(store, packed())
        store.record(record(UNAME_ONLY, archive, tree, serial="device-1"))
        assert (store.find(kernel, serial) is not None) is found

    def test_uname_alone_without_any_boot_id_is_never_trusted(self, store: Store) -> None:
        kernel = replace(UNAME_ONLY, boot_id=None)
        archive, tree = stage(store, packed())
        store.record(record(kernel, archive, tree))
        assert store.find(kernel, "device-1") is None

    def test_uname_alone_is_not_trusted_after_the_device_ran_another_kernel(
        self, store: Store
    ) -> None:
        archive, tree = stage(store, packed())
        store.record(record(UNAME_ONLY, archive, tree))
        store.record(record(replace(UNAME_ONLY, version="#2 SMP"), archive, tree))
        assert store.find(UNAME_ONLY, "device-1") is None

    def test_finding_notes_what_the_device_runs(self, store: Store) -> None:
        first, second = pull(store, 0), pull(store, 1)
        assert store.resolve("@device-1").key == second.key
        store.find(replace(identity(0), boot_id="boot-9"), "device-1")
        assert store.resolve("@device-1").key == first.key
        device = store.device("device-1")
        assert device is not None
        assert (device.boot_id, device.history) == ("boot-9", (first.key, second.key))

    def test_finding_counts_as_use(self, tmp_path: Path) -> None:
        now = [50.0]
        store = Store.open(tmp_path / "store", clock=lambda: now[0])
        made = pull(store)
        assert store.records()[0].last_used_at == 50.0
        now[0] = 60.0
        store.find(identity(), "device-1")
        assert store.records()[0].last_used_at == 60.0
        now[0] = 70.0
        store.use(made)
        assert store.records()[0].last_used_at == 70.0

    def test_archives_are_found_by_their_exact_size(self, store: Store, tmp_path: Path) -> None:
        made = pull(store)
        size_bytes = made.archive.size_bytes
        assert store.find_archive(size_bytes) == (made.archive.sha256,)
        assert store.find_archive(size_bytes + 1) == ()
        info = store.tree_info(made.archive.sha256)
        assert info is not None
        assert info.archive == made.archive
        assert info.facts.config == {"SMP": "y", "HZ": "250"}
        store.tree_path(made.tree).rename(tmp_path / "gone")
        assert store.find_archive(size_bytes) == ()
        assert store.tree_info(made.archive.sha256) is None

    def test_a_damaged_manifest_makes_the_archive_unknown(self, store: Store) -> None:
        made = pull(store)
        path = store.manifest_path(made.tree)
        path.write_bytes(path.read_bytes().replace(b'"release":"6.1.0"', b'"release":"6.1.1"'))
        assert store.tree_info(made.archive.sha256) is None

    def test_the_size_of_a_tree(self, store: Store) -> None:
        made = pull(store)
        contents = [content for content in headers().values() if isinstance(content, bytes)]
        size = store.tree_size(made.tree)
        assert size is not None
        assert (size.files, size.content_bytes) == (len(contents), sum(map(len, contents)))

    @pytest.mark.parametrize(
        "name", ["", "../../etc", "a" * 63, "A" * 64, "a" * 64 + "/x", "a" * 64 + "\n"]
    )
    def test_names_that_are_no_digests_never_become_paths(self, store: Store, name: str) -> None:
        for function in (
            store.archive_path,
            store.tree_path,
            store.manifest_path,
            store.kernel_path,
        ):
            with pytest.raises(StoreError):
                function(name)


class TestRecording:
    def test_a_kernel_whose_tree_is_gone_is_not_recorded(
        self, store: Store, tmp_path: Path
    ) -> None:
        archive, tree = stage(store, packed())
        store.tree_path(tree).rename(tmp_path / "gone")
        with pytest.raises(StoreError, match="is not there"):
            store.record(record(identity(), archive, tree))
        assert store.records() == []

    def test_broken_records_are_named_and_the_others_listed(self, store: Store) -> None:
        made = pull(store)
        broken = store.root / "kernels" / f"{'0' * 64}.json"
        broken.write_text("[]")
        scan = store.scan()
        assert [kernel.key for kernel in scan.records] == [made.key]
        assert [(each.path, "object" in each.seen) for each in scan.broken] == [(broken, True)]

    @pytest.mark.parametrize(
        "serial",
        [
            "emulator-5554",
            "192.168.1.5:5555",
            "../../../etc/passwd",
            "a/b",
            ".",
            "..",
            "ü~%",
            "x" * 4000,
            "\n",
            "",
        ],
    )
    def test_any_serial_can_be_recorded(self, store: Store, serial: str) -> None:
        made = pull(store, serial=serial)
        assert store.resolve(f"@{serial}").key == made.key
        files = list((store.root / "devices").iterdir())
        assert [json.loads(path.read_text())["serial"] for path in files] == [serial]

    def test_serials_do_not_share_a_file(self, store: Store) -> None:
        serials = ["a/b", "a%2Fb", "a_b", "A/b", "x" * 4000, "x" * 4001]
        for number, serial in enumerate(serials):
            pull(store, number, serial=serial)
        assert [store.resolve(f"@{serial}").key for serial in serials] == [
            identity(number).key for number in range(len(serials))
        ]

    def test_nothing_is_left_in_tmp(self, store: Store) -> None:
        pull(store)
        assert litter(store) == []


class TestResolving:
    @pytest.fixture
    def staged(self, store: Store) -> Store:
        for number, release in enumerate(("6.1.0", "6.1.0", "6.12.3-android16")):
            archive, tree = stage(store, packed())
            kernel = identity(number, release=release)
            store.record(
                record(kernel, archive, tree, serial=f"device-{number}", staged_at=1000.0 + number)
            )
        return store

    def test_by_whole_key_and_by_prefix(self, staged: Store) -> None:
        for kernel in staged.records():
            assert staged.resolve(kernel.key).key == kernel.key
            assert staged.resolve(kernel.key[:12]).key == kernel.key

    def test_by_release_if_only_one_has_it(self, staged: Store) -> None:
        assert staged.resolve("6.12.3-android16").identity.release == "6.12.3-android16"
        with pytest.raises(UsageError, match="means 2 kernels") as caught:
            staged.resolve("6.1.0")
        for kernel in staged.records():
            named = kernel.key[:12] in caught.value.seen
            assert named is (kernel.identity.release == "6.1.0")

    @pytest.mark.parametrize(
        "text", ["6.12", "6.12.3", "6.12.3-", "6.12.3-a", "6.12.3-android1", "6.12."]
    )
    def test_by_the_beginning_of_a_release(self, staged: Store, text: str) -> None:
        assert staged.resolve(text).identity.release == "6.12.3-android16"

    def test_a_beginning_that_several_have_is_ambiguous(self, staged: Store) -> None:
        with pytest.raises(UsageError, match="means 3 kernels"):
            staged.resolve("6")
        with pytest.raises(UsageError, match="means 2 kernels"):  # 6.12 is no 6.1
            staged.resolve("6.1")

    def test_a_whole_release_hides_no_other_that_begins_with_it(self, store: Store) -> None:
        """Whoever writes the beginning of a release must not be led to a device that calls itself so."""
        archive, tree = stage(store, packed())
        for number, release in enumerate(("6.1.7-rc1", "6.1.7", "6.1.75")):
            if number == 1:
                assert store.resolve("6.1.7").identity.release == "6.1.7-rc1"
            store.record(
                record(identity(number, release=release), archive, tree, serial=f"device-{number}")
            )
        short = identity(1, release="6.1.7").key
        with pytest.raises(UsageError, match="means 2 kernels") as caught:
            store.resolve("6.1.7")
        assert short[:12] in caught.value.seen
        assert short[:12] in (caught.value.hint or "")
        for name in (short[:12], short, "@device-1"):
            assert store.resolve(name).key == short
        assert store.resolve("6.1.7-").identity.release == "6.1.7-rc1"
        assert store.resolve("6.1.75").identity.release == "6.1.75"

    @pytest.mark.parametrize("digits", [4, 12, 64])
    def test_a_release_that_looks_like_a_key_is_none(self, store: Store, digits: int) -> None:
        """Where the kernel of that key was removed, a device must not put its own into the place."""
        archive, tree = stage(store, packed())
        gone = identity(0).key
        hostile = identity(1, release=gone[:digits])
        store.record(record(hostile, archive, tree))
        with pytest.raises(UsageError, match="no key begins with") as caught:
            store.resolve(gone[:digits])
        assert hostile.key in (caught.value.hint or "")
        with pytest.raises(UsageError, match="no staged kernel is called"):
            store.resolve(gone[: digits - 1] if digits > 4 else gone[:6])

    def test_by_device(self, staged: Store) -> None:
        assert staged.resolve("@device-2").identity.release == "6.12.3-android16"
        with pytest.raises(UsageError, match="@device-0, @device-1, @device-2"):
            staged.resolve("@nobody")

    def test_latest_is_the_one_staged_last(self, staged: Store) -> None:
        assert staged.resolve("latest").staged_at == 1002.0

    @pytest.mark.parametrize("text", ["", "0", "abc", "nonsense", "12.3", "../x", "f" * 64, "@"])
    def test_anything_else_is_an_error_that_lists_what_there_is(
        self, staged: Store, text: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            staged.resolve(text)
        assert "6.12.3-android16" in caught.value.seen or "@device-2" in caught.value.seen

    def test_an_ambiguous_prefix_lists_those_that_it_means(self, store: Store) -> None:
        archive, tree = stage(store, packed())
        by_prefix: dict[str, list[str]] = {}
        for number in range(3000):
            key = identity(number).key
            by_prefix.setdefault(key[:4], []).append(key)
        prefix, keys = next(item for item in by_prefix.items() if len(item[1]) == 2)
        for number in range(3000):
            if identity(number).key in keys:
                store.record(record(identity(number), archive, tree))
        with pytest.raises(UsageError, match="means 2 kernels") as caught:
            store.resolve(prefix)
        assert all(key[:12] in caught.value.seen for key in keys)

    @pytest.mark.parametrize("digits", [4, 12, 64])
    def test_a_release_that_is_the_beginning_of_a_key_takes_no_kernels_place(
        self, store: Store, digits: int
    ) -> None:
        """A device chooses its release."""
        archive, tree = stage(store, packed())
        honest = identity(0)
        hostile = identity(1, release=honest.key[:digits])
        for kernel in (honest, hostile):
            store.record(record(kernel, archive, tree))
        if digits < 64:
            with pytest.raises(UsageError, match="means 2 kernels, as a release") as caught:
                store.resolve(honest.key[:digits])
            assert f"{hostile.key[:12]}  {hostile.release}" in caught.value.seen
            assert f"{honest.key[:12]}  {honest.release}" in caught.value.seen
            assert honest.key in (caught.value.hint or "")
        assert store.resolve(honest.key).key == honest.key
        assert store.resolve(hostile.key).key == hostile.key
        assert store.resolve(honest.key[: digits - 1] if digits > 4 else "6.1.0").key == honest.key

    def test_a_release_may_look_like_the_beginning_of_its_own_key(self, store: Store) -> None:
        archive, tree = stage(store, packed())
        for number in range(200_000):
            kernel = identity(number, release=f"{number % 65536:04x}")
            if kernel.key.startswith(kernel.release):
                break
        store.record(record(kernel, archive, tree))
        assert store.resolve(kernel.release).key == kernel.key

    def test_fewer_than_four_digits_are_no_prefix(self, staged: Store) -> None:
        with pytest.raises(UsageError):
            staged.resolve(staged.records()[0].key[:3])


class TestPins:
    def test_a_kernel_that_is_gone_is_not_said_to_be_pinned(self, store: Store) -> None:
        made = pull(store)
        remove(store, made.key)
        with pytest.raises(StoreError, match="no kernel"):
            store.pin(made.key)
        assert store.pinned() == frozenset()

    def test_pin_and_unpin(self, store: Store) -> None:
        made = pull(store)
        store.pin(made.key)
        store.pin(made.key)
        assert store.pinned() == {made.key}
        assert store.unpin(made.key)
        assert not store.unpin(made.key)
        assert store.pinned() == frozenset()
