"""``path --exists`` and ``show --format``: what scripts ask as they ask pkg-config."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.cli.fields import FIELDS
from kheaders_adb.store import Store
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_compile import add
from tests.unit.store.helpers import FACTS, identity, packed, record, stage


@pytest.fixture
def store(store_path: Path) -> Store:
    """A store with 6.1 of x86_64 and 6.2 of arm64."""
    add(store_path, 1, "x86_64", staged_at=1000.0)
    add(store_path, 2, "arm64", staged_at=2000.0)
    return Store.open(store_path)


@pytest.mark.parametrize(
    ("kernel", "code"),
    [("latest", 0), ("6.1.0-mini", 0), ("@device-1", 0), ("6", 2), ("5.4", 2), ("@nobody", 2)],
)
def test_whether_a_kernel_is_there_is_an_exit_code(
    kernel: str, code: int, run: Run, store: Store
) -> None:
    assert store.exists
    done = run("path", "--exists", kernel)
    assert (done.code, done.out, done.err) == (code, "", "")
    assert run("path", "--exists", kernel, "--json").document == {"schema": 1, "exists": code == 0}
    assert run("path", kernel).code == code


def test_in_an_empty_store_nothing_is_there(run: Run) -> None:
    done = run("path", "--exists")
    assert (done.code, done.out, done.err) == (2, "", "")


def test_a_kernel_without_its_tree_is_not_there(run: Run, store: Store) -> None:
    shutil.rmtree(store.tree_path(store.resolve("latest").tree))
    done = run("path", "--exists")
    assert (done.code, done.out, done.err) == (8, "", "")


def test_a_question_that_cannot_be_answered_is_told(run: Run, store_path: Path) -> None:
    store_path.write_text("no folder")
    done = run("path", "--exists")
    assert done.code == 8
    assert str(store_path) in done.err


def test_a_format_has_every_field(run: Run, store: Store) -> None:
    archive, tree = stage(store, packed(), facts=replace(FACTS, srcarch="arm64"))
    store.record(record(identity(2, release="6.2.0-mini"), archive, tree))
    form = "".join(f"{name}={{{name}}}\n" for name in FIELDS)
    done = run("show", "6.2.0-mini", "--format", form)
    found = dict(line.split("=", 1) for line in done.out.splitlines() if line)
    entry = store.resolve("6.2.0-mini")
    assert found == {
        "key": entry.key,
        "release": "6.2.0-mini",
        "version": "#1 SMP",
        "machine": "x86_64",  # what the kernel says of itself
        "arch": "arm64",  # what its headers are of
        "build_id": f"{2:040x}",
        "config_sha256": "",
        "level": "exact",
        "serial": "device-1",
        "source": "sysfs",
        "sha256": entry.archive.sha256,
        "tree": str(store.tree_path(entry.tree)),
    }
    assert run("show", "--format", "{{{release}}} }}").out == "{6.2.0-mini} }\n"


@pytest.mark.parametrize(
    "form",
    [
        *(
            "{release.__class__}",
            "{release[0]}",
            "{release!r}",
            "{release:>20}",
            "{}",
            "{0}",
            "{ key}",
        ),
        *("{", "}", "{key", "key}", "{{key}", "{key}}", "{nothing}", "{{{}}}"),
    ],
)
def test_a_format_is_no_python(form: str, run: Run, store: Store) -> None:
    assert store.exists
    done = run("show", "--format", form)
    assert (done.code, done.out) == (2, "")
    assert "--format: " in done.err


def test_a_wrong_format_is_told_before_anything_is_looked_up(run: Run) -> None:
    done = run("show", "nothing", "--format", "{kernel}")
    assert "there is no field 'kernel'" in done.err
    assert "the fields are key, release, " in done.err
    assert "is staged" not in done.err
    assert run("show", "--format", "{key}", "--json").code == 2


def test_what_a_kernel_says_of_itself_is_no_format(run: Run, store_path: Path) -> None:
    store = Store.open(store_path)
    archive, tree = stage(store, packed())
    odd = replace(identity(), release="{key}\x1b[31m", version="{{}}")
    store.record(record(odd, archive, tree))
    assert run("show", "--format", "{release} {version}").out == "{key}\x1b[31m {{}}\n"
