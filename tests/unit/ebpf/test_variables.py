"""The lines for eval, in the shells themselves."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from kheaders_adb.ebpf.variables import NAMES, Shell, environment, format_environment, format_unset
from kheaders_adb.errors import UsageError
from tests.unit.ebpf.conftest import MakeTree, absent

NASTY = "/s p'a\"c$HOME`id`\\\\x\\'y/*~#!%;&|()<>{a,b}/\u2019\u201b é"

# Which syntax each shell is given, and how it prints a variable from its environment.
CASES = [
    ("sh", Shell.SH),
    ("bash", Shell.BASH),
    ("zsh", Shell.ZSH),
    ("dash", Shell.DASH),
    ("ksh", Shell.KSH),
    ("fish", Shell.SH),
    ("fish", Shell.FISH),
    ("pwsh", Shell.PWSH),
]


def need(shell: str) -> None:
    """Skip where a shell is not there."""
    if shutil.which(shell) is None:
        if shell == "pwsh":
            pytest.skip("PowerShell is in no Debian package; its lines are compared below")
        if shell == "ksh":
            pytest.skip("ksh is not installed; it reads what sh reads")
        absent(f"{shell} is not installed")


@pytest.mark.parametrize(("shell", "syntax"), CASES)
@pytest.mark.parametrize("value", ["/plain", "/a b'c", NASTY])
def test_each_shell_gets_the_value(shell: str, syntax: Shell, value: str, tmp_path: Path) -> None:
    need(shell)
    if (shell, syntax) == ("fish", Shell.SH) and "\\" in value:
        pytest.skip("fish reads a backslash in single quotes differently; --shell fish is for that")
    lines = tmp_path / "lines"
    lines.write_text(format_environment({"KHEADERS_DIR": value, "LAST": "1"}, syntax))
    command = {
        "pwsh": "Invoke-Expression (Get-Content -Raw lines); printenv KHEADERS_DIR",
    }.get(shell, 'eval "$(cat lines)"; printenv KHEADERS_DIR LAST')
    done = subprocess.run(
        [shell, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{value}\n1\n"
    assert done.stderr == ""


# fish knows `export`, but not `unset`.
@pytest.mark.parametrize(
    ("shell", "syntax"), [case for case in CASES if case != ("fish", Shell.SH)]
)
def test_each_shell_forgets_them(shell: str, syntax: Shell, tmp_path: Path) -> None:
    """Those that its caller had exported as well; and once more, where none is left."""
    need(shell)
    lines = tmp_path / "lines"
    lines.write_text(format_environment(dict.fromkeys(NAMES[1:], "x"), syntax))
    (tmp_path / "unset").write_text(format_unset(syntax))
    command = {
        "pwsh": "Invoke-Expression (Get-Content -Raw lines); Invoke-Expression (Get-Content -Raw unset); env",
        "fish": 'eval "$(cat lines)"; eval "$(cat unset)"; eval "$(cat unset)"; env',
    }.get(shell, 'set -eu; eval "$(cat lines)"; eval "$(cat unset)"; eval "$(cat unset)"; env')
    done = subprocess.run(
        [shell, "-c", command],
        cwd=tmp_path,
        env={**os.environ, NAMES[0]: "inherited"},
        capture_output=True,
        text=True,
        check=shell != "fish",  # which ends with the last status
    )
    assert done.stderr == ""
    assert "PATH=" in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.partition("=")[0] in NAMES]


def test_what_sets_them_names_none_that_stays(make_tree: MakeTree) -> None:
    assert set(environment(make_tree("arm64", version=(5, 10)))) <= set(NAMES)


def test_powershell_quotes_are_doubled() -> None:
    assert (
        format_environment({"X": "a'b\u2019c$d"}, Shell.PWSH) == "$env:X = 'a''b\u2019\u2019c$d';\n"
    )
    assert format_unset(Shell.PWSH).splitlines()[0] == "$env:KHEADERS_DIR = $null;"


def test_the_variables_of_the_tools(make_tree: MakeTree) -> None:
    tree = make_tree("arm64", version=(5, 10))
    root = str(tree.root)
    assert environment(tree) == {
        "KHEADERS_DIR": root,
        "KHEADERS_ARCH": "arm64",
        "BCC_KERNEL_SOURCE": root,
        "BPFTRACE_KERNEL_SOURCE": root,
        "BPFTRACE_KERNEL_BUILD": root,
    }
    assert environment(tree, root="/data/x")["BPFTRACE_KERNEL_SOURCE"] == "/data/x"


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
def test_a_value_that_no_shell_could_take_is_refused(value: str) -> None:
    for shell in Shell:
        if shell is not Shell.JSON:
            with pytest.raises(UsageError, match="line break"):
                format_environment({"X": value}, shell)


def test_python_reads_them() -> None:
    for value in ("/plain", NASTY, "a\nb", "\x1b\u2028"):
        assert json.loads(format_environment({"X": value}, Shell.JSON)) == {"X": value}
    assert json.loads(format_unset(Shell.JSON)) == dict.fromkeys(NAMES)
    line = format_environment({"X": NASTY}, Shell.SH)
    assert shlex.split(line) == ["export", f"X={NASTY};"]
    with pytest.raises(UsageError, match=r"X is not UTF-8, which JSON cannot hold: '/\\udcff'"):
        format_environment({"X": "/\udcff"}, Shell.JSON)


PLAIN = "/home/Jos\u00e9-e\u0301/.cache/画素/x+y@1.0,%25=:^_"
"""What is not plain ASCII and yet the same to all readers of dotenv files."""


def by_github(text: str) -> dict[str, str]:
    """As the runner reads $GITHUB_ENV: from the first equals sign to the end of the line."""
    return dict(line.split("=", 1) for line in text.splitlines() if "<<" not in line)


def by_docker(text: str) -> dict[str, str]:
    """As docker reads --env-file: what begins with # is a comment; the value is taken as it is."""
    lines = [line.lstrip() for line in text.split("\n")]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def by_python_dotenv(text: str) -> dict[str, str]:
    """As python-dotenv reads what has no quotes: up to a blank and #, stripped, ${X} replaced."""
    found = by_docker(text)
    return {
        name: re.sub(r"\$\{[^}]*\}", "", re.sub(r"\s+#.*", "", value).rstrip())
        for name, value in found.items()
        if value[:1] not in ("'", '"')
    }


