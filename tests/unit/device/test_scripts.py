"""The scripts as text: any value in them is one word, and any POSIX shell can read them.

What they do is tested by running them: on the fake devices of tests/wire and in booted kernels.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import PurePosixPath
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.device.lease import MAX_KNOWN, read_script, sweep_script
from kheaders_adb.device.probe import probe_script
from kheaders_adb.device.push import push_script
from kheaders_adb.device.script import FOLDER, compose, name_line, quote
from kheaders_adb.device.shells import Shell
from kheaders_adb.device.su import Su, SuCommand, SuDialect
from kheaders_adb.errors import NoHeadersError
from tests.unit.device.helpers import generated

RUN = "0123456789abcdef"
BOOT = "c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de"
WORK = PurePosixPath("/data/local/tmp/kheaders-adb")
# As long as they come: depmod's layout below a vendor's folder, with a release as Android's builds have.
MODULE = PurePosixPath(
    "/vendor_dlkm/lib/modules/6.1.75-android14-11-g0123456789ab-ab12345678/kernel/kernel/kheaders.ko"
)
SHELLS = {
    "sh": ["sh"],
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "ash"],
    "mksh": ["mksh"],
    "toybox": ["toybox", "sh"],
}
SCRIPTS = {
    "probe": probe_script("@0123456789abcdef"),
    "read": read_script(run=RUN, work=WORK, beside=True),
    "read, loading": read_script(
        run=RUN,
        work=WORK,
        boot_id=BOOT,
        module=MODULE,
        module_sha256="a" * 64,
        known=[(4_018_144, f"{n:064x}") for n in range(50)],
    ),
    "read, bringing": read_script(
        run=RUN,
        work=WORK,
        boot_id=BOOT,
        module_sha256="a" * 64,
        payload_bytes=4_018_144,
        known=[(4_018_144, f"{n:064x}") for n in range(50)],
    ),
    "sweep": sweep_script(run=RUN, work=WORK, boot_id=BOOT, wait_for=RUN),
    "push": push_script(
        "6.1.75-android14-11-g0123456789ab-0123456789abcdef",
        123_456,
        WORK / "it's here",
        BOOT,
        WORK,
    ),
}
PARTS = ("common", "lease", "put", "load")
"""Files that hold no script of their own: they stand before others."""
FILES = sorted(path.stem for path in FOLDER.glob("*.sh"))
MAX_REQUEST_BYTES = 4000
"""adbd before Android 7 takes 4,096 bytes in one OPEN, the final NUL among them (MAX_PAYLOAD_V1 in adb.h)."""


def test_every_script_is_among_those_that_are_tested() -> None:
    assert {*FILES} == {*PARTS} | {name.partition(",")[0] for name in SCRIPTS}


@pytest.mark.parametrize("name", FILES)
def test_a_script_begins_with_its_name(name: str) -> None:
    assert (FOLDER / f"{name}.sh").read_text().startswith(name_line(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_name_is_sent_and_the_comments_are_not(name: str) -> None:
    first, *rest = SCRIPTS[name].splitlines()
    assert f"{first}\n" == name_line(name.partition(",")[0])
    assert not [line for line in rest if line.startswith(("#", " ", "\t")) or not line]


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


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    """As written, with what stands before it: nothing is left out but by a line that says why."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    written = SCRIPTS[name]
    for file in FILES:
        bare = compose(file).removeprefix(name_line(file))
        written = written.replace(bare, (FOLDER / f"{file}.sh").read_text())
    done = subprocess.run(
        ["shellcheck", "--shell=sh", "--format=gcc", "-"],
        input=written,
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_they_fit_into_one_request_of_old_devices(name: str) -> None:
    """Also through su, which quotes the whole script once more, in its longest dialect."""
    su = SuCommand()
    commands = [SCRIPTS[name], *(Su(su, dialect).run(SCRIPTS[name]) for dialect in su.dialects)]
    longest = max(len(f"shell,v2,raw:{command}".encode()) for command in commands)

    assert longest <= MAX_REQUEST_BYTES


class _SentError(Exception):
    """The request would have been sent."""


@pytest.mark.parametrize("su", [None, Su(SuCommand(), SuDialect.NAME)])
@pytest.mark.parametrize("name", sorted({*SCRIPTS} - {"read, bringing", "push"}))
def test_they_fit_where_a_shell_must_say_where_output_ends(name: str, su: Su | None) -> None:
    """Of Android 4's adbd as well; but for what has an input, which takes shell protocol 2."""

    def sent(service: str) -> NoReturn:
        assert name_line(name.partition(",")[0]) in service
        raise _SentError

    shell = Shell("shell:", on_terminal=True, encoder="busybox base64")
    held = name == "read"
    with pytest.raises(_SentError):
        shell.start(sent, SCRIPTS[name], su, binary=not held, held=held)
    with pytest.raises(NoHeadersError, match="longer than an old adbd takes"):
        shell.start(sent, SCRIPTS[name].ljust(4096), su, binary=not held, held=held)


def test_only_so_many_known_archives_are_named() -> None:
    assert SCRIPTS["read, bringing"].count(" 4018144:") == MAX_KNOWN


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
def test_values_reach_the_script_as_they_are(value: str, path: str) -> None:
    head = compose("sweep", RUN=value, WORK=PurePosixPath(path), PAYLOAD=3).split("\ntrap ")[0]
    script = head + '\nprintf "%s\\0" "$RUN" "$WORK" "$PAYLOAD"'
    done = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [
        word.encode() for word in (value, str(PurePosixPath(path)), "3")
    ]


@generated(30)
@given(hostile_values)
def test_quoting(value: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"printf %s {quote(value)}"], capture_output=True, check=True
    )
    assert done.stdout == value.encode()
