"""How values look: lines for people, objects for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kheaders_adb.cli.render import (
    omitted_line,
    size_text,
    staged_lines,
    staged_to_json,
    verdict_line,
)
from kheaders_adb.kernel.caution import verdict_warning
from kheaders_adb.model import (
    Archive,
    Check,
    CheckStatus,
    HeaderSource,
    KernelIdentity,
    Level,
    OmittedLink,
    SourceKind,
    Staged,
    SymbolDifference,
    Verdict,
)
from tests.unit.golden import check_golden

AGREE, DIFFER, UNKNOWN = CheckStatus
EXACT = Verdict(
    Level.EXACT,
    (
        Check("release", AGREE, "6.1.75", "6.1.75"),
        Check("machine", AGREE, "aarch64", "aarch64"),
        Check("config", AGREE, "1591 symbols", "1591 symbols"),
        Check("version", UNKNOWN, "#1", None, "kernels since 6.1 do not put it into the archive"),
    ),
)
MISMATCH = Verdict(
    Level.MISMATCH,
    (
        Check("release", DIFFER, "6.1.75", "6.1.99"),
        Check("config", DIFFER, "CONFIG_HZ=250", "CONFIG_HZ=1000"),
        Check("machine", AGREE, "aarch64", "aarch64"),
    ),
    (SymbolDifference("HZ", "250", "1000"), SymbolDifference("KASAN", None, "y")),
)
STAGED = Staged(
    serial="28091JEGR09001",
    kernel=KernelIdentity(
        release="6.1.75-android14-11",
        version="#1 SMP PREEMPT",
        machine="aarch64",
        banner="Linux version 6.1.75-android14-11",
        build_id="0123456789abcdef0123456789abcdef01234567",
        config_sha256="ab" * 32,
        boot_id="c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de",
    ),
    source=HeaderSource(SourceKind.SYSFS, "/sys/kernel/kheaders.tar.xz"),
    archive=Archive("cd" * 32, 4_083_120, 6543),
    verdict=EXACT,
    tree=Path("/store/trees/cdcd"),
    device_round_trips=2,
    timing_s={"probe": 0.0123456789, "total": 1.5},
    notes=("read without a lease: Read-only file system",),
)

LEFT_OUT = replace(
    STAGED.archive,
    omitted=(
        OmittedLink(
            "include/uapi/linux/ion.h",
            "../../../drivers/staging/android/uapi/ion.h",
            "link-dangling",
        ),
        OmittedLink("include/linux/rtmm.h", "/home/builder/kernel/rtmm.h", "link-absolute"),
    ),
    omitted_count=2,
)


def test_what_a_person_is_told_of_a_pull() -> None:
    variants = {
        "read": STAGED,
        "cached": replace(STAGED, cached=True, device_round_trips=1),
        "loaded": replace(
            STAGED, source=HeaderSource(SourceKind.MODULE_LOADED, "/vendor/lib/kheaders.ko")
        ),
        "carved": replace(
            STAGED, source=HeaderSource(SourceKind.MODULE_CARVED, "/home/me/kheaders.ko")
        ),
        "imported": replace(STAGED, source=HeaderSource(SourceKind.FILE, "a.tar.xz")),
        "no build-id": replace(STAGED, kernel=replace(STAGED.kernel, build_id=None)),
        "mismatch": replace(STAGED, verdict=MISMATCH),
        "links left out": replace(STAGED, archive=LEFT_OUT),
    }
    text = "".join(
        f"# {name}\n" + "".join(f"{line}\n" for line in staged_lines(staged))
        for name, staged in variants.items()
    )
    check_golden("staged-lines.txt", text)


def test_links_left_out_in_one_line() -> None:
    def line(*reasons: str, count: int = 0) -> str | None:
        links = tuple(OmittedLink(f"{n}.h", "x", reason) for n, reason in enumerate(reasons))
        return omitted_line(
            replace(STAGED.archive, omitted=links, omitted_count=count or len(links))
        )

    assert line() is None
    assert line("link-dangling") == (
        "1 link of the archive leads nowhere inside it and was left out: 0.h -> x"
    )
    assert line("link-chain", "link-to-directory") == (
        "2 links of the archive lead nowhere inside it or to a folder or to another link "
        "and were left out: 0.h -> x, 1.h -> x"
    )
    assert line(*["link-absolute"] * 100, count=65_000) == (
        "65000 links of the archive lead nowhere inside it and were left out: "
        "0.h -> x, 1.h -> x, 2.h -> x, and 64997 more"
    )


def test_what_a_record_says_cannot_act_on_the_terminal() -> None:
    """Our own records hold printable text; a store may be another user's."""
    links = (OmittedLink("\x1b[2J.h", "\u202e", "link-dangling"),)
    said = omitted_line(replace(STAGED.archive, omitted=links, omitted_count=1))
    assert said is not None
    assert said.endswith("\\x1b[2J.h -> \\u202e")


