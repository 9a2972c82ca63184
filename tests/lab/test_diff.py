"""``diff --layout`` on the headers of real kernels, which nobody has to boot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.lab import Lab
from kheaders_adb.archive.carve import carve_module
from tests.lab.conftest import kheaders_of
from tests.lab.test_ebpf_headers import clang
from tests.unit.ebpf.conftest import CLANGS


def diff(lab: Lab, folder: Path, version: int, *names: str) -> dict[str, Any]:
    """What ``diff --layout --json`` says of two kernels of the lab, their headers imported."""
    environ = {
        **os.environ,
        "CLANG": str(clang(version)),
        "KHEADERS_ADB_STORE": str(folder / "store"),
    }

    def run(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "kheaders_adb", *arguments, "--json"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    keys = []
    for name in names:
        module = kheaders_of(name, lab)
        archive = folder / f"{name}.tar.xz"
        archive.write_bytes(carve_module(module).archive)
        config = module.with_name("config")
        keys.append(run("import", str(archive), "--config", str(config))["kernel"]["key"])
    return run("diff", *keys, "--layout")


def places(change: dict[str, Any]) -> dict[str, tuple[int | None, ...]]:
    return {
        member["name"]: tuple(
            None if member[side] is None else member[side]["offset_bits"] // 8
            for side in ("from", "to")
        )
        for member in change["members"]
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", CLANGS)
def test_another_configuration_of_the_same_release(lab: Lab, tmp_path: Path, version: int) -> None:
    """The kernels of which one's headers read the wrong pid on the other (test_ebpf.py)."""
    found = diff(lab, tmp_path, version, "x86_64-module", "x86_64-twin")
    assert found["from"]["kernel"]["release"] == found["to"]["kernel"]["release"]
    assert found["config"]["source"] == "kept"
    added = {one["symbol"]: one for one in found["config"]["added"]}
    assert set(added) == {"SCHED_INFO", "TASKSTATS", "TASK_DELAY_ACCT"}
    assert added["TASK_DELAY_ACCT"]["structure"] == "task_struct"
    assert "include/linux/sched.h" not in found["headers"]["changed"]
    layouts = found["layouts"]
    assert layouts["compared"] > 3000
    assert layouts["left_out"] == []
    assert layouts["added"] == [{"name": "task_delay_info", "kind": "struct"}]
    changed = {one["name"]: one for one in layouts["changed"]}
    assert set(changed) == {"task_struct", "signal_struct", "sched_info"}
    assert changed["sched_info"]["size_bytes"] == {"from": 0, "to": 32}
    before, after = places(changed["task_struct"])["tasks"]
    assert before is not None
    assert after == before + 32, "behind struct sched_info"
    assert places(changed["signal_struct"])["stats"][0] is None


@pytest.mark.timeout(300)
def test_a_configuration_that_no_structure_depends_on(lab: Lab, tmp_path: Path) -> None:
    found = diff(lab, tmp_path, CLANGS[-1], "x86_64-module", "x86_64-btf")
    assert "DEBUG_INFO_BTF" in {one["symbol"] for one in found["config"]["added"]}
    assert found["layouts"]["changed"] == []
    assert found["layouts"]["compared"] > 3000
