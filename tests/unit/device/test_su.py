"""The su that a user names: what is accepted, and that nothing of it is ever more than words to a shell."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.device.su import Su, SuCommand, SuDialect
from kheaders_adb.errors import UsageError
from tests.unit.device.helpers import generated

SCRIPT = "# it's a script\necho \"$HOME\" 'x'\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kp", ("kp",)),
        ("suu", ("suu",)),
        ("sudo", ("sudo",)),
        ("/system_ext/bin/su", ("/system_ext/bin/su",)),
        ("/debug_ramdisk/su", ("/debug_ramdisk/su",)),
        ("su -mm", ("su", "-mm")),
        ("su -Z u:r:su:s0", ("su", "-Z", "u:r:su:s0")),
        ("  '/sbin/su'   \"0\" ", ("/sbin/su", "0")),
        ("su root,shell", ("su", "root,shell")),
    ],
)
def test_names_paths_and_plain_arguments(text: str, words: tuple[str, ...]) -> None:
    assert SuCommand.parse(text) == SuCommand(words)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "''",
            "-c",
            "su;id",
            "su; id",
            "su|id",
            "su&",
            "su >x",
            "$SU",
            "`id`",
            "su $(id)",
        ),
        *(
            "su '\n'",
            "~/su",
            "./su",
            "../su",
            "/../su",
            "su '",
            "su \\",
            "A=b su",
            "su 'a b'",
        ),
        *(
            "su *",
            "su #",
            "/",
            "//su",
            "/bin/",
            "sü",
            "su é",
            "su \0",
            "su !",
            "su {a,b}",
            "s" * 200,
        ),
    ],
)
def test_what_is_no_program_is_refused_and_says_where_it_stood(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        SuCommand.parse(text, "$KHEADERS_ADB_SU_COMMAND")
    assert caught.value.seen.startswith("$KHEADERS_ADB_SU_COMMAND: ")
    assert "an absolute path" in (caught.value.hint or "")


@generated()
@given(st.text() | st.text(alphabet="su/-.$;'\"\\ `(){}&|<>\n#=A0"))
def test_whatever_is_accepted_is_words_and_nothing_else(text: str) -> None:
    try:
        command = SuCommand.parse(text)
    except UsageError:
        return
    for dialect in SuDialect:
        line = Su(command, dialect).run(SCRIPT)
        words = shlex.split(line)
        assert tuple(words[: len(command.words)]) == command.words
        assert words[-1] == SCRIPT
        # And a real shell sees the same words: a function stands in for the program.
        told = subprocess.run(
            ["sh", "-c", 'set -f; eval "set -- $1"; printf "%s\\0" "$@"', "sh", line],
            capture_output=True,
            check=True,
        ).stdout
        assert told.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("su", ["su -c X", "su 0 sh -c X", "su root sh -c X"]),
        ("kp", ["kp -c X", "kp 0 sh -c X", "kp root sh -c X", "kp sh -c X"]),
        ("su -mm", ["su -mm -c X", "su -mm sh -c X"]),
        ("su 0", ["su 0 -c X", "su 0 sh -c X"]),
        ("sudo", ["sudo -n sh -c X"]),
        ("/usr/bin/sudo -u root", ["/usr/bin/sudo -u root -n sh -c X"]),
        ("doas", ["doas -n sh -c X"]),
    ],
)
def test_the_dialects_in_their_order(text: str, lines: list[str]) -> None:
    command = SuCommand.parse(text)
    assert [Su(command, dialect).run("X") for dialect in command.dialects] == lines
    assert str(command) == text