def test_what_a_program_is_told_of_a_pull() -> None:
    check_golden("staged.json", json.dumps(staged_to_json(STAGED), indent=2) + "\n")


def test_the_fields_that_programs_rely_on() -> None:
    document = staged_to_json(replace(STAGED, verdict=MISMATCH))
    assert {
        "serial",
        "kernel",
        "source",
        "archive",
        "verdict",
        "tree",
        "cached",
        "device_round_trips",
        "timing_s",
    } <= document.keys()
    kernel = {"key", "release", "version", "machine", "build_id", "config_sha256", "evidence"}
    assert kernel <= document["kernel"].keys()
    assert document["source"].keys() == {"kind", "path"}
    assert {"sha256", "size_bytes", "members", "omitted"} <= document["archive"].keys()
    assert document["verdict"]["level"] == "mismatch"
    for check in document["verdict"]["checks"]:
        assert {"name", "status", "expected", "found"} <= check.keys()
    assert [kind.value for kind in SourceKind] == [
        "sysfs",
        "proc",
        "module-loaded",
        "module-carved",
        "file",
    ]


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (EXACT, "exact (release, machine, config agree; version unknown)"),
        (MISMATCH, "mismatch (machine agree; release, config differ)"),
        (Verdict(Level.UNMATCHED), "unmatched"),
        (Verdict(Level.CONSISTENT, (Check("config", UNKNOWN),)), "consistent (config unknown)"),
    ],
)
def test_a_verdict_in_one_line(verdict: Verdict, line: str) -> None:
    assert verdict_line(verdict) == line


def test_warnings_that_come_with_every_use() -> None:
    warning = verdict_warning(MISMATCH)
    assert warning is not None
    assert "NOT" in warning
    assert "(release, config differ)" in warning
    assert "imported" in (verdict_warning(Verdict(Level.UNMATCHED)) or "")
    one = (SymbolDifference("TASK_XACCT", "y", None),)
    for differences, said in ((one, "(CONFIG_TASK_XACCT)"), (one * 3, "(3 symbols)")):
        repaired = Verdict(Level.REPAIRED, differences=differences)
        assert said in (verdict_warning(repaired) or "")
        assert verdict_warning(repaired, quiet=True) is None
    assert verdict_warning(MISMATCH, quiet=True) == warning, "nobody who is quiet wants garbage"
    for level in (Level.EXACT, Level.CONSISTENT):
        assert verdict_warning(Verdict(level)) is None


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (4096, "4.0 KiB"),
        (10 << 10, "10 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (int(9.96 * (1 << 20)), "10 MiB"),
        (45_800_000, "44 MiB"),
        (1023 << 20, "1023 MiB"),
        (5 << 40, "5.0 TiB"),
        (5000 << 40, "5000 TiB"),
    ],
)
def test_a_size_for_people(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text
