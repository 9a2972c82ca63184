"""The pytest plugin and the API: what a device says acts on no terminal there either."""

from __future__ import annotations

import logging
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import kheaders_adb
from kheaders_adb.model import Privilege

from .cases import LISTING, PROBE, READ
from .devices import State
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


def run_pytest(cli: Cli, server: Server, folder: Path, *options: str, test: str = TEST) -> str:
    """What pytest writes, run by itself on a test that asks for the headers."""
    (folder / "test_it.py").write_text(test)
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
    assert SHOWN in said
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


SEVERAL = """
import pytest

def test_one(kheaders):
    print("RUNS WITH", kheaders.serial)

@pytest.mark.parametrize("number", [1, 2])
def test_other(number, kheaders):
    pass

def test_without():
    pass
"""


def properties(path: Path) -> dict[str, dict[str, str]]:
    """JUnit's properties of each test."""
    return {
        case.attrib["name"]: {
            found.attrib["name"]: found.attrib["value"] for found in case.iter("property")
        }
        for case in ET.parse(path).iter("testcase")
    }


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=str)
@pytest.mark.parametrize(
    "chosen",
    [("--kheaders-serial=all",), ("--kheaders-serial=A1", "--kheaders-serial=B2")],
    ids=str,
)
def test_each_test_runs_once_a_device(
    cli: Cli, server: Server, tmp_path: Path, chosen: tuple[str, ...], workers: tuple[str, ...]
) -> None:
    server.add_device("B2", kernel=Kernel(release="5.15.1", headers=2))
    server.add_device("A1", kernel=Kernel(headers=2))
    server.add_device("C3", state=State.OFFLINE)
    said = run_pytest(cli, server, tmp_path, *chosen, *workers, "--junitxml=out.xml", test=SEVERAL)
    assert "7 passed" in said, said
    noted = properties(tmp_path / "out.xml")
    assert noted["test_one[B2]"] == {
        "kheaders_serial": "B2",
        "kheaders_release": "5.15.1",
        "kheaders_level": "exact",
    }
    assert noted["test_one[A1]"]["kheaders_serial"] == "A1"
    assert noted["test_without"] == {}
    assert len(noted) == 7
    assert said.count("kheaders-adb: B2: 5.15.1 aarch64, headers exact") == 1
    assert said.count("kheaders-adb: A1: ") == 1
    assert len(server.services(READ)) == 2
    assert len(server.services(PROBE)) == 2, "each device is asked once"
    assert [path.name for path in tmp_path.iterdir() if "kheaders-adb-" in path.name] == []


def test_one_device_leaves_names_as_they_are(cli: Cli, server: Server, tmp_path: Path) -> None:
    server.add_device("A1", kernel=Kernel(headers=2))
    said = run_pytest(cli, server, tmp_path, "-v", "--kheaders-serial=all", test=SEVERAL)
    assert "test_it.py::test_one PASSED" in said, said
    assert "kheaders-adb: A1: 6.1.75-" in said


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=str)
@pytest.mark.parametrize("chosen", [(), ("--kheaders-serial=all",)], ids=str)
def test_why_there_are_none_is_said_once(
    cli: Cli, server: Server, tmp_path: Path, chosen: tuple[str, ...], workers: tuple[str, ...]
) -> None:
    said = run_pytest(cli, server, tmp_path, *chosen, *workers, test=SEVERAL)
    assert "1 passed, 3 errors" in said, said
    assert said.count("kheaders-adb: the device: no headers") == 1
    assert said.count("hint: ") == 1
    assert said.count("the first test that asked for them says why") >= 2


DYING = """
import os
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(number, kheaders):
    if number == 1:
        os._exit(3)
"""


def test_a_worker_that_dies_is_replaced_by_one_that_knows(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    server.add_device("A1", kernel=Kernel(headers=2))
    said = run_pytest(cli, server, tmp_path, "-n", "1", test=DYING)
    assert "1 failed, 3 passed" in said, said
    assert said.count("kheaders-adb: A1: ") == 1
    assert len(server.services(PROBE)) == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--collect-only",),
        ("--setup-plan",),
        ("--deselect=test_it.py",),
        ("-n", "2", "-k", "test_without"),
    ],
    ids=str,
)
def test_no_device_is_asked_where_no_test_needs_one(
    cli: Cli, server: Server, tmp_path: Path, options: tuple[str, ...]
) -> None:
    server.add_device("A1", kernel=Kernel(headers=2))
    run_pytest(cli, server, tmp_path, *options, test=SEVERAL)
    assert server.services(LISTING) == []


MARKED = """
import pytest

@pytest.mark.kheaders(release=">=6.1", arch="arm64", level="exact")
def test_met(kheaders):
    pass

@pytest.mark.kheaders(release=">=6.6", arch="x86")
def test_unmet(bpf_compile):
    raise AssertionError("it ran")

@pytest.mark.kheaders(level="mismatch", unmet="fail")
def test_must(kheaders):
    raise AssertionError("it ran")

@pytest.mark.kheaders(release="newest")
def test_odd(kheaders):
    raise AssertionError("it ran")

@pytest.mark.kheaders(realease=">=6.1")
def test_misspelt(kheaders):
    raise AssertionError("it ran")

@pytest.mark.kheaders(arch="arm64")
def test_without():
    raise AssertionError("it ran")
"""


@pytest.mark.parametrize("unmet", ["skip", "fail"])
def test_a_mark_skips_or_fails(cli: Cli, server: Server, tmp_path: Path, unmet: str) -> None:
    server.add_device("A1", kernel=Kernel(headers=2))
    said = run_pytest(
        cli, server, tmp_path, "-rs", "--strict-markers", f"--kheaders-unmet={unmet}", test=MARKED
    )
    wanted = "1 passed, 1 skipped, 4 errors" if unmet == "skip" else "1 passed, 5 errors"
    assert wanted in said, said
    assert "it ran" not in said.replace('AssertionError("it ran")', "")
    assert "wanted is >=6.6; the kernel's architecture is aarch64, wanted is x86" in said
    assert "A1: the headers are exact, wanted is mismatch" in said
    assert "the mark kheaders: release: 'newest' is no condition" in said
    assert "the mark kheaders takes release, arch, level, and unmet" in said
    assert "it has the mark kheaders, but does not ask for the fixture" in said


OWN = """
import pytest

@pytest.fixture
def kheaders():
    return "mine"

def test_it(kheaders):
    assert kheaders == "mine"
"""


def test_a_fixture_of_that_name_of_somebody_else(cli: Cli, server: Server, tmp_path: Path) -> None:
    for serial in ("A1", "B2"):
        server.add_device(serial)
    said = run_pytest(cli, server, tmp_path, "--kheaders-serial=all", test=OWN)
    assert "1 passed" in said, said
    assert server.services(READ) == []


FOREIGN = """
import sys

def test_it():
    ours = {name for name in sys.modules if name.startswith("kheaders_adb.")}
    assert ours == {"kheaders_adb.pytest_plugin"}
"""


def test_a_run_without_devices_imports_nothing_of_ours(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    said = run_pytest(cli, server, tmp_path, "--kheaders-serial=all", test=FOREIGN)
    assert "1 passed" in said, said
    assert server.log == []
