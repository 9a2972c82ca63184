"""``diff``: what it prints, when it asks a device, and its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kheaders_adb.model import Level
from kheaders_adb.store import KernelRecord, Store
from tests.unit.cli.conftest import Done, Run
from tests.unit.ebpf.conftest import clang as clang_fixture
from tests.unit.golden import check_golden
from tests.unit.pipeline.kernels import add
from tests.wire.kernel import Kernel
from tests.wire.server import Server

clang = clang_fixture
SCHED = "include/linux/sched.h"


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store.open(store_path)


@pytest.fixture
def two(store: Store) -> tuple[KernelRecord, KernelRecord]:
    """Two kernels that differ in all that there is."""
    files = {"include/linux/old.h": "\n", "include/net/sock.h": "struct sock { int a; };\n"}
    other = {
        "include/linux/new.h": "struct new { int a; };\n",
        "include/net/sock.h": "struct sock { int a; int b:3; };\nstruct added { int a; };\n",
    }
    one = add(store, 1, files=files, symbols={"HZ": "100", "GONE": "1"})
    return one, add(store, 2, files=other, symbols={"HZ": "250", "SCHED_INFO": "1"})


def test_what_it_prints(
    run: Run,
    two: tuple[KernelRecord, KernelRecord],
    clang: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLANG", str(clang))
    done = run("diff", *keys(two), "--layout", "--stat")
    assert (done.code, done.err) == (0, "")
    check_golden("diff.txt", done.out)


def keys(records: tuple[KernelRecord, ...]) -> list[str]:
    return [record.key[:12] for record in records]


def test_the_object(
    run: Run,
    two: tuple[KernelRecord, KernelRecord],
    clang: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLANG", str(clang))
    command = ("diff", *keys(two), "--layout", "--stat", "--header", SCHED, "--json")
    found = run(*command).document
    assert [found[side]["kernel"]["key"] for side in ("from", "to")] == [one.key for one in two]
    config = found["config"]
    assert config["source"] == "autoconf.h"
    assert config["added"] == [
        {
            "symbol": "SCHED_INFO",
            "from": None,
            "to": "y",
            "header": SCHED,
            "structure": "task_struct",
        }
    ]
    assert [one["symbol"] for one in config["removed"]] == ["GONE"]
    assert [(one["from"], one["to"]) for one in config["changed"]] == [("100", "250")]
    headers = found["headers"]
    assert headers["added"] == ["include/linux/new.h"]
    assert headers["removed"] == ["include/linux/old.h"]
    assert headers["changed"] == ["include/generated/autoconf.h", "include/net/sock.h"]
    assert headers["stat"][-1] == {"path": "include/net/sock.h", "added": 2, "removed": 1}
    assert found["header"] == {"path": SCHED, "diff": ""}
    layouts = found["layouts"]
    assert layouts["added"] == [{"name": "added", "kind": "struct"}]
    sock, task = layouts["changed"]
    assert (sock["name"], sock["size_bytes"]) == ("sock", {"from": 4, "to": 8})
    assert sock["members"] == [
        {
            "name": "b",
            "from": None,
            "to": {"offset_bits": 32, "width_bits": 3, "type": "int"},
        }
    ]
    assert (task["name"], task["size_bytes"]) == ("task_struct", {"from": 24, "to": 32})
    assert task["members"][0]["name"] == "run_delay"
    assert (layouts["left_out"], found["notes"]) == ([], [])
    plain = run("diff", *keys(two), "--json").document
    assert (plain["layouts"], plain["header"], plain["headers"]["stat"]) == (None, None, None)


def test_exit_codes(run: Run, store: Store, two: tuple[KernelRecord, KernelRecord]) -> None:
    one, other = keys(two)
    assert run("diff", one, other).code == 0, "whether or not they differ"
    assert run("diff", one, other, "--exit-code").code == 5
    assert run("diff", one, other, "--exit-code", "--json").code == 5
    assert run("diff", one, other, "--exit-code", "--header", SCHED).code == 0
    assert run("diff", one, other, "--exit-code", "--header", "include/net/sock.h").code == 5
    same = run("diff", one, one, "--exit-code")
    assert same.code == 0
    assert "no difference" in same.out
    assert f"both are the same kernel, 6.1.0 ({one})" in same.err


def test_the_text_of_a_header_stands_alone(
    run: Run, two: tuple[KernelRecord, KernelRecord]
) -> None:
    done = run("diff", *keys(two), "--header", "include/net/sock.h")
    assert done.out == (
        "--- a/include/net/sock.h\n+++ b/include/net/sock.h\n@@ -1 +1,2 @@\n"
        "-struct sock { int a; };\n+struct sock { int a; int b:3; };\n+struct added { int a; };\n"
    )
    same = run("diff", *keys(two), "--header", SCHED)
    assert (same.out, same.err) == ("", f"{SCHED}: no difference\n")
    outside = run("diff", *keys(two), "--header", "../../../etc/passwd")
    assert (outside.code, outside.out) == (2, "")
    assert "neither kernel has a header ../../../etc/passwd" in outside.err


def test_hostile_words_do_nothing_to_a_terminal(run: Run, store: Store) -> None:
    """That of a header's text: test_terminal.py."""
    odd = {SCHED: "\t/* \x1b]0;title\x07 */\n"}
    two = add(store, 1), add(store, 2, files=odd, symbols={"EVIL": '"\x9b2J"'})
    table = run("diff", *keys(two))
    assert table.code == 0
    assert not {"\x1b", "\x9b"} & set(table.out), "nobody parses a table"
    program = run("diff", *keys(two), "--header", SCHED)
    assert "+\t/* \x1b]0;title\x07 */\n" in program.out, "a patch is to the letter"


