"""A hostile archive on its way into a store: refused by name, and nothing anywhere has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.archives.hostile import Hostile, hostile_archives
from fixtures.archives.stray import Stray, stray_archives
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import ArchiveError
from kheaders_adb.kernel.facts import FactCollector
from kheaders_adb.store.store import Store
from tests.conftest import LONG

# Staging 65,536 entries takes longer than all the others together; `make test-long` includes them.
_SLOW = ("bomb of empty files", "bomb of implied directories")
ARCHIVES = [one for one in hostile_archives() if LONG or one.name not in _SLOW]
SMALL = Path(__file__).parents[3] / "fixtures" / "archives" / "small.tar.xz"


def stage(store: Store, data: bytes) -> None:
    """What a pull does with an archive, without the device."""

    def kept() -> Iterator[bytes]:
        staging.write_archive(data)
        yield data

    collector = FactCollector()
    with store.stage() as staging:
        for member, content in read_archive(kept(), on_omitted=staging.omit):
            staging.add(member, content)
            collector.add(member.path, content)
        staging.publish(collector.facts())


def digest(root: Path) -> str:
    """Of everything below a directory: names, kinds, modes, targets and contents."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        total.update(f"{path.relative_to(root)} {status.st_mode:o}\n".encode())
        if path.is_symlink():
            total.update(os.fsencode(path.readlink()))
        elif path.is_file():
            total.update(path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store, str]:
    """A directory with a canary, a store with one good archive beside it, and the digest of both."""
    root = tmp_path_factory.mktemp("world")
    (root / "canary").write_text("untouched\n")
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text("root\n")
    store = Store.open(root / "store")
    stage(store, SMALL.read_bytes())
    return root, store, digest(root)


@pytest.mark.parametrize("hostile", ARCHIVES, ids=lambda hostile: hostile.name)
def test_nothing_changes(hostile: Hostile, world: tuple[Path, Store, str]) -> None:
    root, store, before = world
    with pytest.raises(ArchiveError) as caught:
        stage(store, hostile.build())
    assert getattr(caught.value, "rule", None) == hostile.rule
    assert digest(root) == before


@pytest.mark.parametrize("stray", stray_archives(), ids=lambda stray: stray.name)
def test_a_link_that_leads_nowhere_is_not_made(stray: Stray, tmp_path: Path) -> None:
    """And what it would have led to, were it made, is not touched."""
    (tmp_path / "canary").write_text("untouched\n")
    store = Store.open(tmp_path / "store")
    stage(store, stray.build())
    (tree,) = (tmp_path / "store/trees").iterdir()
    for path in tree.rglob("*"):
        assert path.resolve(strict=True).is_relative_to(tree)
        assert str(path.relative_to(tree)) not in stray.left_out
        if path.is_symlink():
            assert path.is_file()
    info = store.tree_info(tree.name)
    assert info is not None
    assert info.archive.omitted_count == len(stray.left_out)
    listed = {link.path: link.reason for link in info.archive.omitted}
    assert listed.items() <= stray.left_out.items()
    assert len(listed) == min(len(stray.left_out), 100)
    assert (tmp_path / "canary").read_text() == "untouched\n"
