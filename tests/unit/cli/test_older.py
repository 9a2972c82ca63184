"""Records that older rules have judged, met by the commands that ask no device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.store.records import RULES
from tests.unit.cli.conftest import Run
from tests.wire.devices import ARCHIVE_PATH
from tests.wire.kernel import Kernel
from tests.wire.server import Server

KERNEL = Kernel(headers=2)
OTHER = Kernel(headers=2, release="6.6.30-android15-8", seed=2)
USING = [["path"], ["cflags"], ["env"], ["export", "--tree", "-o", "tree"]]

Stage = Callable[..., Path]


@pytest.fixture
def older(
    run: Run,
    server: Server,
    store_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    """Pulls, and makes the record what an older version would have left; returns its file."""
    monkeypatch.chdir(tmp_path)

    def staged(archive: bytes = KERNEL.archive, **changes: Any) -> Path:
        server.add_device("PHONE", kernel=KERNEL).put(ARCHIVE_PATH, archive)
        assert run("pull", "-q", "--allow-mismatch").code == 0
        (path,) = (store_path / "kernels").iterdir()
        found = json.loads(path.read_text())
        del found["rules"]
        path.write_text(json.dumps(found | {"tool_version": "0.0.9"} | changes))
        return path

    return staged


def rules(path: Path) -> int | None:
    found: int | None = json.loads(path.read_text()).get("rules")
    return found


EXACT = {"level": "exact", "checks": [], "differences": []}


@pytest.mark.parametrize("command", USING, ids=lambda command: command[0])
def test_headers_that_turn_out_to_be_anothers_are_not_used(
    run: Run, older: Stage, command: list[str]
) -> None:
    path = older(OTHER.archive, verdict=EXACT)
    done = run(*command)
    assert (done.code, done.out) == (5, ""), done.err
    assert "judging again what an older version has staged" in done.err
    assert f"release: the kernel has {KERNEL.release}, the headers have {OTHER.release}" in done.err
    assert "hint: run `kheaders-adb pull` again" in done.err
    assert rules(path) is None, "it is said each time"
    error = run(*command, "--json").document["error"]
    assert (error["kind"], error["verdict"]["level"]) == ("mismatch", "mismatch")


def test_what_only_looks_shows_it(run: Run, older: Stage) -> None:
    older(OTHER.archive, verdict=EXACT)
    done = run("show")
    assert done.code == 0
    assert "mismatch by today's rules, exact by those of kheaders-adb 0.0.9" in done.err
    assert "do NOT belong to this kernel (release" in done.err
    (listed,) = run("list", "--json").document["kernels"]
    assert listed["verdict"]["level"] == "mismatch"
    assert run("verify", "--json").document["ok"] is True


@pytest.mark.parametrize("command", [*USING, ["show"], ["list"]], ids=lambda command: command[0])
def test_headers_that_are_the_kernels_are_used_as_before(
    run: Run, older: Stage, command: list[str]
) -> None:
    path = older()
    done = run(*command)
    assert (done.code, "by today's rules" in done.err) == (0, False), done.err
    assert rules(path) == RULES


def test_what_cannot_be_known_any_more_lowers_the_level(
    run: Run, older: Stage, store_path: Path
) -> None:
    path = older()
    (config,) = (store_path / "configs").iterdir()
    config.unlink()
    done = run("path")
    assert done.code == 0
    assert "consistent by today's rules, exact by those of kheaders-adb 0.0.9" in done.err
    assert rules(path) == RULES
    assert run("path").err == ""


def test_a_mismatch_that_was_allowed_is_warned_of_as_before(run: Run, older: Stage) -> None:
    older(OTHER.archive)
    for _ in range(2):
        done = run("path")
        assert done.code == 0
        assert done.err.count("\n") == 1
        assert "do NOT belong to this kernel (release" in done.err


def test_nothing_is_read_of_what_todays_rules_have_judged(
    run: Run, older: Stage, store_path: Path
) -> None:
    older(rules=RULES)
    for folder in ("archives", "manifests", "configs"):
        for path in (store_path / folder).iterdir():
            path.unlink()
    assert run("path").code == 0


def test_what_cannot_be_judged_is_not_used_but_shown(
    run: Run, older: Stage, store_path: Path
) -> None:
    older()
    for folder in ("archives", "manifests"):
        for path in (store_path / folder).iterdir():
            path.unlink()
    done = run("path")
    assert (done.code, done.out) == (8, "")
    assert "is missing or damaged" in done.err
    assert "hint: run `kheaders-adb pull --refresh`" in done.err
    done = run("show")
    assert done.code == 0
    assert "cannot be judged by today's rules: " in done.err
