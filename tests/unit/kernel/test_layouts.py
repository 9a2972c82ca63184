"""How two views of the same structures are compared."""

from __future__ import annotations

from kheaders_adb.kernel.layouts import (
    Layout,
    Place,
    PlaceChange,
    RecordKind,
    RecordName,
    compare_layout,
    compare_layouts,
)

TASK = RecordName("task_struct", RecordKind.STRUCT)
FLAGS = Place("flags", 0, type="int")
PID = Place("pid", 32, type="int")


def test_what_is_equal_is_no_difference() -> None:
    one = {TASK: Layout(8, (FLAGS, PID))}
    found = compare_layouts(one, dict(one))
    assert (found.compared, found.added, found.removed, found.changed) == (1, (), (), ())


def test_the_reason_stands_before_what_it_has_moved() -> None:
    new = Place("run_delay", 0, type="u64")
    moved = tuple(Place(name.name, name.offset_bits + 64, type=name.type) for name in (FLAGS, PID))
    found = compare_layout(TASK, Layout(8, (FLAGS, PID)), Layout(16, (new, *moved)))
    assert found is not None
    assert (found.before_bytes, found.after_bytes, found.members_changed) == (8, 16, 3)
    assert found.members == (
        PlaceChange("run_delay", None, new),
        PlaceChange("flags", FLAGS, moved[0]),
        PlaceChange("pid", PID, moved[1]),
    )


def test_only_the_first_members_are_named() -> None:
    members = tuple(Place(f"m{at:03}", at * 8) for at in range(100))
    found = compare_layout(TASK, Layout(100, members), Layout(100, ()))
    assert found is not None
    assert [change.name for change in found.members] == ["m000", "m001", "m002", "m003", "m004"]
    assert found.members_changed == 100


def test_a_type_that_one_view_does_not_know_is_not_compared() -> None:
    """As the kernel's BTF and clang's view, which are compared by where things lie."""
    before, after = Layout(8, (FLAGS, PID)), Layout(8, (Place("flags", 0), Place("pid", 32)))
    assert compare_layout(TASK, before, after) is None
    other = Layout(8, (FLAGS, Place("pid", 32, type="unsigned int")))
    assert compare_layout(TASK, before, other) is not None


def test_the_size_alone_and_the_width_of_a_bit_field_are_differences() -> None:
    assert compare_layout(TASK, Layout(8, (FLAGS,)), Layout(16, (FLAGS,))) is not None
    fields = (Layout(4, (Place("on", 0, width),)) for width in (1, 2))
    assert compare_layout(TASK, *fields) is not None


def test_structures_of_one_side_only_and_tags_beside_typedefs() -> None:
    union = RecordName("task_struct", RecordKind.UNION)
    typedef = RecordName("task_struct", RecordKind.TYPEDEF)
    assert [str(name) for name in (TASK, union, typedef)] == [
        "struct task_struct",
        "union task_struct",
        "task_struct",
    ]
    one = Layout(4)
    found = compare_layouts({TASK: one, typedef: one}, {union: one})
    assert (found.compared, found.added, found.removed) == (0, (union,), (TASK,))
