"""The lines for eval, in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kheaders_adb.ebpf.variables import Shell, environment, format_environment
from kheaders_adb.errors import UsageError
from tests.unit.ebpf.conftest import MakeTree, absent

NASTY = "/s p'a\"c$HOME`id`\\\\x\\'y/*~#!%;&|()<>{a,b}/\u2019\u201b é"

# Which syntax each shell is given, and how it prints a variable from its environment.
CASES = [
    ("sh", Shell.SH),
    ("bash", Shell.SH),
    ("zsh", Shell.SH),
    ("fish", Shell.SH),
    ("fish", Shell.FISH),
    ("pwsh", Shell.PWSH),
]


@pytest.mark.parametrize(("shell", "syntax"), CASES)
@pytest.mark.parametrize("value", ["/plain", "/a b'c", NASTY])
def test_each_shell_gets_the_value(shell: str, syntax: Shell, value: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        if shell == "pwsh":
            pytest.skip("PowerShell is in no Debian package; its lines are compared below")
        absent(f"{shell} is not installed")
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


def test_powershell_quotes_are_doubled() -> None:
    assert (
        format_environment({"X": "a'b\u2019c$d"}, Shell.PWSH) == "$env:X = 'a''b\u2019\u2019c$d';\n"
    )


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
    with pytest.raises(UsageError, match="line break"):
        format_environment({"X": value})
