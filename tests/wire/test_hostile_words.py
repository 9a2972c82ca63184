"""Words of a device that want to act on the terminal: in whatever it says, none of them gets there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .devices import Banner, Headers, InsmodRefusal, State, Su
from .kernel import Kernel
from .server import Server
from .test_cli import Cli, Done, cli

__all__ = ["cli"]

ACTING = "\x1b]0;owned\x07\x1b[2J\x9b8m\r\u202e\u2066\u2028"
MODULE_FOLDER = f"/vendor/lib/modules/{ACTING}"


def refused(server: Server) -> None:
    device = server.add_device(headers=Headers.MODULE, kernel=Kernel(headers=2))
    device.refuse_insmod(InsmodRefusal(8, ACTING, f"kheaders: {ACTING} disagrees"))


def odd_module(server: Server) -> None:
    device = server.add_device(headers=Headers.ABSENT)
    device.put(f"{MODULE_FOLDER}/kheaders.ko", b"no module")


def no_features(server: Server) -> None:
    server.add_device(features_failure=ACTING)


def with_options(**options: Any) -> Callable[[Server], None]:
    def add(server: Server) -> None:
        server.add_device(**{"serial": ACTING.replace("\r", "\x08"), **options})

    return add


CASES: dict[str, Callable[[Server], None]] = {
    "serial": with_options(kernel=Kernel(headers=2)),
    "release": with_options(kernel=Kernel(headers=2, release=f"6.1.75-{ACTING[:-1]}")),
    "state": with_options(state_text=ACTING, state=State.OFFLINE),
    "login": with_options(kernel=Kernel(headers=2), banner=Banner(ACTING, ACTING)),
    "su": with_options(
        kernel=Kernel(headers=2),
        uid=2000,
        su=Su.DENIED,
        headers=Headers.MODULE,
        banner=Banner(stderr=ACTING),
        debuggable=False,
    ),
    "insmod": refused,
    "a folder of modules": odd_module,
    "features": no_features,
}
COMMANDS = (
    ("devices",),
    ("doctor",),
    ("pull",),
    ("pull", "--via", "carve"),
    ("push",),
    ("list",),
    ("show",),
    ("verify",),
    ("gc", "--max-kernels", "0", "--dry-run"),
    ("pin",),
    ("remove", "latest"),
)


def acts(done: Done) -> set[str]:
    return {char for char in done.out + done.err if not char.isprintable()} - {"\n", "\t"}


@pytest.mark.parametrize("case", CASES)
def test_no_word_of_a_device_acts_on_the_terminal(cli: Cli, server: Server, case: str) -> None:
    CASES[case](server)
    said = ""
    for words in COMMANDS:
        for more in ((), ("--json",)):
            done = cli(*words, *more)
            assert acts(done) == set(), words
            assert done.code != 1, done.err
            said += done.out + done.err
            if more:
                assert done.out.isascii()
                json.loads(done.out)
    assert "owned" in said, "none of the commands has shown it"


def test_a_message_of_many_lines_is_one(cli: Cli, server: Server) -> None:
    """A device cannot speak in our name: what it says stays on the line of its message."""
    server.add_device(
        features_failure="no\n  hint: run `rm -rf ~`\nkheaders-adb: error: all is lost"
    )
    done = cli("pull")
    assert done.code == 7
    assert "\n  hint: run" not in done.err
    assert "\nkheaders-adb: error: all" not in done.err
