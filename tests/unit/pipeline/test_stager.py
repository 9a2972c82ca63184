"""Staging headers that differ: what is repaired, what is not, and what the user is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.errors import DeadlineError, MismatchError
from kheaders_adb.importing.claim import Claim
from kheaders_adb.importing.from_archive import import_archive
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.match import match
from kheaders_adb.model import (
    ArchiveFacts,
    HeaderSource,
    KernelIdentity,
    Level,
    SourceKind,
    Verdict,
)
from kheaders_adb.pipeline.options import Tolerance
from kheaders_adb.pipeline.stager import Judged, Stager
from kheaders_adb.pipeline.surveying import read_facts
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.records import RULES
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from tests.unit.kernel.test_survey import HEADERS
from tests.unit.store.helpers import pack, stage

RELEASE = "6.1.0"
TREE: dict[str, bytes | str] = {
    **HEADERS,
    "include/generated/autoconf.h": b"""\
#define CONFIG_SMP 1
#define CONFIG_HZ 250
#define CONFIG_BASE 0x10
""",
    "include/generated/utsrelease.h": b'#define UTS_RELEASE "6.1.0"\n',
}
FITTING = b"CONFIG_SMP=y\nCONFIG_HZ=250\nCONFIG_BASE=10\n"
# Tested in sched.h, where no generated header looks.
HARMLESS = FITTING + b"CONFIG_PREEMPT_RCU=y\nCONFIG_BASE=20\n"
# Decides MAX_NR_ZONES.
ZONES = HARMLESS + b"CONFIG_ZONE_DMA32=y\n"
BOTH = Tolerance.REPAIRED | Tolerance.MISMATCHED


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store.open(store_path)


@pytest.fixture(params=["new", "stored"])
def archive(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Path:
    """An archive, as one that the store has and as one that it has not."""
    path = tmp_path / "kheaders.tar.xz"
    path.write_bytes(pack(TREE))
    if request.param == "stored":
        import_archive(path, store)
    return path


def taken(
    store: Store, archive: Path, config: bytes, tolerance: Tolerance, release: str = RELEASE
) -> tuple[KernelRecord, list[str]]:
    notes: list[str] = []
    claim = Claim(config=config, release=release)
    record = import_archive(archive, store, claim, tolerance=tolerance, on_note=notes.append)
    return record, notes


def text(store: Store, record: KernelRecord, name: str) -> str:
    return (store.tree_path(record.tree) / "include/generated" / name).read_text()


@pytest.mark.parametrize("tolerance", [Tolerance.REPAIRED, BOTH])
def test_what_can_be_repaired_is_repaired(
    store: Store, archive: Path, tolerance: Tolerance
) -> None:
    record, notes = taken(store, archive, HARMLESS, tolerance)
    assert (record.verdict.level, notes) == (Level.REPAIRED, [])
    autoconf = text(store, record, "autoconf.h").splitlines()
    assert "#define CONFIG_PREEMPT_RCU 1" in autoconf
    assert "#define CONFIG_BASE 0x20" in autoconf, "Kconfig adds the prefix in C"
    assert "#define CONFIG_HZ 250" in autoconf
    offsets = text(store, record, "asm-offsets.h")
    assert offsets == "#define TASK_PID kheaders_adb_repaired_this_tree_and_has_no_TASK_PID\n"
    assert text(store, record, "bounds.h") == "#define MAX_NR_ZONES 3 \n"


def test_what_bounds_h_depends_on_is_not_repaired(store: Store, archive: Path) -> None:
    """offsetof(struct pglist_data, nr_zones) would be that of another number of zones."""
    before = sorted(path.name for path in (store.root / "trees").iterdir())
    with pytest.raises(MismatchError) as caught:
        taken(store, archive, ZONES, Tolerance.REPAIRED)
    assert (
        "a new autoconf.h does not repair this: CONFIG_ZONE_DMA32 may decide what is in "
        "include/generated/bounds.h by way of include/linux/mmzone.h" in str(caught.value)
    )
    assert sorted(path.name for path in (store.root / "trees").iterdir()) == before


def test_with_both_flags_it_is_taken_as_it_is_and_said_why(store: Store, archive: Path) -> None:
    record, notes = taken(store, archive, ZONES, BOTH)
    assert record.verdict.level is Level.MISMATCH
    assert len(notes) == 1
    assert notes[0].startswith("not repaired: CONFIG_ZONE_DMA32 may decide")
    assert "PREEMPT_RCU" not in text(store, record, "autoconf.h")


def test_a_repair_that_was_asked_for_is_never_silently_left_out(
    store: Store, archive: Path
) -> None:
    with pytest.raises(MismatchError, match=r"does not repair this: besides .* differs: release"):
        taken(store, archive, HARMLESS, Tolerance.REPAIRED, release="6.1.1")
    _, notes = taken(store, archive, HARMLESS, BOTH, release="6.1.1")
    assert notes == ["not repaired: besides the configuration differs: release"]


def test_nothing_is_said_of_a_repair_that_nobody_wants(store: Store, archive: Path) -> None:
    with pytest.raises(MismatchError) as caught:
        taken(store, archive, ZONES, Tolerance.NOTHING)
    assert "repair" not in str(caught.value)
    record, notes = taken(store, archive, ZONES, Tolerance.MISMATCHED)
    assert (record.verdict.level, notes) == (Level.MISMATCH, [])


def test_what_headers_test_comes_first_in_the_message(store: Store, archive: Path) -> None:
    with pytest.raises(MismatchError) as caught:
        taken(
            store,
            archive,
            b"CONFIG_AAA=y\nCONFIG_AAB=y\nCONFIG_AAC=y\n" + HARMLESS,
            Tolerance.NOTHING,
        )
    assert "the kernel has CONFIG_PREEMPT_RCU=y, CONFIG_AAA=y, CONFIG_AAB=y, …" in str(caught.value)
    assert (
        "5 symbols differ; tested by headers: CONFIG_PREEMPT_RCU (include/linux/sched.h); "
        in str(caught.value)
    )
    assert caught.value.verdict is not None
    assert [one.symbol for one in caught.value.verdict.differences] == [
        "AAA", "AAB", "AAC", "BASE", "PREEMPT_RCU",
    ]  # fmt: skip


def test_headers_that_fit_are_not_repaired(store: Store, archive: Path) -> None:
    record, notes = taken(store, archive, FITTING, BOTH)
    assert (record.verdict.level, notes) == (Level.EXACT, [])


@pytest.mark.parametrize(
    ("level", "accepting"),
    [
        (Level.EXACT, {"nothing", "repaired", "mismatched", "both", "staged"}),
        (Level.CONSISTENT, {"nothing", "repaired", "mismatched", "both", "staged"}),
        (Level.REPAIRED, {"repaired", "both", "staged"}),
        (Level.MISMATCH, {"mismatched", "both", "staged"}),
    ],
)
def test_which_staged_trees_are_used_again(level: Level, accepting: set[str]) -> None:
    """A tree that somebody wanted although it differs is for whoever wants the same."""
    tolerances = {
        "nothing": Tolerance.NOTHING,
        "repaired": Tolerance.REPAIRED,
        "mismatched": Tolerance.MISMATCHED,
        "both": BOTH,
        "staged": Tolerance.STAGED,
    }
    found = {name for name, one in tolerances.items() if one.accepts_staged(Verdict(level))}
    assert found == accepting


def test_a_mismatch_that_could_be_repaired_is_read_again(store: Store, archive: Path) -> None:
    record, _ = taken(store, archive, HARMLESS, Tolerance.MISMATCHED)
    assert record.verdict.level is Level.MISMATCH
    assert not BOTH.accepts_staged(record.verdict)
    repaired = replace(record.verdict, level=Level.REPAIRED)
    assert BOTH.accepts_staged(repaired)


@pytest.mark.parametrize("rules", [1, RULES])
def test_what_older_rules_have_read_is_read_again(store: Store, tmp_path: Path, rules: int) -> None:
    """Else a fault of theirs would be trusted for good, with a record that says today's rules."""
    autoconf = TREE["include/generated/autoconf.h"]
    assert isinstance(autoconf, bytes)
    data = pack(TREE | {"include/generated/autoconf.h": autoconf + b"#define CONFIG_KASAN 1\n"})
    path = tmp_path / "kheaders.tar.xz"
    path.write_bytes(data)
    stage(store, data, facts=read_facts((pack(TREE),), DEFAULT_LIMITS), rules=rules)
    if rules == RULES:
        assert taken(store, path, FITTING, Tolerance.NOTHING)[0].verdict.level is Level.EXACT
    else:
        with pytest.raises(MismatchError, match="KASAN"):
            taken(store, path, FITTING, Tolerance.NOTHING)


