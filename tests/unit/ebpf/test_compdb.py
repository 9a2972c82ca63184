"""Entries in compile_commands.json beside those of others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.ebpf.compdb import entry, update
from kheaders_adb.ebpf.compile import CompileOptions
from kheaders_adb.ebpf.headers import HeaderTree
from kheaders_adb.errors import UsageError

FOREIGN = {"directory": "/build", "command": "cc -c ../main.c", "file": "../main.c"}


def test_an_entry_holds_the_parsers_flags_only(tree: HeaderTree) -> None:
    options = CompileOptions(
        clang=Path("/usr/bin/clang"), defines=("X=1",), include_dirs=(Path("inc"),)
    )
    made = entry(tree, Path("prog.bpf.c"), Path("/work dir"), options)
    assert made["directory"] == "/work dir"
    assert made["file"] == "/work dir/prog.bpf.c"
    arguments = made["arguments"]
    assert arguments[0] == "/usr/bin/clang"
    assert arguments[-2:] == ["-c", "/work dir/prog.bpf.c"]
    assert {"-DX=1", "-I/work dir/inc", "-D__KERNEL__", f"-I{tree.root}/include"} <= set(arguments)
    assert "-emit-llvm" not in arguments


def test_foreign_entries_stay_and_own_ones_are_replaced(tmp_path: Path, tree: HeaderTree) -> None:
    database = tmp_path / "compile_commands.json"
    options = CompileOptions(clang=Path("clang"))
    update(database, [entry(tree, Path("a.c"), tmp_path, options)])
    old = json.loads(database.read_text())
    database.write_text(json.dumps([FOREIGN, *old]))
    again = entry(tree, Path("a.c"), tmp_path, CompileOptions(clang=Path("clang"), defines=("N",)))
    update(database, [again, entry(tree, Path("b.c"), tmp_path, options)])
    found = json.loads(database.read_text())
    assert found[0] == FOREIGN
    assert [Path(item["file"]).name for item in found] == ["main.c", "a.c", "b.c"]
    assert found[1] == again


def test_the_same_file_by_another_name_is_the_same(tmp_path: Path, tree: HeaderTree) -> None:
    database = tmp_path / "compile_commands.json"
    foreign = {"directory": str(tmp_path / "build"), "file": "../a.c", "command": "cc ../a.c"}
    database.write_text(json.dumps([foreign]))
    made = entry(tree, Path("a.c"), tmp_path, CompileOptions(clang=Path("clang")))
    update(database, [made])
    assert json.loads(database.read_text()) == [made]


def test_a_file_beyond_all_measure_is_left_as_it_is(tmp_path: Path, tree: HeaderTree) -> None:
    database = tmp_path / "compile_commands.json"
    with database.open("wb") as file:
        file.truncate(1 << 40)
    made = entry(tree, Path("a.c"), tmp_path, CompileOptions(clang=Path("clang")))
    with pytest.raises(UsageError, match="is larger than"):
        update(database, [made])
    assert database.stat().st_size == 1 << 40


@pytest.mark.parametrize(
    "content", ["", "[", "{}", "[1]", '[{"directory": "/x"}]', '[{"file": 1}]', "[" * 100_000]
)
def test_a_broken_file_is_left_as_it_is(content: str, tmp_path: Path, tree: HeaderTree) -> None:
    database = tmp_path / "compile_commands.json"
    database.write_text(content)
    made = entry(tree, Path("a.c"), tmp_path, CompileOptions(clang=Path("clang")))
    with pytest.raises(UsageError, match="left as it is"):
        update(database, [made])
    assert database.read_text() == content
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [database.name]


def test_a_link_to_the_database_is_followed(tmp_path: Path, tree: HeaderTree) -> None:
    real = tmp_path / "build.json"
    real.write_text(json.dumps([FOREIGN]))
    link = tmp_path / "compile_commands.json"
    link.symlink_to(real.name)
    update(link, [entry(tree, Path("a.c"), tmp_path, CompileOptions(clang=Path("clang")))])
    assert link.is_symlink()
    assert len(json.loads(real.read_text())) == 2


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        update(tmp_path / "no/compile_commands.json", [])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"file": st.text(), "directory": st.text(), "x": st.floats(allow_nan=False)}
        )
    )
)
def test_whatever_others_wrote_survives(items: list[dict[str, object]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "compile_commands.json"
        database.write_text(json.dumps(items))
        update(database, [])
        assert json.loads(database.read_text()) == items