def test_trees_that_are_not_simply_the_kernels(run: Run, store: Store) -> None:
    sound = add(store, 1)
    for level, said in (
        (Level.UNMATCHED, "imported without a kernel to compare them with"),
        (Level.REPAIRED, "these headers are repaired"),
        (Level.MISMATCH, "do NOT belong to this kernel"),
    ):
        odd = add(store, 2, level=level, files={"include/linux/odd.h": "\n"})
        done = run("diff", *keys((sound, odd)))
        assert done.code == 0
        assert said in done.err
        assert level.value in done.out


def test_a_device_is_asked_only_if_nothing_is_staged_for_it(
    run: Run, store: Store, server: Server
) -> None:
    server.add_device("PHONE", kernel=Kernel(headers=2))
    server.add_device("OTHER", kernel=Kernel(headers=2, release="6.6.30-android15-8", seed=2))
    known = add(store, 1)
    first = run("diff", known.key, "@PHONE", "--json")
    assert first.code == 0, first.err
    assert first.document["to"]["serial"] == "PHONE"
    asked = len(server.log)
    assert asked > 0
    again = run("diff", "@PHONE", known.key, "--json")
    assert again.document["from"]["serial"] == "PHONE"
    assert len(server.log) == asked, "it is staged"
    both = run("diff", "@PHONE", "@OTHER", "--json").document
    assert [both[side]["kernel"]["release"] for side in ("from", "to")][1] == "6.6.30-android15-8"
    assert len(server.log) > asked
    missing = run("diff", known.key, "@NOBODY")
    assert missing.code == 3


def test_devices_are_named_as_kernels(run: Run, two: tuple[KernelRecord, KernelRecord]) -> None:
    for flags in (["-s", "PHONE"], ["-d"], ["-e"], ["-t", "4"]):
        done = run("diff", *flags, *keys(two))
        assert done.code == 2
        assert "name devices by @SERIAL" in done.err


def test_a_tree_that_is_gone(
    run: Run, store: Store, two: tuple[KernelRecord, KernelRecord]
) -> None:
    tree = store.tree_path(two[1].tree)
    tree.rename(tree.with_name("0" * 64))
    done = run("diff", *keys(two))
    assert done.code == 8
    assert "is not there" in done.err


def test_the_trees_stay_while_clang_looks_at_them(
    run: Run,
    store: Store,
    two: tuple[KernelRecord, KernelRecord],
    clang: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clang that has both kernels removed first, as somebody else might do meanwhile."""
    slow, refused = tmp_path / "clang", tmp_path / "refused"
    remove = f"{sys.executable} -m kheaders_adb remove --store {store.root}"
    slow.write_text(
        "#!/bin/sh\n"
        + "".join(f"{remove} {key} 2>>{refused} && exit 1\n" for key in keys(two))
        + f'exec {clang} "$@"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("CLANG", str(slow))
    done = run("diff", *keys(two), "--layout")
    assert done.code == 0, done.err
    assert "structures: 2 of 3 differ" in done.out
    for key in keys(two):
        assert f"kernel {key} is being used by a running command" in refused.read_text()


def test_the_output_is_bounded(run: Run, store: Store) -> None:
    """Every section shows the first, and says how many there are; JSON has them all."""
    many = {f"include/linux/many{at}.h": "\n" for at in range(300)}
    symbols = {f"MANY{at}": "1" for at in range(300)}
    two = add(store, 1), add(store, 2, files=many, symbols=symbols)
    done = run("diff", *keys(two))
    assert len(done.out.splitlines()) < 60
    assert done.out.count("280 more (--json has them all)") == 1
    assert done.out.count("281 more (--json has them all)") == 1, "autoconf.h is one more"
    found = json.loads(run("diff", *keys(two), "--json").out)
    assert len(found["config"]["added"]) == len(found["headers"]["added"]) == 300


def test_clang_is_looked_for_before_anything_is_compared(
    run: Run, two: tuple[KernelRecord, KernelRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLANG", "no-such-clang")
    done: Done = run("diff", *keys(two), "--layout")
    assert (done.code, done.out) == (9, "")
    assert "no-such-clang is not an executable file" in done.err