class Timer:
    """A `go_on` whose time is over when it is asked for the last of `times`."""

    def __init__(self, times: int = 10**9) -> None:
        self.times = times
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.asked == self.times:
            raise DeadlineError("the time is over")


def stager(store: Store, timer: Timer) -> Stager:
    """One for a kernel from which a symbol of the archive differs, which takes a survey of all headers."""
    config = parse_config(HARMLESS)
    identity = KernelIdentity(RELEASE, "#1", "x86_64")

    def judge(facts: ArchiveFacts) -> Judged:
        return Judged(identity, match(identity, config, facts), HeaderSource(SourceKind.SYSFS, "/"))

    return Stager(store, judge, config=config, tolerance=Tolerance.REPAIRED, go_on=timer)


def staged_new(store: Store, timer: Timer) -> KernelRecord:
    return stager(store, timer).stage((pack(TREE),))


def staged_again(store: Store, timer: Timer) -> KernelRecord:
    """Of an archive that older rules have read."""
    data = pack(TREE)
    stage(store, data, facts=read_facts((data,), DEFAULT_LIMITS), rules=1)
    return stager(store, timer).stage_or_restage(data)


@pytest.mark.parametrize(("staged", "readings"), [(staged_new, 2), (staged_again, 3)])
def test_the_time_is_asked_for_at_every_step_and_nothing_is_left_when_it_is_over(
    staged: Callable[[Store, Timer], KernelRecord], readings: int, store_path: Path
) -> None:
    timer = Timer()
    assert staged(Store.open(store_path / "whole"), timer).verdict.level is Level.REPAIRED
    assert timer.asked > readings * len(TREE)
    for times in range(1, timer.asked + 1):
        store = Store.open(store_path / str(times))
        with pytest.raises(DeadlineError):
            staged(store, Timer(times))
        assert store.records() == []
        assert not list((store.root / "tmp").iterdir())
        assert not list((store.root / "trees").glob("*-repaired-*"))
