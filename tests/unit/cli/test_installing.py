"""``--install-completion`` and ``--show-completion``: what is written where, and for which shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kheaders_adb.cli.installing import SCRIPTS, script_for
from tests.unit.cli.conftest import Run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that is empty."""
    home = tmp_path / "the user's home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("ZDOTDIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_start_up_files_are_added_to_and_only_once(run: Run, home: Path) -> None:
    (home / ".bashrc").write_text("mine=1\n\n# no end of line")
    (home / ".zshrc").write_text("mine=2\n")
    for _ in range(2):
        for shell in SCRIPTS:
            done = run(f"--install-completion={shell}")
            assert (done.code, done.err) == (0, "")
            assert str(home) in done.out
    sourced = f"source '{home}/.bash_completions/kheaders-adb.sh'".replace("r's", "r'\"'\"'s")
    assert files(home) == {
        ".bashrc": f"mine=1\n\n# no end of line\n{sourced}\n",
        ".bash_completions/kheaders-adb.sh": script_for("bash"),
        ".zshrc": "mine=2\nfpath+=~/.zfunc; autoload -Uz compinit; compinit\n",
        ".zfunc/_kheaders-adb": script_for("zsh"),
        ".config/fish/completions/kheaders-adb.fish": script_for("fish"),
    }


def test_what_typer_had_installed_is_replaced(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "me"
    monkeypatch.setenv("HOME", str(plain))
    script = plain / ".bash_completions" / "kheaders-adb.sh"
    script.parent.mkdir(parents=True)
    script.write_text("typer's")
    before = f"\nsource '{script}'\n"
    (plain / ".bashrc").write_text(before)
    assert run("--install-completion=bash").code == 0
    assert (plain / ".bashrc").read_text() == before
    assert script.read_text() == script_for("bash")


def test_the_shells_own_variables_say_where(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZDOTDIR", str(tmp_path / "z"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run("--install-completion=zsh").code == run("--install-completion=fish").code == 0
    assert files(home).keys() == {".zfunc/_kheaders-adb"}
    assert (tmp_path / "z" / ".zshrc").exists()
    assert (tmp_path / "config" / "fish" / "completions" / "kheaders-adb.fish").exists()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_shell_that_one_is_in_is_meant(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    # Of a single command a shell would make itself the process.
    command = f"'{sys.executable}' -m kheaders_adb --show-completion; true"
    done = subprocess.run(
        [shell, "-c", command],
        env={**os.environ, "SHELL": "/bin/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (script_for(shell), "")


def test_a_shell_without_completion(run: Run, home: Path) -> None:
    for option in ("install", "show"):
        done = run(f"--{option}-completion=tcsh")
        assert done.code == 2
        assert "there is no completion for the shell 'tcsh'" in done.err
    assert files(home) == {}


def test_a_home_that_cannot_be_written_to(run: Run, home: Path) -> None:
    (home / ".bash_completions").write_text("")
    done = run("--install-completion=bash")
    assert done.code == 8
    assert ".bash_completions" in done.err
