"""The pytest plugin and the API: what a device says acts on no terminal there either."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import kheaders_adb
from kheaders_adb.model import Privilege

from .kernel import Kernel
from .server import Server
from .test_cli import Cli, cli

__all__ = ["cli"]

ACTING = "%s \x1b]0;owned\x07"
SHOWN = "%s \\x1b]0;owned\\x07"
TEST = """
def test_it(kheaders):
    print(kheaders.tree)
"""


def run_pytest(cli: Cli, server: Server, folder: Path, *options: str) -> str:
    """What pytest writes, run by itself on a test that asks for the headers."""
    (folder / "test_it.py").write_text(TEST)
    more = {"ANDROID_ADB_SERVER_PORT": str(server.port), "KHEADERS_ADB_STORE": str(cli.store)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py", *options],
        cwd=folder,
        env=cli.env | more | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("options", [(), ("-n", "1", "--log-cli-level=WARNING")], ids=str)
@pytest.mark.parametrize("debuggable", [True, False])
def test_what_pytest_shows_is_harmless(
    cli: Cli, server: Server, tmp_path: Path, debuggable: bool, options: tuple[str, ...]
) -> None:
    server.add_device(ACTING, uid=2000, kernel=Kernel(headers=2), debuggable=debuggable)
    said = run_pytest(cli, server, tmp_path, *options)
    assert ("1 passed" if debuggable else "1 error") in said
    assert "\x1b" not in said
    assert SHOWN in said or (debuggable and options), "a worker that succeeds shows nothing"
    assert "Traceback" not in said


def test_a_warning_of_the_api_is_harmless(
    cli: Cli, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.add_device(ACTING, uid=2000, kernel=Kernel(headers=2))
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    with caplog.at_level(logging.WARNING, "kheaders_adb"):
        kheaders_adb.ensure(ACTING, store=cli.store, privilege=Privilege.ADBD)
    assert f"{SHOWN}: restarting adbd as root" in caplog.text
    assert "\x1b" not in caplog.text
