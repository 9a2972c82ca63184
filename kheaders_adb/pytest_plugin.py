"""For tests of BPF programs: the fixtures ``kheaders`` and ``bpf_compile``, and the mark ``kheaders``.

pytest loads this in every run of everyone who has the package installed: nothing is imported here that
only a test which asks for a fixture needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kheaders_adb.api import Staged
    from kheaders_adb.pytest_workers import Shared

_GROUP = "kheaders-adb"
_ALL = "all"
_MARK = (
    "kheaders(release=None, arch=None, level=None, unmet=None): run only where the device's kernel and the "
    "verdict on its headers are such; unmet: 'skip' or 'fail', else as the command line says"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the devices and the store."""
    group = parser.getgroup(_GROUP, "kernel headers over adb")
    group.addoption(
        "--kheaders-serial",
        metavar="SERIAL",
        action="append",
        help="The device whose kernel's headers the fixtures stage ($ANDROID_SERIAL). May be repeated, or be "
        "'all': then each test that asks for them runs once a device.",
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
    group.addoption(
        "--kheaders-unmet",
        metavar="skip|fail",
        choices=("skip", "fail"),
        default="skip",
        help="What becomes of a test whose mark demands another kernel or verdict.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _MARK)


class _Headers:
    """What is staged for each device of this run, and what is said of those for which nothing is."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._serials: list[str] | None = None
        self._found: dict[str | None, Staged | str] = {}
        self._told: set[str | None] = set()
        self._shared: Shared | None = None

    @staticmethod
    def of(config: pytest.Config) -> _Headers:
        return config.stash.setdefault(_HEADERS, _Headers(config))

    @property
    def shared(self) -> Shared:
        """What the workers of this run know together, if there are any."""
        if self._shared is None:
            from kheaders_adb.pytest_workers import Shared

            self._shared = Shared(getattr(self._config, "workerinput", {}).get(_GROUP))
        return self._shared

    @property
    def serials(self) -> list[str]:
        """The devices that were named, or all; empty for the only one, or if nobody can tell."""
        if self._serials is None:
            named = self._config.getoption("--kheaders-serial") or []
            if _ALL in named:
                # All workers must collect the same tests.
                found = self.shared.once("serials", self._all)
                if isinstance(found, str):
                    self._found[None] = found
                self._serials = [] if isinstance(found, str) else found
            else:
                self._serials = list(dict.fromkeys(named))
        return self._serials

    def _all(self) -> list[str] | str:
        from kheaders_adb.api import usable_serials
        from kheaders_adb.errors import KheadersError

        try:
            # Where there are none, selecting the only one says what is there instead.
            return list(dict.fromkeys(usable_serials()))
        except KheadersError as error:
            return _told(error)

    def serial_of(self, item: pytest.Item) -> str | None:
        """The device that a test runs with; None for the only one."""
        if len(self.serials) > 1 and (call := getattr(item, "callspec", None)) is not None:
            serial: str | None = call.params.get("kheaders")
            return serial
        return self.only

    @property
    def only(self) -> str | None:
        """The device where there are not several."""
        return self.serials[0] if len(self.serials) == 1 else None

    def staged(self, serial: str | None) -> Staged | str:
        """What is staged for a device, or why nothing is; it is asked once."""
        if serial not in self._found:
            self._found[serial] = self.shared.once(f"staged {serial}", lambda: self._stage(serial))
        return self._found[serial]

    def lines(self) -> list[str]:
        """What is said of each device that was asked."""
        return [_line(serial, found) for serial, found in self._found.items()]

    def _stage(self, serial: str | None) -> Staged | str:
        from kheaders_adb.api import ensure
        from kheaders_adb.errors import KheadersError

        option = self._config.getoption
        try:
            return ensure(
                serial,
                module=option("--kheaders-module"),
                store=option("--kheaders-store"),
                privilege=option("--kheaders-privilege"),
                on_change=_announcer(self._config),
            )
        except KheadersError as error:
            return _told(error)

    def require(self, serial: str | None) -> Staged:
        """What is staged for a device; else the test errs, and the first one says why.

        It errs rather than is skipped: a test that was to run on a device has not run.
        """
        found = self.staged(serial)
        if not isinstance(found, str):
            return found
        if serial in self._told or not self.shared.is_first(f"told {serial}"):
            found = f"{_shown(serial)}: no headers; the first test that asked for them says why"
        self._told.add(serial)
        # Not while an error is handled: pytest would show it as well, with whatever a device has said in it.
        pytest.fail(found, pytrace=False)


_HEADERS = pytest.StashKey[_Headers]()
_FOLDER = pytest.StashKey[str]()
_LINES = pytest.StashKey[list[str]]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once a device, if there are several."""
    if _asks(metafunc.definition) and len(serials := _Headers.of(metafunc.config).serials) > 1:
        metafunc.parametrize("kheaders", serials, indirect=True, scope="session")


def pytest_report_collectionfinish(
    config: pytest.Config, items: Iterable[pytest.Item]
) -> list[str]:
    """Stage before the first test, and say at the head of the report what the tests run with."""
    if not _runs_tests(config):
        return []
    headers = _Headers.of(config)
    serials = dict.fromkeys(headers.serial_of(item) for item in items if _asks(item))
    return [_line(serial, headers.staged(serial)) for serial in serials]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the controller of xdist, which collects nothing: give its workers a place for what they find out."""
    stash = node.config.stash
    if _FOLDER not in stash:
        stash[_FOLDER] = mkdtemp(prefix="kheaders-adb-pytest-")
    node.workerinput[_GROUP] = stash[_FOLDER]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: tell the controller what the tests ran with, which it says at the end of the report."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and _HEADERS in session.config.stash:
        output[_GROUP] = _Headers.of(session.config).lines()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the controller: what a worker has told; one that died has told nothing."""
    lines = node.config.stash.setdefault(_LINES, [])
    lines += getattr(node, "workeroutput", {}).get(_GROUP, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say once for each device what the workers' tests ran with."""
    lines: list[str] = config.stash.get(_LINES, [])
    for line in sorted(set(lines)):
        terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the workers needed."""
    if _FOLDER in config.stash:
        rmtree(config.stash[_FOLDER], ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note what a test runs with, for JUnit's properties among others, and see to what its mark demands."""
    if not _runs_tests(item.config):
        return
    marks = list(item.iter_markers("kheaders"))
    if not _asks(item):
        if marks:
            pytest.fail("it has the mark kheaders, but does not ask for the fixture", pytrace=False)
        return
    headers = _Headers.of(item.config)
    serial = headers.serial_of(item)
    if serial is not None:
        item.user_properties.append(("kheaders_serial", _shown(serial)))
    staged = headers.require(serial)
    if serial is None:
        item.user_properties.append(("kheaders_serial", _shown(staged.serial)))
    item.user_properties += [
        ("kheaders_release", _shown(staged.kernel.release)),
        ("kheaders_level", str(staged.verdict.level)),
    ]
    for mark in marks:
        _see_to(mark, staged, item.config)


def _see_to(mark: pytest.Mark, staged: Staged, config: pytest.Config) -> None:
    from kheaders_adb.errors import UsageError
    from kheaders_adb.kernel.demand import Demand

    demand = {"unmet": config.getoption("--kheaders-unmet"), **mark.kwargs}
    otherwise = demand.pop("unmet")
    said = "the mark kheaders takes release, arch, level, and unmet ('skip' or 'fail'), by name"
    if not mark.args and otherwise in ("skip", "fail"):
        try:
            wanted = Demand.of(**demand)
        except UsageError as error:
            said = f"the mark kheaders: {error}"
        except (TypeError, AttributeError):  # an argument of another name or type
            pass
        else:
            said = ""
    if said:
        pytest.fail(said, pytrace=False)
    unmet = wanted.unmet(staged.kernel, staged.verdict)
    if unmet:
        reason = _shown(f"{staged.serial}: {'; '.join(unmet)}")
        if otherwise == "skip":
            pytest.skip(reason)
        pytest.fail(reason, pytrace=False)


@pytest.fixture(scope="session")
def kheaders(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Staged:
    """The staged headers of the kernel that the selected device runs; of each, where there are several."""
    headers = _Headers.of(pytestconfig)
    return headers.require(getattr(request, "param", headers.only))


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


def _asks(item: pytest.Item) -> bool:
    """Whether a test asks for our fixture, and not for one of that name that its author made of it."""
    known = getattr(item, "_fixtureinfo", None)  # doctests and other plugins' tests may have none
    found: Any = known.name2fixturedefs.get("kheaders") if known is not None else None
    return found is not None and found[-1].func.__module__ == __name__


def _runs_tests(config: pytest.Config) -> bool:
    return not (config.getoption("collectonly") or config.getoption("setupplan", False))


def _announcer(config: pytest.Config) -> Callable[[str], None] | None:
    """Who says at once what is changed on the device, past pytest's capturing: later may be too late.

    None in a worker of xdist, which has no terminal: then it is a warning of the API's logger.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None:
        return None

    def announce(text: str) -> None:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            reporter.ensure_newline()
            reporter.write_line(f"kheaders-adb: {_shown(text)}")

    return announce


def _line(serial: str | None, found: Staged | str) -> str:
    if isinstance(found, str):
        return f"{_GROUP}: {_shown(serial)}: no headers"
    release, machine = _shown(found.kernel.release), _shown(found.kernel.machine)
    return f"{_GROUP}: {_shown(found.serial)}: {release} {machine}, headers {found.verdict.level}"


def _shown(text: str | None) -> str:
    from kheaders_adb.untrusted.text import harmless

    return harmless(text if text is not None else "the device")


def _told(error: Exception) -> str:
    from kheaders_adb.untrusted.text import harmless

    hint = getattr(error, "hint", None)
    notes = getattr(error, "__notes__", [])
    return harmless(
        "\n".join([str(error), *notes, *([f"hint: {hint}"] if hint else [])]), keep="\t"
    )
