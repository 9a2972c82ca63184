"""Programs for 32-bit kernels: what depends on the size of a pointer is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.ebpf.compile import CompileOptions, compile_program
from kheaders_adb.ebpf.pointers import pointer_accesses
from kheaders_adb.errors import CompileError
from tests.unit.ebpf.conftest import MakeTree
from tests.unit.ebpf.trees import PROGRAM

TYPES = """\
%struct.list = type { ptr, ptr }
%struct.task = type { i32, %struct.list, i32 }
%struct.header = type { [6 x i8], i16 }
%struct.typed = type { i32, %struct.header* }
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%1 = getelementptr inbounds %struct.task, ptr %0, i32 0, i32 2", ["struct task"]),
        (
            "%1 = getelementptr inbounds %struct.typed, %struct.typed* %0, i32 0, i32 1",
            ["struct typed"],
        ),
        ("%1 = getelementptr inbounds %struct.task, ptr %0, i32 0, i32 0", []),
        ("%1 = getelementptr inbounds %struct.header, ptr %0, i32 0, i32 1", []),
        ("%1 = getelementptr inbounds [4 x ptr], ptr %0, i32 0, i32 %2", ["[4 x ptr]"]),
        ("%1 = getelementptr inbounds i8, ptr %0, i32 4, !dbg !3", []),
        ("%1 = load ptr, ptr %0, align 4", ["a pointer in memory"]),
        ("%1 = load ptr, ptr @bpf_map_lookup_elem, align 4", []),
        ("store ptr %1, ptr %0, align 4", ["a pointer in memory"]),
        ("%p = alloca ptr, align 4\n%1 = load ptr, ptr %p, align 4", []),
        (
            "%p = alloca ptr, align 4\n%1 = call i32 %2(ptr noundef %p, i32 noundef 4)",
            ["a pointer variable whose address is passed to a function"],
        ),
        ("%p = alloca ptr, align 4\ncall void @llvm.lifetime.start.p0(i64 4, ptr %p)", []),
    ],
)
def test_what_depends_on_pointers(line: str, expected: list[str]) -> None:
    assert pointer_accesses(f"{TYPES}define i32 @f() {{\n{line}\n}}\n") == expected


def test_variables_belong_to_their_function() -> None:
    code = (
        "define i32 @f() {\n%p = alloca ptr, align 4\n}\n"
        "define i32 @g(ptr %p) {\n%1 = load ptr, ptr %p, align 4\n}\n"
    )
    assert pointer_accesses(code) == ["a pointer in memory"]


def test_types_that_hold_each_other_end() -> None:
    types = "%struct.a = type { %struct.b }\n%struct.b = type { %struct.a }\n"
    assert pointer_accesses(types + "%1 = getelementptr %struct.a, ptr %0, i32 1") == []


@given(st.text(alphabet="%struc.ab =type{}[]<>(),ptr*i32 0getlmn\n"))
def test_any_text_is_searched(text: str) -> None:
    pointer_accesses(text)


def options(clang: Path) -> CompileOptions:
    return CompileOptions(clang=clang)


def test_a_field_behind_a_pointer_is_refused(
    clang: Path, make_tree: MakeTree, tmp_path: Path
) -> None:
    source = tmp_path / "prog.bpf.c"
    source.write_text(PROGRAM)
    with pytest.raises(CompileError, match="struct task_struct") as caught:
        compile_program(make_tree("arm"), source, tmp_path / "prog.o", options(clang), print)
    assert "offsetof" in (caught.value.hint or "")
    assert not (tmp_path / "prog.o").exists()


def test_without_pointers_it_compiles(clang: Path, make_tree: MakeTree, tmp_path: Path) -> None:
    source = tmp_path / "prog.bpf.c"
    source.write_text(
        PROGRAM.replace("&task->pid", "(char *)task + __builtin_offsetof(struct task_struct, pid)")
    )
    tree = make_tree("arm")
    assert compile_program(tree, source, tmp_path / "prog.o", options(clang), print).stat().st_size
