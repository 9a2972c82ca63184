"""docs/api.md tells of everything; that it is current is what test_generated.py holds."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

import pytest

import kheaders_adb
from fixtures.reference.files import ROOT
from fixtures.reference.programs import Told, parameters
from fixtures.reference.public import error_classes, exported, values

PAGE = (ROOT / "docs/api.md").read_text("utf-8")


def callables() -> Iterator[tuple[str, Callable[..., object]]]:
    for name, thing in exported().items():
        if inspect.isfunction(thing):
            yield name, thing
    for kind in (kheaders_adb.Store, kheaders_adb.Staged):
        for name, found in vars(kind).items():
            if not name.startswith("_") and inspect.isfunction(found):
                yield f"{kind.__name__}.{name}", found


CALLABLES = dict(callables())


@pytest.mark.parametrize("name", CALLABLES)
def test_what_a_function_takes_gives_and_raises_is_told(name: str) -> None:
    function = CALLABLES[name]
    told = Told.of(function)
    said = {one for names, _ in told.items("Args") for one in names.split(", ")}
    taken = {parameter.name for parameter in parameters(function)}
    if "wanted" in said:  # as for `ensure`, by its own words
        said |= {parameter.name for parameter in parameters(kheaders_adb.ensure)} - {"device"}
        said.remove("wanted")
    assert said == taken
    assert {error for names, _ in told.items("Raises") for error in names.split(", ")} <= {
        kind.__name__ for kind in error_classes()
    }
    assert told.sections["Raises"]
    assert f"{name}\n\n```python\n{name.rpartition('.')[2]}(" in PAGE


@pytest.mark.parametrize("kind", [kind for kind in values() if is_dataclass(kind)], ids=str)
def test_every_field_of_a_value_is_told_of(kind: type) -> None:
    section = PAGE.partition(f"## {kind.__name__}\n")[2].partition("\n#")[0]
    assert is_dataclass(kind)
    assert [field.name for field in fields(kind) if f"| `{field.name}` |" not in section] == []


def test_every_name_is_told_of() -> None:
    names = [*exported(), *(kind.__name__ for kind in (*values(), *error_classes()))]
    assert [name for name in names if f"## {name}\n" not in PAGE] == []


def test_every_link_leads_to_what_it_names() -> None:
    """`staged` and `Staged` are one word to a link, of which the second gets a number."""
    headings = re.findall(r"^#+ (.+)$", PAGE, re.M)
    words = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    ends = [
        f"{word}-{words[:number].count(word)}" if word in words[:number] else word
        for number, word in enumerate(words)
    ]
    links = re.findall(r"\[`(\w+)`\]\(#([\w-]+)\)", PAGE)
    assert [name for name, _ in links] == list(exported())
    leads = dict(zip(ends, headings, strict=True))
    assert {name: leads.get(end) for name, end in links} == {name: name for name, _ in links}
