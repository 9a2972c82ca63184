"""Fixtures for tests of BPF programs: ``kheaders`` and ``bpf_compile``.

pytest loads this in every run of everyone who has the package installed: nothing is imported here that
only a test which asks for a fixture needs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kheaders_adb.api import Staged

_GROUP = "kheaders-adb"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the device and the store."""
    group = parser.getgroup(_GROUP, "kernel headers over adb")
    group.addoption(
        "--kheaders-serial",
        metavar="SERIAL",
        help="The device whose kernel's headers the fixtures stage ($ANDROID_SERIAL).",
    )
    group.addoption(
        "--kheaders-module",
        metavar="FILE|DIR",
        type=Path,
        help="A kheaders.ko to load where the device's kernel shows no headers.",
    )
    group.addoption(
        "--kheaders-store",
        metavar="DIR",
        type=Path,
        help="Where headers are staged ($KHEADERS_ADB_STORE, or the user's cache directory).",
    )
    group.addoption(
        "--kheaders-privilege",
        metavar="none|su|adbd|auto",
        choices=("none", "su", "adbd", "auto"),
        default="auto",
        help="How to become root where that is needed; auto: su, else `adb root`, undone afterwards.",
    )


@pytest.fixture(scope="session")
def kheaders(pytestconfig: pytest.Config) -> Staged:
    """The staged headers of the kernel that the selected device runs.

    Without a device the test errs rather than skips: a test that was to run on one has not run.
    """
    from kheaders_adb.api import ensure
    from kheaders_adb.errors import KheadersError
    from kheaders_adb.model import Privilege

    try:
        return ensure(
            pytestconfig.getoption("--kheaders-serial"),
            module=pytestconfig.getoption("--kheaders-module"),
            store=pytestconfig.getoption("--kheaders-store"),
            privilege=Privilege(pytestconfig.getoption("--kheaders-privilege")),
            on_change=_announcer(pytestconfig),
        )
    except KheadersError as error:
        told = _told(error)
    # Not while the error is handled: pytest would show it as well, with whatever a device has said in it.
    pytest.fail(told, pytrace=False)


@pytest.fixture
def bpf_compile(kheaders: Staged, tmp_path: Path) -> Callable[..., Path]:
    """Compile a BPF program against those headers and return the object's path.

    Takes what ``Staged.compile`` takes; the object goes to the test's ``tmp_path``.
    """
    from kheaders_adb.errors import CompileError

    def compile_into_tmp_path(source: str | Path, **options: Any) -> Path:
        name = Path(source).with_suffix(".o").name
        try:
            return kheaders.compile(source, tmp_path / name, **options)
        except CompileError as error:
            told = _told(error)
        pytest.fail(told, pytrace=False)

    return compile_into_tmp_path


def _announcer(config: pytest.Config) -> Callable[[str], None] | None:
    """Who says at once what is changed on the device, past pytest's capturing: later may be too late.

    None in a worker of xdist, which has no terminal: then it is a warning of the API's logger.
    """
    from kheaders_adb.untrusted.text import harmless

    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None:
        return None

    def announce(text: str) -> None:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            reporter.ensure_newline()
            reporter.write_line(f"kheaders-adb: {harmless(text)}")

    return announce


def _told(error: Exception) -> str:
    from kheaders_adb.untrusted.text import harmless

    hint = getattr(error, "hint", None)
    notes = getattr(error, "__notes__", [])
    return harmless(
        "\n".join([str(error), *notes, *([f"hint: {hint}"] if hint else [])]), keep="\t"
    )
