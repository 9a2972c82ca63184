"""Two staged kernels compared: what is read for it, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.kernel.symbols import SymbolChange
from kheaders_adb.model import Level
from kheaders_adb.pipeline.comparison import (
    ConfigSource,
    HeaderChanges,
    compare_staged,
    compare_texts,
    count_changes,
)
from kheaders_adb.store import Store
from kheaders_adb.store.manifest import EntryKind
from kheaders_adb.untrusted.unified import LineCounts
from tests.unit.ebpf.trees import tree_files
from tests.unit.pipeline.kernels import add
from tests.unit.store.helpers import AUTOCONF, FACTS

SCHED = "include/linux/sched.h"


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store.open(store_path)


def test_files_are_compared_by_their_digests_and_links_by_where_they_lead(store: Store) -> None:
    one = add(
        store,
        1,
        files={"include/linux/old.h": "\n", "include/linux/odd.h": "a\n"},
        links={"include/here.h": "linux/bpf.h", "include/there.h": "linux/bpf.h"},
    )
    other = add(
        store,
        2,
        files={"include/linux/new.h": "\n", "include/linux/odd.h": "b\n"},
        links={"include/here.h": "linux/bpf.h", "include/there.h": "linux/types.h"},
    )
    # No file of either is looked at: they agree in their configuration.
    for staged in (one, other):
        store.tree_path(staged.tree).rename(store.root / f"away-{staged.tree}")
        store.tree_path(staged.tree).mkdir()
        (store.tree_path(staged.tree) / AUTOCONF).parent.mkdir(parents=True)
        (store.tree_path(staged.tree) / AUTOCONF).write_text(tree_files()[AUTOCONF])
    found = compare_staged(store, one, other)
    assert found.headers == HeaderChanges(
        ("include/linux/new.h",),
        ("include/linux/old.h",),
        ("include/linux/odd.h", "include/there.h"),
    )
    assert found.symbols == ()
    assert found.notes == ()


def test_the_kernels_own_configurations_count_where_both_are_kept(store: Store) -> None:
    one = add(store, 1, config=b"CONFIG_64BIT=y\nCONFIG_HZ=100\n")
    other = add(
        store,
        2,
        symbols={"HZ": "300"},
        config=b"CONFIG_64BIT=y\nCONFIG_HZ=250\nCONFIG_SCHED_INFO=y\n",
    )
    found = compare_staged(store, one, other)
    assert found.source is ConfigSource.KEPT
    assert [(change.symbol, change.before, change.after) for change in found.symbols] == [
        ("SCHED_INFO", None, "y"),
        ("HZ", "100", "250"),
    ], "what headers test comes first"
    mention = found.symbols[0].mention
    assert mention is not None
    assert (mention.header, mention.structure) == (SCHED, "task_struct")
    assert found.symbols[1].mention is None


def test_else_those_of_the_headers_do(store: Store) -> None:
    one = add(store, 1, config=b"CONFIG_64BIT=y\nCONFIG_HZ=100\n")
    other = add(store, 2, symbols={"HZ": "300"})
    found = compare_staged(store, one, other)
    assert found.source is ConfigSource.HEADERS
    assert found.symbols == (SymbolChange("HZ", None, "300"),)


def test_of_a_repaired_tree_what_is_compiled_against(store: Store) -> None:
    one = add(store, 1)
    repaired = tree_files()[AUTOCONF] + "#define CONFIG_HZ 250\n"
    other = add(store, 2, level=Level.REPAIRED, regenerated={AUTOCONF: repaired.encode()})
    found = compare_staged(store, one, other)
    assert found.symbols == (SymbolChange("HZ", None, "250"),)
    assert found.headers.changed == (AUTOCONF,)
    assert found.notes == (
        f"6.1.0 ({other.key[:12]}) is repaired: {AUTOCONF} is made from its kernel's configuration, all else "
        "is the archive's",
    )


def test_without_a_configuration_none_is_compared(store: Store) -> None:
    one = add(store, 1, files={AUTOCONF: None})
    found = compare_staged(store, one, add(store, 2))
    assert (found.source, found.symbols) == (None, ())
    assert found.notes == ("no configurations were compared: one of the two is not known",)


def test_what_must_be_known_of_the_two_is_said(store: Store) -> None:
    one = add(store, 1)
    assert compare_staged(store, one, one).notes == (
        f"both are the same kernel, 6.1.0 ({one.key[:12]})",
    )
    same = compare_staged(store, one, add(store, 2))
    assert same.notes == ("the headers of both are the same, byte for byte",)
    assert same.headers == HeaderChanges((), (), ())
    foreign = add(store, 3, facts=replace(FACTS, srcarch="arm64"), files={"include/a.h": "\n"})
    assert "different architectures, x86 and arm64" in compare_staged(store, one, foreign).notes[0]
    for level in (Level.UNMATCHED, Level.MISMATCH):
        odd = add(store, 4, level=level, files={"include/b.h": "\n"})
        (note,) = compare_staged(store, one, odd).notes
        assert f"({odd.key[:12]}) is" in note
        assert level in note


def test_the_text_of_one_header(store: Store) -> None:
    one = add(store, 1, links={"include/link.h": "linux/bpf.h"})
    other = add(
        store,
        2,
        files={SCHED: tree_files()[SCHED].replace("u32 pid", "u64 pid"), "include/new.h": "a\n"},
        links={"include/link.h": "linux/sched.h"},
    )
    found = compare_staged(store, one, other)
    lines = compare_texts(store, found, SCHED)
    assert lines[:2] == [f"--- a/{SCHED}", f"+++ b/{SCHED}"]
    assert [line for line in lines[2:] if line[0] in "-+"] == ["-\tu32 pid;", "+\tu64 pid;"]
    assert compare_texts(store, found, "include/linux/bpf.h") == []
    assert compare_texts(store, found, "include/new.h")[0] == "--- /dev/null"
    assert compare_texts(store, found, "include/link.h")[3:] == [
        "-link to linux/bpf.h",
        "+link to linux/sched.h",
    ]
    assert count_changes(store, found) == {
        SCHED: LineCounts(1, 1),
        "include/link.h": LineCounts(1, 1),
        "include/new.h": LineCounts(1, 0),
    }


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "include/../../x", "include/linux", "", "sched.h"]
)
def test_only_what_the_trees_hold_is_read(store: Store, path: str) -> None:
    found = compare_staged(store, one := add(store, 1), one)
    with pytest.raises(UsageError, match="neither kernel has a header") as refused:
        compare_texts(store, found, path)
    hint = refused.value.hint or ""
    assert (SCHED in hint) is True, "as an example, or since a header of that name is there"
    assert ("there is" in hint) is (path == "sched.h")


def test_what_is_damaged_is_no_difference(store: Store) -> None:
    one, other = add(store, 1), add(store, 2, files={SCHED: "\n"})
    found = compare_staged(store, one, other)
    file = store.tree_path(other.tree) / SCHED
    file.parent.chmod(0o755)
    file.unlink()
    for _ in range(2):
        with pytest.raises(StoreError, match="is not as it was staged"):
            compare_texts(store, found, SCHED)
        file.write_text("struct task_struct { int forged; };\n")
    lost = replace(found.after.entries[SCHED], kind=EntryKind.COLLIDED)
    collided = replace(found, after=replace(found.after, entries={SCHED: lost}))
    with pytest.raises(StoreError, match="this file system holds another under that name"):
        compare_texts(store, collided, SCHED)
