"""What `diff` prints for people: the first of everything that differs, and how much more there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kheaders_adb.cli.render import or_dash
from kheaders_adb.cli.tables import columns
from kheaders_adb.pipeline.comparison import ConfigSource
from kheaders_adb.untrusted.text import printable

if TYPE_CHECKING:
    from kheaders_adb.cli.console import Console
    from kheaders_adb.kernel.layouts import LayoutChange, Place, PlaceChange
    from kheaders_adb.kernel.symbols import SymbolChange
    from kheaders_adb.pipeline.comparison import Comparison, LayoutComparison, Side
    from kheaders_adb.untrusted.unified import LineCounts

_SHOWN = 20
_SHOWN_BY_STAT = 1000
_LONGEST = 60
_ADDED, _REMOVED, _CHANGED = "+", "-", "~"
_OF = {
    ConfigSource.KEPT: " (of the kernels)",
    ConfigSource.HEADERS: " (of the headers)",
    None: "",
}


@dataclass(frozen=True, slots=True)
class Found:
    """All that was asked for.

    Attributes:
        comparison: of configurations and headers.
        lines: how many lines differ in each header; None if nobody asked.
        header, text: the header whose text was wanted, and the unified diff of it.
        layouts: of structures; None if nobody asked.
    """

    comparison: Comparison
    lines: dict[str, LineCounts] | None
    header: str | None
    text: list[str]
    layouts: LayoutComparison | None

    @property
    def differs(self) -> bool:
        """Whether anything that was asked for differs."""
        if self.header is not None and self.layouts is None and self.lines is None:
            return bool(self.text)
        found = self.layouts and self.layouts.differences
        of_layouts = bool(found and (found.added or found.removed or found.changed))
        return bool(self.comparison.symbols or self.comparison.headers.all or of_layouts)


def show(found: Found, console: Console) -> None:
    """Print what was found.  The text of a header stands alone, unless more was asked for."""
    if found.header is not None:
        for line in found.text:
            console.text(line)
        if not found.text:
            console.say(f"{found.header}: no difference")
    alone = found.header is not None and found.layouts is None and found.lines is None
    for line in () if alone else _lines(found):
        console.result(line)


def _lines(found: Found) -> Iterator[str]:
    comparison = found.comparison
    yield from _heads(comparison.before, comparison.after)
    yield from _config(comparison)
    yield from _headers(found)
    if found.layouts is not None:
        yield from _layouts(found.layouts)


def _heads(before: Side, after: Side) -> list[str]:
    names = ("", "key", "device", "release", "version", "machine", "compiler", "verdict")
    sides = ("FROM", *_head(before)), ("TO", *_head(after))
    return columns(list(zip(names, *sides, strict=True)))


def _head(side: Side) -> list[str]:
    identity = side.record.identity
    said = (
        side.record.key[:12],
        side.record.serial,
        identity.release,
        identity.version or None,
        identity.machine,
        side.info.facts.compiler,
        side.record.verdict.level.value,
    )
    return [printable(or_dash(value), _LONGEST) for value in said]


def _config(comparison: Comparison) -> Iterator[str]:
    symbols = comparison.symbols
    of = _OF[comparison.source]
    if comparison.source is None:
        yield "configuration: unknown"
        return
    counts = {
        "added": sum(one.before is None for one in symbols),
        "removed": sum(one.after is None for one in symbols),
        "changed": sum(None not in (one.before, one.after) for one in symbols),
    }
    yield f"configuration{of}: {_counted(counts, 'symbol')}"
    rows = [_symbol_row(one) for one in symbols[:_SHOWN]]
    yield from _indented(columns(rows) if rows else [])
    yield from _rest(len(symbols), _SHOWN)


def _symbol_row(change: SymbolChange) -> tuple[str, ...]:
    before, after = (printable(or_dash(value), _LONGEST) for value in (change.before, change.after))
    if change.before is None:
        mark, value = _ADDED, after
    elif change.after is None:
        mark, value = _REMOVED, before
    else:
        mark, value = _CHANGED, f"{before} → {after}"
    mention = change.mention
    where = ("", "") if mention is None else (mention.header, mention.structure or "")
    return mark, f"CONFIG_{printable(change.symbol)}", value, *map(printable, where)


def _headers(found: Found) -> Iterator[str]:
    headers = found.comparison.headers
    counts = {
        "added": len(headers.added),
        "removed": len(headers.removed),
        "changed": len(headers.changed),
    }
    yield f"headers: {_counted(counts, 'file')}"
    marks = {
        **dict.fromkeys(headers.added, _ADDED),
        **dict.fromkeys(headers.removed, _REMOVED),
        **dict.fromkeys(headers.changed, _CHANGED),
    }
    # The kernel's core first.
    marked = sorted(marks.items(), key=lambda one: (not one[0].startswith("include/linux/"), one))
    shown = _SHOWN if found.lines is None else _SHOWN_BY_STAT
    rows = []
    for path, mark in marked[:shown]:
        lines = None if found.lines is None else found.lines[path]
        rows.append(
            (mark, printable(path), "" if lines is None else f"+{lines.added} -{lines.removed}")
        )
    yield from _indented(columns(rows) if rows else [])
    yield from _rest(len(marked), shown)


def _layouts(layouts: LayoutComparison) -> Iterator[str]:
    found = layouts.differences
    changed = len(found.changed)
    more = [
        f"{len(names)} {word}"
        for word, names in (("added", found.added), ("removed", found.removed))
        if names
    ]
    differ = f"{changed} of {found.compared} differ" if changed else f"{found.compared} are alike"
    yield f"structures: {', '.join([differ, *more])}"
    for change in sorted(found.changed, key=_rank)[:_SHOWN]:
        yield from _indented(_layout(change))
    yield from _rest(changed, _SHOWN)
    for word, names in (("added", found.added), ("removed", found.removed)):
        if names:
            yield f"{word}: {_few([str(name) for name in names])}"
    if layouts.left_out:
        yield f"left out, since they do not compile in both: {_few(layouts.left_out)}"


def _rank(change: LayoutChange) -> tuple[bool, bool, str]:
    """The task first, then what has another size."""
    name = change.record.name
    return name != "task_struct", change.before_bytes == change.after_bytes, name


def _layout(change: LayoutChange) -> Iterator[str]:
    name = printable(str(change.record))
    if change.before_bytes == change.after_bytes:
        yield f"{_CHANGED} {name}: {change.before_bytes} bytes"
    else:
        yield f"{_CHANGED} {name}: {change.before_bytes} → {change.after_bytes} bytes"
    for member in change.members:
        yield f"    {_member(member)}"
    more = change.members_changed - len(change.members)
    if more:
        yield f"    … and {more} more {'member' if more == 1 else 'members'}"


def _member(change: PlaceChange) -> str:
    before, after = change.before, change.after
    name = printable(change.name)
    if before is None or after is None:
        place = before or after
        assert place is not None
        mark = _ADDED if before is None else _REMOVED
        return f"{mark} {name}: {_type(place)} at offset {_offset(place)}"
    if _type(before) != _type(after):
        here, there = (f"{_type(place)} at offset {_offset(place)}" for place in (before, after))
        return f"{_CHANGED} {name}: {here} → {there}"
    return f"{_CHANGED} {name}: {_type(before)} at offset {_offset(before)} → {_offset(after)}"


def _type(place: Place) -> str:
    width = "" if place.width_bits is None else f":{place.width_bits}"
    return printable(place.type or "", _LONGEST) + width


def _offset(place: Place) -> str:
    whole, bits = divmod(place.offset_bits, 8)
    return f"{whole}" if place.width_bits is None else f"{whole}:{bits}"


def _counted(counts: dict[str, int], noun: str) -> str:
    said = [f"{count} {word}" for word, count in counts.items() if count]
    if not said:
        return "no difference"
    total = sum(counts.values())
    return f"{total} {noun if total == 1 else f'{noun}s'} differ{'s' if total == 1 else ''}: " + (
        ", ".join(said)
    )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(", ".join(names[:_SHOWN]), 1000) + more


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _rest(count: int, shown: int) -> Iterator[str]:
    if count > shown:
        yield f"  … and {count - shown} more (--json has them all)"
