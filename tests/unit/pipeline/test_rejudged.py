"""What older rules have judged, judged again from the store alone: as far as its evidence goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from kheaders_adb.errors import CorruptArchiveError, StoreError
from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.match import match
from kheaders_adb.model import (
    Check,
    CheckStatus,
    HeaderSource,
    KernelIdentity,
    Level,
    SourceKind,
    SymbolDifference,
    Verdict,
)
from kheaders_adb.pipeline.rejudged import has_turned, judge_again, turned_error
from kheaders_adb.pipeline.surveying import read_facts
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.records import RULES
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from tests.unit.pipeline.test_stager import FITTING, RELEASE, TREE
from tests.unit.store.helpers import pack, record, stage

AUTOCONF = "include/generated/autoconf.h"
BOOT = "c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de"
IDENTITY = KernelIdentity(
    release=RELEASE,
    version="#1 SMP",
    machine="x86_64",
    banner=f"Linux version {RELEASE} (a@b) (gcc) #1 SMP",
    build_id="ab" * 20,
    config_sha256=sha256(FITTING).hexdigest(),
    boot_id=BOOT,
)
FACTS = read_facts((pack(TREE),), DEFAULT_LIMITS)

Older = Callable[..., KernelRecord]


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store.open(store_path)


@pytest.fixture
def older(store: Store) -> Older:
    """Stages a tree and its record as older rules did: everything agrees."""

    def made(
        *,
        config: bytes | None = FITTING,
        lines: bytes = b"",
        read_by: int = 1,
        identity: KernelIdentity = IDENTITY,
        **changes: object,
    ) -> KernelRecord:
        autoconf = TREE[AUTOCONF]
        assert isinstance(autoconf, bytes)
        # The lines are there, and the older rules did not see them.
        data = pack(TREE | {AUTOCONF: autoconf + lines})
        archive, tree = stage(store, data, facts=FACTS, rules=read_by)
        verdict = match(identity, parse_config(FITTING), FACTS, boot_id_after=BOOT)
        old = replace(record(identity, archive, tree, serial="X1"), verdict=verdict, rules=1)
        store.record(replace(old, **changes), config)  # type: ignore[arg-type]
        (found,) = store.records()
        return found

    return made


def status_of(record: KernelRecord, name: str) -> CheckStatus:
    return next(check.status for check in record.verdict.checks if check.name == name)


def test_a_verdict_that_holds_is_noted_and_counts_as_no_use(store: Store, older: Older) -> None:
    old = older()
    assert old.verdict.level is Level.EXACT
    now = judge_again(store, old)
    assert now == replace(old, rules=RULES)
    assert store.records() == [now]


def test_without_its_configuration_a_kernel_is_consistent_at_best(
    store: Store, older: Older
) -> None:
    old = older(config=None)
    now = judge_again(store, old)
    assert now.verdict.level is Level.CONSISTENT
    assert status_of(now, "config") is CheckStatus.UNKNOWN
    assert status_of(now, "release") is CheckStatus.AGREE
    assert now.identity == old.identity, "the build-id is what it was"
    assert store.records() == [now]


def test_what_older_rules_overlooked_is_a_mismatch_and_said_each_time(
    store: Store, older: Older
) -> None:
    old = older(lines=b"#define CONFIG_KASAN 1\n")
    now = judge_again(store, old)
    assert has_turned(old, now)
    assert now.verdict.differences == (SymbolDifference("KASAN", None, "y"),)
    assert store.records() == [old], "nobody has wanted that"
    error = turned_error(now)
    assert (error.device, error.verdict) == ("X1", now.verdict)
    assert "CONFIG_KASAN=y" in str(error)
    assert "no header tests it" in str(error), "as where the archive is read for the first time"


def test_facts_that_todays_rules_have_read_are_not_read_again(store: Store, older: Older) -> None:
    old = older(read_by=RULES)
    store.archive_path(old.archive.sha256).unlink()
    assert judge_again(store, old).verdict.level is Level.EXACT


def test_an_archive_that_is_gone_cannot_be_judged(store: Store, older: Older) -> None:
    old = older()
    store.archive_path(old.archive.sha256).unlink()
    with pytest.raises(StoreError, match="missing or damaged"):
        judge_again(store, old)


def test_an_archive_that_todays_rules_refuse_is_refused(store: Store, older: Older) -> None:
    old = older(lines=b"#undef CONFIG_SMP\n")
    with pytest.raises(CorruptArchiveError) as caught:
        judge_again(store, old)
    assert caught.value.rule == "autoconf-odd"
    assert caught.value.step == "judging again what an older version has staged"
    assert store.records() == [old]


def test_two_channels_that_disagree_are_not_exact(store: Store, older: Older) -> None:
    banner = "Linux version 6.1.90 (a@b) (gcc) #1 SMP"
    exact = Verdict(Level.EXACT, (Check("release", CheckStatus.AGREE, RELEASE, RELEASE),))
    old = older(identity=replace(IDENTITY, banner=banner), verdict=exact)
    assert has_turned(old, judge_again(store, old))


@pytest.mark.parametrize(
    ("kind", "rules", "status"),
    [
        # The first rules compared the boot_id of a carve with itself.
        (SourceKind.MODULE_CARVED, 1, CheckStatus.UNKNOWN),
        (SourceKind.MODULE_CARVED, 2, CheckStatus.AGREE),
        (SourceKind.SYSFS, 1, CheckStatus.AGREE),
    ],
)
def test_the_boot_of_the_read_is_what_was_seen(
    store: Store, older: Older, kind: SourceKind, rules: int, status: CheckStatus
) -> None:
    now = judge_again(store, older(source=HeaderSource(kind, "/x"), rules=rules))
    assert status_of(now, "continuity") is status


@pytest.mark.parametrize(
    ("seen", "vermagic"), [("checked", None), ("recorded", f"{RELEASE} SMP mod_unload")]
)
def test_the_modules_vermagic_counts(
    store: Store, older: Older, seen: str, vermagic: str | None
) -> None:
    checks = match(IDENTITY, parse_config(FITTING), FACTS, vermagic=f"{RELEASE} SMP").checks
    verdict = Verdict(Level.EXACT, checks if seen == "checked" else ())
    now = judge_again(store, older(verdict=verdict, vermagic=vermagic))
    assert status_of(now, "vermagic") is CheckStatus.AGREE


def test_an_import_by_the_first_rules_was_compared_with_itself(store: Store, older: Older) -> None:
    source = HeaderSource(SourceKind.FILE, "/x")
    now = judge_again(store, older(source=source, serial=None))
    assert now.verdict.level is Level.CONSISTENT
    assert status_of(now, "release") is CheckStatus.UNKNOWN


@pytest.mark.parametrize("claimed", [True, False])
def test_a_later_import_says_what_was_claimed(store: Store, older: Older, claimed: bool) -> None:
    unclaimed = {"machine", "version"} | (set() if claimed else {"release"})
    verdict = match(IDENTITY, parse_config(FITTING), FACTS, unclaimed=unclaimed)
    source = HeaderSource(SourceKind.FILE, "/x")
    now = judge_again(store, older(source=source, serial=None, rules=2, verdict=verdict))
    assert now.verdict == verdict
    assert now.verdict.level is (Level.EXACT if claimed else Level.CONSISTENT)


def test_an_import_that_was_compared_with_nothing_stays_so(store: Store, older: Older) -> None:
    verdict = Verdict(Level.UNMATCHED)
    assert judge_again(store, older(verdict=verdict)).verdict == verdict


@pytest.mark.parametrize("config", [None, FITTING + b"CONFIG_KASAN=y\n"])
def test_a_mismatch_does_not_go_with_its_evidence(
    store: Store, older: Older, config: bytes | None
) -> None:
    """Whoever allowed it has it as before, and is warned as before."""
    text = FITTING + b"CONFIG_KASAN=y\n"
    identity = replace(IDENTITY, config_sha256=sha256(text).hexdigest())
    verdict = match(identity, parse_config(text), FACTS)
    assert verdict.level is Level.MISMATCH
    old = older(identity=identity, verdict=verdict, config=config)
    now = judge_again(store, old)
    assert now.verdict.level is Level.MISMATCH
    assert now.verdict.differences == (SymbolDifference("KASAN", "y", None),)
    assert status_of(now, "config") is CheckStatus.DIFFER
    assert not has_turned(old, now)
    assert store.records() == [now]


def test_a_repair_by_older_rules_is_not_trusted(store: Store, older: Older) -> None:
    old = older(verdict=Verdict(Level.REPAIRED, (Check("config", CheckStatus.DIFFER),)))
    assert has_turned(old, judge_again(store, old))
    assert store.records() == [old]
