"""What users are told to do: it can be done, and doing it does no harm that they were not told of.

All texts of the package are looked at, as the source has them, so that no hint is missed.
"""

from __future__ import annotations

import re

import pytest

from kheaders_adb import errors
from tests.unit.golden import FOLDER
from tests.unit.said import HOLE, Message, texts

SAID = list(texts())
HELP = {path.stem.removeprefix("help-"): path.read_text() for path in FOLDER.glob("help-*.txt")}

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_QUOTED = re.compile(r"`([^`\n]+)`")
ADB = {"connect", "devices", "kill-server", "reconnect", "root", "shell", "start-server", "unroot"}
NAMES = {"clang", "latest", "dmesg", "fastboot", "fuser", "lsmod", "zstd"}

# What a hint may name only together with what it costs, or what must be so before.
NEVER = ""
HARMFUL = {
    r"adb kill-server": "every adb session on this host",
    r"\brmmod\b": NEVER,  # somebody may be using what is loaded
    r"\bmodprobe\b|insmod by hand": NEVER,  # only what was checked is inserted
    r"adb reboot": NEVER,  # an update may be running
    r"--repair-config": NEVER,  # with a wrong /proc/config.gz it yields a wrong tree in silence
    r"setenforce|disable-verity|without lockdown|chmod 777|rm -rf": NEVER,
}


def is_for_users(message: Message) -> bool:
    """Sentences; not names, formats and code."""
    return len(message.text.split()) > 3 and not message.where.startswith("ebpf/compile.py")


def test_the_texts_were_found() -> None:
    hints = {kind.default_hint for kind in vars(errors).values() if hasattr(kind, "default_hint")}
    assert hints - {None} <= {message.text for message in SAID}
    assert len([message for message in SAID if is_for_users(message)]) > 300


def test_every_option_that_is_named_exists() -> None:
    pages = [*HELP.values(), (FOLDER / "help.txt").read_text()]
    options = {option for text in pages for option in _OPTION.findall(text)}
    assert {"--su-command", "--install-completion"} <= options
    wrong = [
        (option, message)
        for message in SAID
        if is_for_users(message)
        for option in _OPTION.findall(message.text)
        if option not in options
    ]
    assert wrong == []


def test_every_command_that_is_named_exists() -> None:
    """In backticks: one of ours, of adb's, or a tool that every device or host has."""
    wrong = []
    for message in filter(is_for_users, SAID):
        for command in _QUOTED.findall(message.text):
            words = command.split()
            if words[0] == "adb":
                known = len(words) == 1 or words[1] in ADB
            elif words[0] == "kheaders-adb":
                known = len(words) == 1 or words[1].rstrip(HOLE) in HELP
            else:
                known = words[0] in HELP.keys() | NAMES or not re.fullmatch(r"[a-z-]+", words[0])
            if not known:
                wrong.append((command, message))
    assert wrong == []


@pytest.mark.parametrize("pattern", HARMFUL)
def test_what_can_do_harm_is_not_advised_or_says_what_it_costs(pattern: str) -> None:
    cost = HARMFUL[pattern]
    wrong = [
        message
        for message in SAID
        if re.search(pattern, message.text)
        and is_for_users(message)
        # The option's own help says what it does.
        and not message.where.startswith("cli/")
        and (cost == NEVER or cost not in message.text)
    ]
    assert wrong == []
