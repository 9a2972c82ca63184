"""What is damaged in a store: named with a command that, when it is followed, puts things right."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.upkeep import gc
from tests.unit.cli.conftest import Done, Run
from tests.wire.kernel import Kernel
from tests.wire.server import Server

KERNEL = Kernel(headers=2)
_COMMAND = re.compile(r"`kheaders-adb ([^`]+)`")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def damage_manifest(store: Store, made: KernelRecord) -> None:
    flip(store.manifest_path(made.tree))


def lose_manifest(store: Store, made: KernelRecord) -> None:
    store.manifest_path(made.tree).unlink()


def damage_archive(store: Store, made: KernelRecord) -> None:
    flip(store.archive_path(made.archive.sha256))


def lose_archive(store: Store, made: KernelRecord) -> None:
    store.archive_path(made.archive.sha256).unlink()


def lose_tree(store: Store, made: KernelRecord) -> None:
    shutil.rmtree(store.tree_path(made.tree))


def empty_tree(store: Store, made: KernelRecord) -> None:
    lose_tree(store, made)
    store.tree_path(made.tree).mkdir()


def lose_tree_and_archive(store: Store, made: KernelRecord) -> None:
    lose_tree(store, made)
    lose_archive(store, made)


def break_record(store: Store, made: KernelRecord) -> None:
    store.kernel_path(made.key).write_text("{")


DAMAGES = (
    damage_manifest,
    lose_manifest,
    damage_archive,
    lose_archive,
    lose_tree,
    empty_tree,
    lose_tree_and_archive,
    break_record,
)
Damage = Callable[[Store, KernelRecord], None]


def advised(done: Done) -> list[str]:
    """The first command that a message names."""
    found = _COMMAND.search(done.err.partition("hint:")[2] or done.out + done.err)
    assert found is not None, done
    return shlex.split(found[1])


@pytest.fixture
def store(run: Run, server: Server, store_path: Path) -> Store:
    server.add_device("PHONE", kernel=KERNEL)
    assert run("pull").code == 0
    return Store.open(store_path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_verify_advises_puts_it_right(run: Run, store: Store, damage: Damage) -> None:
    damage(store, store.records()[0])
    done = run("verify", "--all")
    assert done.code == 8
    for _ in range(3):
        command = advised(done)
        done = run(*command)
        assert done.code in (0, 8), (command, done)
        if done.code == 0:
            break
    assert run("verify", "--all").code == 0
    assert run("pull").code == 0
    assert run("path").code == 0
    assert store.records()


@pytest.mark.parametrize(
    ("damage", "command"),
    [
        *((lose_tree, command) for command in ("path", "cflags", "env", "verify")),
        *((lose_tree_and_archive, command) for command in ("path", "cflags", "env", "verify")),
        *((empty_tree, command) for command in ("cflags", "env", "verify")),
    ],
)
def test_a_tree_that_is_gone_is_said_by_whoever_needs_it(
    run: Run, store: Store, damage: Damage, command: str
) -> None:
    damage(store, store.records()[0])
    done = run(command)
    assert done.code == 8
    assert done.out == "" or command == "verify"
    for _ in range(3):
        done = run(*advised(done))
        if done.code == 0:
            break
    assert run(command).code == 0


@pytest.mark.parametrize("by_key", [True, False], ids=["by key", "by device"])
def test_a_broken_record_is_named_with_what_replaces_it(
    run: Run, store: Store, by_key: bool
) -> None:
    made = store.records()[0]
    break_record(store, made)
    kernel = made.key if by_key else "@PHONE"
    done = run("path", kernel)
    assert done.code == 8
    assert str(store.kernel_path(made.key)) in done.err
    assert advised(done) == ["pull"]
    assert run("pull").code == 0
    assert run("path", kernel).code == 0


@pytest.mark.parametrize(
    ("damage", "options"),
    [
        *((damage, ["--refresh"]) for damage in DAMAGES if damage is not empty_tree),
        # The device's own digest of its archive suffices here, so that the archive is not transferred.
        *((damage, []) for damage in DAMAGES if damage not in (empty_tree, damage_archive)),
    ],
)
def test_the_next_pull_that_needs_it_puts_it_right(
    run: Run, server: Server, store: Store, damage: Damage, options: list[str]
) -> None:
    made = store.records()[0]
    damage(store, made)
    if not options:
        # Another build of the same archive: its tree is known by the archive alone.
        store.kernel_path(made.key).unlink()
    done = run("pull", *options)
    assert done.code == 0, done.err
    assert run("verify", "--all").code == 0
    assert Path(run("path").out.strip()).is_dir()


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d is not empty_tree])
def test_importing_again_puts_it_right(
    run: Run, store_path: Path, tmp_path: Path, damage: Damage
) -> None:
    file = tmp_path / "kheaders.tar.xz"
    file.write_bytes(KERNEL.archive)
    assert run("import", file).code == 0
    store = Store.open(store_path)
    damage(store, store.records()[0])
    done = run("import", file)
    assert done.code == 0, done.err
    assert run("verify", "--all").code == 0


class Remover(io.StringIO):
    """A stderr that is read by somebody who removes whatever kernel it tells of."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.removed = 0

    def write(self, text: str) -> int:
        for record in self.store.records():
            gc.remove(self.store, record.key)
            self.removed += 1
        return super().write(text)


def test_headers_that_are_removed_as_soon_as_they_are_staged(
    run: Run, server: Server, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staged again a few times, but not for ever; and once the other one has ended, all is well."""
    server.add_device("PHONE", kernel=KERNEL)
    with monkeypatch.context() as patched:
        reader = Remover(Store.open(store_path))
        patched.setattr(sys, "stderr", reader)
        done = run("push")
    said = reader.getvalue()
    assert (done.code, done.out) == (8, ""), said
    assert f"others remove the headers from {store_path} as soon as they are staged" in said
    assert "end the `gc` or `remove` that goes on there" in said
    assert reader.removed == 5
    assert run("push").code == 0
