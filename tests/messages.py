"""A pytest plugin that writes down which test brings about which error: ``-p tests.messages``.

docs/troubleshooting.md names for each message a test that produces it; tests/unit/test_troubleshooting.py
runs these with this plugin and looks.  ``$KHEADERS_MESSAGES`` names the file: a line is a JSON list of the
test and the message, or what a program that the test ran has written.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.device.refusals import Refusal
from kheaders_adb.errors import KheadersError

FILE = os.environ.get("KHEADERS_MESSAGES", os.devnull)
_seen: set[str] = set()


def _watch(kind: type[Any], message: str) -> None:
    """Remember what each instance of `kind` says, from its attribute `message`."""
    make = kind.__init__

    def remember(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        _seen.add(getattr(self, message))

    kind.__init__ = remember


def _listen() -> None:
    """Remember what programs write: most tests of the command line run it as one."""
    communicate = subprocess.Popen.communicate

    def remember(self: Any, *arguments: Any, **named: Any) -> Any:
        streams = communicate(self, *arguments, **named)
        for text in filter(None, streams):
            _seen.add(text if isinstance(text, str) else text.decode("utf-8", "replace"))
        return streams

    subprocess.Popen.communicate = remember  # type: ignore[method-assign]


_listen()
_watch(KheadersError, "seen")
_watch(Refusal, "seen")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Write down what was said while one test ran, its fixtures included."""
    _seen.clear()
    result = yield
    with Path(FILE).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps([item.nodeid, message]) + "\n" for message in sorted(_seen))
    return result
