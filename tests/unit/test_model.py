"""Identity: the key and what it stands on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kheaders_adb.model import Check, CheckStatus, Evidence, KernelIdentity, Level, Verdict

PIXEL = KernelIdentity(
    release="6.1.75-android14-11",
    version="#1 SMP PREEMPT Thu Feb  1 12:00:00 UTC 2024",
    machine="aarch64",
    banner="Linux version 6.1.75-android14-11 (build-user@build-host) (clang) #1 SMP PREEMPT",
    build_id="0123456789abcdef0123456789abcdef01234567",
    config_sha256="ab" * 32,
    boot_id="c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de",
)
KEY = "e52f0b9e4e049aa3fd3df0ff90cd53d187e11d286af831a76624180e8df27b15"
FIELDS = [field.name for field in dataclasses.fields(KernelIdentity)]


def test_the_key_never_changes() -> None:
    """Stores on users' disks are named by it: sha256 of the canonical JSON, reckoned here by hand."""
    # printf '%s' '{"banner":null,"build_id":null,"config_sha256":null,"machine":"aarch64",
    #   "release":"6.1.0","version":"#1 \\u00e4"}' (on one line) | sha256sum
    assert KernelIdentity(release="6.1.0", version="#1 ä", machine="aarch64").key == KEY


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "boot_id"])
def test_every_field_but_the_boot_counts(name: str) -> None:
    other = dataclasses.replace(PIXEL, **{name: "other"})
    assert other.key != PIXEL.key


def test_the_boot_does_not_count() -> None:
    assert dataclasses.replace(PIXEL, boot_id=None).key == PIXEL.key


@pytest.mark.parametrize("name", ["banner", "build_id", "config_sha256"])
def test_unknown_is_not_empty(name: str) -> None:
    given: dict[str, Any] = {"release": "6.1.0", "version": "#1", "machine": "aarch64"}
    assert KernelIdentity(**given).key != KernelIdentity(**given, **{name: ""}).key


def test_evidence() -> None:
    assert PIXEL.evidence is Evidence.BUILD_ID
    without = dataclasses.replace(PIXEL, build_id=None)
    assert without.evidence is Evidence.CONFIG
    assert dataclasses.replace(without, config_sha256=None).evidence is Evidence.UNAME


def test_differing_checks() -> None:
    checks = tuple(Check(status.value, status) for status in CheckStatus)
    verdict = Verdict(Level.MISMATCH, checks)
    assert [check.name for check in verdict.differing] == ["differ"]