def by_shells(text: str) -> list[dict[str, str]]:
    """As `env $(cat file) command`, and as `set -a; . ./file`."""
    found = []
    for shell in ("sh", "bash", "zsh", "dash"):
        need(shell)
        for command in ("env $(cat file) env", "set -a; . ./file; env"):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "file").write_text(text)
                done = subprocess.run(
                    [shell, "-c", command], cwd=folder, capture_output=True, text=True, check=True
                )
            lines = [line.split("=", 1) for line in done.stdout.splitlines() if "=" in line]
            found.append({name: value for name, value in lines if name in ("FIRST", "LAST")})
    return found


def by_node(text: str) -> list[dict[str, str]]:
    """As `node --env-file`, where that is there."""
    if shutil.which("node") is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "file").write_text(text)
        script = "console.log(JSON.stringify({FIRST: process.env.FIRST, LAST: process.env.LAST}))"
        done = subprocess.run(
            ["node", "--env-file=file", "-e", script], cwd=folder, capture_output=True, check=False
        )
    return [json.loads(done.stdout)] if done.returncode == 0 else []  # older ones know no such file


def test_all_readers_of_a_dotenv_file_get_the_same() -> None:
    variables = {"FIRST": PLAIN, "LAST": "x"}
    text = format_environment(variables, Shell.DOTENV)
    assert text == f"FIRST={PLAIN}\nLAST=x\n"
    found = [by_github(text), by_docker(text), by_python_dotenv(text)]
    assert all(each == variables for each in (*found, *by_shells(text), *by_node(text)))


@pytest.mark.parametrize("character", [*"'\"`\\$#*?[]{}()<>|&;!~ \t", "\u00a0", "\u2028", "\udcff"])
def test_what_a_dotenv_file_cannot_hold_for_all_is_refused_by_name(character: str) -> None:
    with pytest.raises(UsageError) as caught:
        format_environment({"FIRST": "x", "LAST": f"/a{character}b"}, Shell.DOTENV)
    assert caught.value.seen == (
        f"the value of LAST holds {character!r}, which not all readers of a dotenv file take alike: "
        f"{f'/a{character}b'!r}"
    )
    assert "--shell json" in (caught.value.hint or "")


def test_a_dotenv_file_removes_nothing() -> None:
    with pytest.raises(UsageError, match="a dotenv file cannot remove variables"):
        format_unset(Shell.DOTENV)
