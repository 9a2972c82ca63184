"""Clang's view of header trees: which records, which headers, and what it may not do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.ebpf.structures import HEADERS, LIMITS, Views, view_records
from kheaders_adb.errors import CompileError
from kheaders_adb.kernel.layouts import Layout, Place, RecordKind, RecordName, compare_layouts
from tests.unit.ebpf.conftest import MakeTree

TASK = RecordName("task_struct", RecordKind.STRUCT)
SCHED = "#include <linux/types.h>\nstruct task_struct { u32 flags; u32 pid; };\n"


def view(make_tree: MakeTree, clang: Path, **files: str) -> Views:
    """One tree with other headers in ``include/linux``; names with ``_`` for ``.``."""
    paths = {f"include/linux/{name.replace('_', '.')}": text for name, text in files.items()}
    return view_records([make_tree(files=paths)], clang)


def test_another_configuration_moves_the_members(make_tree: MakeTree, each_clang: Path) -> None:
    trees = [make_tree(), make_tree(config={"SCHED_INFO": "1"})]
    views = view_records(trees, each_clang)
    assert {"linux/sched.h", "linux/bpf.h", "asm/ptrace.h"} <= set(views.headers)
    assert views.left_out == ()
    found = compare_layouts(*views.layouts)
    (task,) = found.changed
    assert (task.record, task.before_bytes, task.after_bytes) == (TASK, 24, 32)
    first, *_ = task.members
    assert (first.before, first.after) == (None, Place("run_delay", 0, None, "u64"))


def test_attributes_behind_the_brace_count(make_tree: MakeTree, each_clang: Path) -> None:
    """The reason for a second run: the first one's dump is without them."""
    layouts = view(
        make_tree,
        each_clang,
        sched_h="struct task_struct { char a; int b; } __attribute__((packed));\n"
        "struct page { int a; } __attribute__((aligned(64)));\n",
    ).layouts[0]
    assert layouts[TASK].size_bytes == 5
    assert layouts[RecordName("page", RecordKind.STRUCT)] == Layout(
        64, (Place("a", 0, None, "int"),)
    )


def test_structures_local_to_a_function_cost_nothing_else(
    make_tree: MakeTree, each_clang: Path
) -> None:
    local = "static inline int f(void) { struct local { int a; } x = {0}; return x.a; }\n"
    more = "".join(f"struct after{at} {{ int a; }};\n" for at in range(50))
    layouts = view(make_tree, each_clang, sched_h=SCHED + local + more).layouts[0]
    assert {f"struct after{at}" for at in range(50)} <= set(map(str, layouts))


def test_a_header_costs_only_its_own_records(make_tree: MakeTree, each_clang: Path) -> None:
    """One that is not whole, one that does not compile, and one that only another tree has."""
    broken = {
        "include/linux/fs.h": "#include <linux/missing.h>\nstruct file { int a; };\n",
        "include/linux/mm.h": "#include <linux/wrong.h>\n",
        "include/linux/wrong.h": "struct mm_struct { undeclared a; };\nstruct vma { other b; };\n",
        "include/linux/pid.h": "struct pid { int a; };\n",
    }
    whole = dict.fromkeys(broken, "struct whole { int a; };\n#pragma once\n")
    del whole["include/linux/pid.h"]
    views = view_records([make_tree(files=whole), make_tree(files=broken)], each_clang)
    assert views.left_out == ("linux/pid.h", "linux/fs.h", "linux/mm.h")
    assert "linux/sched.h" in views.headers
    assert all(TASK in layouts for layouts in views.layouts)
    assert not {"linux/fs.h", "linux/mm.h", "linux/pid.h"} & set(views.headers)


def test_headers_of_which_none_compiles(make_tree: MakeTree, clang: Path) -> None:
    files = {f"include/{name}": "#error no\n" for name in HEADERS if name.startswith("linux/")}
    ptrace = {"arch/x86/include/asm/ptrace.h": "#error no\n"}
    with pytest.raises(CompileError, match="do not compile"):
        view_records([make_tree(files=files | ptrace)], clang)


def test_headers_that_read_the_hosts_files_are_refused(
    make_tree: MakeTree, clang: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.h"
    secret.write_text("struct secret { int word; };\n")
    with pytest.raises(CompileError, match="headers may read only headers"):
        view(make_tree, clang, sched_h=f'{SCHED}#include "{secret}"\n')


def test_headers_without_end_end_at_a_limit(make_tree: MakeTree, clang: Path) -> None:
    many = "#define M(a) struct a##0 { int m; }; struct a##1 { int m; };\n" + "".join(
        f"M(s{at}_)\n" for at in range(2000)
    )
    tree = make_tree(files={"include/linux/sched.h": many})
    with pytest.raises(CompileError, match="clang was ended at the limit of 100000 bytes"):
        view_records([tree], clang, limits=replace(LIMITS, file_bytes=100_000))


def test_a_compiler_that_is_none(make_tree: MakeTree, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="cannot be run"):
        view_records([make_tree()], tmp_path / "clang")
    with pytest.raises(CompileError, match="is not clang"):
        view_records([make_tree()], Path("/bin/false"))
