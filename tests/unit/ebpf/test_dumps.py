"""Reading what clang dumps of records."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.ebpf.dumps import record_layouts, record_names
from kheaders_adb.kernel.layouts import Layout, Place, RecordKind, RecordName

SOURCE = """\
struct in { int a; };
struct all {
	unsigned a:3, b:5;
	unsigned long long :64;
	struct { int x; char y[4]; union { int u; long v; }; };
	struct { int z; struct { int deep; }; } named;
	union { int p; long q; } many[3];
	struct in inner;
	unsigned :0;
	void (*call)(int);
	const char *volatile text;
} __attribute__((packed));
typedef struct { int counter; } atomic_t;
union both { atomic_t one; struct in *other; };
_Static_assert(sizeof(struct all) + sizeof(union both), "");
"""

ALL = RecordName("all", RecordKind.STRUCT)


def dumped(clang: Path, folder: Path, source: str = SOURCE, name: str = "a (b).c") -> bytes:
    # A folder may have any name, and unnamed structures are told of by where they stand.
    file = folder / name
    file.write_text(source)
    command = [str(clang), "-target", "x86_64-linux-gnu", "-fsyntax-only"]
    command += ["-Xclang", "-fdump-record-layouts", str(file)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_every_kind_of_member(each_clang: Path, tmp_path: Path) -> None:
    found = record_layouts(dumped(each_clang, tmp_path))
    assert set(map(str, found)) == {"struct in", "struct all", "union both", "atomic_t"}
    assert found[ALL] == Layout(
        80,
        (
            Place("a", 0, 3, "unsigned int"),
            Place("b", 3, 5, "unsigned int"),
            Place("x", 9 * 8, None, "int"),
            Place("y", 13 * 8, None, "char[4]"),
            Place("u", 17 * 8, None, "int"),
            Place("v", 17 * 8, None, "long"),
            Place("named", 25 * 8, None, "struct {…}"),
            Place("named.z", 25 * 8, None, "int"),
            Place("named.deep", 29 * 8, None, "int"),
            Place("many", 33 * 8, None, "union {…}[3]"),
            Place("inner", 57 * 8, None, "struct in"),
            Place("call", 64 * 8, None, "void (*)(int)"),
            Place("text", 72 * 8, None, "const char *volatile"),
        ),
    )


def test_where_unnamed_types_stand_makes_no_difference(each_clang: Path, tmp_path: Path) -> None:
    one = record_layouts(dumped(each_clang, tmp_path))
    other = record_layouts(dumped(each_clang, tmp_path, "\n\n" + SOURCE, "other.c"))
    assert one == other


def test_names_alone(clang: Path, tmp_path: Path) -> None:
    names = record_names(dumped(clang, tmp_path))
    assert {str(name) for name in names} == {"struct in", "struct all", "union both"}


def record(*members: str, head: str = "struct x", size: int = 8) -> str:
    lines = ["*** Dumping AST Record Layout", f"         0 | {head}", *members]
    return "\n".join([*lines, f"           | [sizeof={size}, align=4]", "", ""])


def test_a_record_of_two_kinds_is_left_out() -> None:
    """A structure local to a function may have the name of another one."""
    one, other = record("         0 |   int a"), record("         0 |   long a", size=16)
    assert len(record_layouts((one + one).encode())) == 1
    assert record_layouts((one + other + one).encode()) == {}


def test_what_is_not_understood_is_left_out() -> None:
    """Headers decide by #line what stands for the place of an unnamed structure, line breaks too."""
    forged = (
        "         0 |   struct x::(unnamed at evil.h\n"
        "*** Dumping AST Record Layout\n         0 | struct task_struct\n"
        "         8 |   int pid\nevil:1:1) a"
    )
    sound = record("         0 |   int a", head="struct y")
    found = record_layouts((record(forged) + sound).encode())
    assert [str(name) for name in found] == ["struct y"]
    for line in ("         0 |   int a-b", "99999999999999 |   int a", "  0:1-2 |   ", " a"):
        assert record_layouts(record(line).encode()) == {}
    assert record_layouts(b"*** Dumping AST Record Layout") == {}
    assert record_layouts(record("         0 |   int a").encode()[:-20]) == {}


@given(
    st.lists(st.sampled_from([*record("  1:2-3 |   int a").split("\n"), "  0 |       int b", "\0"]))
)
def test_no_text_at_all_is_an_error(lines: list[str]) -> None:
    record_layouts("\n".join(lines).encode())
    record_names("\n".join(lines).encode())
