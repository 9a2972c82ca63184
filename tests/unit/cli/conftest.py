"""The command line, run in this process with the streams caught."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.cli.main import main
from kheaders_adb.cli.process import ENDING
from tests.wire.server import Server


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        assert document["schema"] == 1
        return document


Run = Callable[..., Done]

VARIABLES = (
    "ANDROID_",
    "ADB_",
    "KHEADERS_",
    "ADBUTILS_",
    "NO_COLOR",
    "FORCE_COLOR",
    "TERM",
    "CI",
    "CLANG",
    "_TYPER",
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store_path: Path) -> None:
    """No variable of the user's adb or store, a terminal of 80 columns, a store of the test's own."""
    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("KHEADERS_ADB_STORE", str(store_path))
    monkeypatch.setenv("CLANG", "/bin/false")
    # Nothing listens there, and no server is started at an address that is not local.
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{tmp_path / 'adb'}")


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Done]]:
    """Run the command line with these arguments."""
    before = {number: signal.getsignal(number) for number in ENDING}

    def command(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["kheaders-adb", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Done(code or 0, out, err)

    yield command
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A fake adb server without devices, which the environment points to."""
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{server.port}")
    return server
