"""Importing an archive: only what was said of the kernel is put to the proof, and proves anything."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.archives.rewrite import rewritten
from kheaders_adb.errors import ArchiveError, CorruptArchiveError, MismatchError, UsageError
from kheaders_adb.importing.claim import Claim, read_claimed_config
from kheaders_adb.importing.from_archive import import_archive
from kheaders_adb.kernel.autoconf import AUTOCONF
from kheaders_adb.model import Check, CheckStatus, Level
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from tests.unit.archive.helpers import SMALL, rule_of
from tests.unit.kernel.test_facts import real_facts

AGREE, UNKNOWN = CheckStatus.AGREE, CheckStatus.UNKNOWN
FACTS = real_facts()
assert FACTS.config is not None
SYMBOLS = "".join(f"CONFIG_{name}={value}\n" for name, value in FACTS.config.items()).encode()
HEADING = b"# Linux/x86_64 6.1.192 Kernel Configuration\n"
CONFIG = HEADING + SYMBOLS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.open(tmp_path / "store")


def checks(record: KernelRecord) -> dict[str, Check]:
    return {check.name: check for check in record.verdict.checks}


def agreeing(record: KernelRecord) -> set[str]:
    return {name for name, check in checks(record).items() if check.status is AGREE}


def test_without_a_word_it_is_compared_with_nothing(store: Store) -> None:
    record = import_archive(SMALL, store)
    assert record.verdict.level is Level.UNMATCHED
    assert record.verdict.checks == ()


def test_one_that_takes_anothers_place_says_so(store: Store, tmp_path: Path) -> None:
    """A release does not tell builds apart, and nothing else is known."""
    other = with_autoconf(tmp_path / "other.tar.xz", lambda text: text + b"#define CONFIG_O 1\n")
    told: list[str] = []
    for path in (SMALL, SMALL, other):
        assert told == []
        record = import_archive(path, store, on_note=told.append)
    assert [found.tree for found in store.records()] == [record.tree]
    assert [note for note in told if "takes the place of another archive" in note]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_configuration_says_nothing_of_release_and_machine(
    store: Store, pack: Callable[[bytes], bytes]
) -> None:
    record = import_archive(SMALL, store, Claim(config=pack(CONFIG)))
    assert agreeing(record) == {"config"}
    assert record.verdict.level is Level.CONSISTENT
    for name in ("release", "machine", "version"):
        assert checks(record)[name].expected is None, "nobody said it"
    assert record.identity.release == "6.1.192-android14-lab", (
        "it has a name in the store all the same"
    )


def test_a_release_says_nothing_of_the_configuration(store: Store) -> None:
    record = import_archive(SMALL, store, Claim(release="6.1.192-android14-lab"))
    assert agreeing(record) == {"release"}
    assert record.verdict.level is Level.CONSISTENT


def test_both_are_compared(store: Store) -> None:
    claim = Claim(config=CONFIG, release="6.1.192-android14-lab")
    record = import_archive(SMALL, store, claim)
    assert agreeing(record) == {"release", "config"}
    assert record.verdict.level is Level.EXACT
    again = import_archive(SMALL, store, claim)
    assert (again.verdict, again.tree) == (record.verdict, record.tree), "staged, and judged anew"


@pytest.mark.parametrize(
    "claim",
    [
        Claim(config=CONFIG, release="6.1.192"),
        Claim(release="6.1.192"),
        Claim(config=CONFIG + b"CONFIG_DEBUG_LIST=y\n"),
        Claim(config=CONFIG + b"# CONFIG_SMP is not set\n"),
    ],
    ids=["release and config", "release", "one symbol more", "one symbol taken back"],
)
def test_what_was_said_and_differs_is_a_mismatch(store: Store, claim: Claim) -> None:
    with pytest.raises(MismatchError):
        import_archive(SMALL, store, claim)


def test_a_configuration_of_another_linux_is_no_proof(store: Store) -> None:
    """All its symbols are the archive's; what it says of itself is not."""
    config = CONFIG.replace(b"6.1.192", b"6.1.75")
    record = import_archive(SMALL, store, Claim(config=config, release="6.1.192-android14-lab"))
    assert record.verdict.level is Level.CONSISTENT
    check = checks(record)["config"]
    assert check.status is UNKNOWN
    assert check.note is not None
    assert '"Linux/x86_64 6.1.75", the archive is of Linux 6.1.192' in check.note


def with_autoconf(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """The small archive with another autoconf.h."""
    path.write_bytes(
        rewritten(
            SMALL.read_bytes(),
            lambda name, content: change(content) if name == AUTOCONF else content,
        )
    )
    return path


def test_an_odd_autoconf_is_refused(store: Store, tmp_path: Path) -> None:
    odd = with_autoconf(tmp_path / "odd.tar.xz", lambda text: text + b"#undef CONFIG_SMP\n")
    with pytest.raises(CorruptArchiveError) as caught:
        import_archive(odd, store, Claim(config=CONFIG))
    assert rule_of(caught.value) == "autoconf-odd"
    assert '"#undef CONFIG_SMP" is not as Kconfig writes it' in str(caught.value)
    assert not list((tmp_path / "store" / "trees").iterdir())


def test_the_heading_of_an_archive_is_kept_with_its_tree(store: Store, tmp_path: Path) -> None:
    """Archives have it stripped; of one that has not, it counts when it is judged again as well."""
    title = b"/*\n * Linux/x86_64 6.1.75 Kernel Configuration\n */\n"
    path = with_autoconf(tmp_path / "headed.tar.xz", lambda text: title + text)
    claim = Claim(config=SYMBOLS, release="6.1.192-android14-lab")
    for _ in range(2):
        record = import_archive(path, store, claim)
        assert record.verdict.level is Level.CONSISTENT
        assert "autoconf.h is headed" in (checks(record)["config"].note or "")


def test_a_configuration_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    cap = DEFAULT_LIMITS.config_bytes
    (tmp_path / "config").write_bytes(b"#" * cap)
    assert len(read_claimed_config(tmp_path / "config")) == cap
    (tmp_path / "long").write_bytes(b"#" * (cap + 1))
    with pytest.raises(UsageError, match="is no configuration: it has more than"):
        read_claimed_config(tmp_path / "long")
    with pytest.raises(UsageError, match="is a device, not a file"):
        read_claimed_config(Path("/dev/zero"))
    with pytest.raises(UsageError, match="does not exist"):
        read_claimed_config(tmp_path / "absent")


def test_an_archive_beyond_all_measure_is_not_read(store: Store, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.write(b"\xfd7zXZ\0\0\4")
        file.truncate(1 << 40)
    with pytest.raises(ArchiveError, match="compressed-too-large"):
        import_archive(tmp_path / "huge", store)


def test_a_configuration_that_is_none_is_named(store: Store) -> None:
    with pytest.raises(ArchiveError, match="config-empty"):
        import_archive(SMALL, store, Claim(config=b"hello\n"))
