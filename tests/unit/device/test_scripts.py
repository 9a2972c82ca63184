"""The scripts as text: any value in them is one word, and any POSIX shell can read them.

What they do is tested by running them: on the fake devices of tests/wire and in booted kernels.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.device.device import quote
from kheaders_adb.device.module import _head, read_script, sweep_script
from kheaders_adb.device.probe import probe_script
from tests.unit.device.helpers import generated

WORK = PurePosixPath("/data/local/tmp/kheaders-adb")
SHELLS = {
    "sh": ["sh"],
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "ash"],
    "mksh": ["mksh"],
}
SCRIPTS = {
    "probe": probe_script("@0123456789abcdef"),
    "read": read_script(run="0123", work=WORK),
    "load": read_script(
        run="0123",
        work=WORK,
        module=PurePosixPath("/vendor/lib/modules/it's here/kheaders.ko"),
        known=[(1, "ab" * 32), (2, "cd" * 32)],
    ),
    "sweep": sweep_script(run="0123", work=WORK, wait_for="4567"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_can_read_them(shell: str) -> None:
    argv = SHELLS[shell]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    for name, script in SCRIPTS.items():
        done = subprocess.run(
            [*argv, "-n"], input=script, text=True, capture_output=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, ""), name


def test_shellcheck_finds_no_bashism() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    for name, script in SCRIPTS.items():
        done = subprocess.run(
            ["shellcheck", "--shell=sh", "--format=gcc", "--severity=warning", "-"],
            input=script,
            text=True,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert "SC3" not in done.stdout, name  # SC3xxx: what POSIX does not have


@pytest.mark.parametrize("name", SCRIPTS)
def test_they_fit_into_one_service_request(name: str) -> None:
    """A request's length is four hexadecimal digits; the known archives of a large store add to it."""
    assert len(SCRIPTS[name].encode()) < 8192


HOSTILE = [
    "'",
    "''",
    "$(id)",
    "`id`",
    "a b",
    "*",
    "\\",
    "\n",
    "\t",
    "-n",
    "#",
    '"',
    "~",
    "é",
    "\x1b",
]
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
hostile_values = values | st.lists(st.sampled_from(HOSTILE), min_size=1).map("".join)


@generated(30)
@given(hostile_values, hostile_values.map(lambda value: f"/{value}"))
def test_values_reach_the_script_as_they_are(run: str, path: str) -> None:
    module = PurePosixPath(path)
    head = _head(run, module, M=module, W=run).split("\nPATH=")[0]
    script = head + '\nprintf "%s\\0" "$R" "$K" "$M" "$W"'
    done = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [
        value.encode() for value in (run, str(module), str(module), run)
    ]


@generated(30)
@given(hostile_values)
def test_quoting(value: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"printf %s {quote(value)}"], capture_output=True, check=True
    )
    assert done.stdout == value.encode()
