"""The verdict: what agrees, what differs, what is unknown, and what that amounts to."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.errors import CorruptArchiveError
from kheaders_adb.kernel import differences
from kheaders_adb.kernel.config import Configuration
from kheaders_adb.kernel.heading import parse_heading
from kheaders_adb.kernel.match import match
from kheaders_adb.kernel.regeneration import repaired
from kheaders_adb.model import (
    ArchiveFacts,
    Check,
    CheckStatus,
    KernelIdentity,
    Level,
    SymbolDifference,
    Verdict,
)
from tests.unit.kernel.test_facts import real_facts

AGREE, DIFFER, UNKNOWN = CheckStatus.AGREE, CheckStatus.DIFFER, CheckStatus.UNKNOWN
FACTS = real_facts()
assert FACTS.config is not None
CONFIG = dict(FACTS.config)
VERSION = "#1 SMP PREEMPT Thu Jan  1 00:00:00 UTC 2026"
KERNEL = KernelIdentity(
    release="6.1.192-android14-lab",
    version=VERSION,
    machine="x86_64",
    banner=f"Linux version 6.1.192-android14-lab (lab@lab) ({FACTS.compiler}) {VERSION}\n",
    boot_id="b1",
)


def check(verdict: Verdict, name: str) -> Check:
    return next(one for one in verdict.checks if one.name == name)


def status(
    name: str, identity: KernelIdentity = KERNEL, facts: ArchiveFacts = FACTS
) -> CheckStatus:
    return check(match(identity, CONFIG, facts), name).status


def test_a_kernel_and_its_own_archive() -> None:
    verdict = match(
        KERNEL,
        CONFIG,
        FACTS,
        vermagic="6.1.192-android14-lab SMP mod_unload modversions",
        boot_id_after="b1",
    )
    assert verdict.level is Level.EXACT
    assert {one.name: one.status for one in verdict.checks} == {
        "release": AGREE,
        "machine": AGREE,
        "config": AGREE,
        "builder": AGREE,
        "version": UNKNOWN,
        "vermagic": AGREE,
        "continuity": AGREE,
    }
    assert verdict.differences == ()


def test_order_of_the_checks() -> None:
    names = [one.name for one in match(KERNEL, CONFIG, FACTS, vermagic="").checks]
    assert names == [
        "release", "machine", "config", "builder", "version", "vermagic", "continuity",
    ]  # fmt: skip
    assert "vermagic" not in [one.name for one in match(KERNEL, CONFIG, FACTS).checks]


def test_without_the_running_configuration_it_is_consistent() -> None:
    verdict = match(KERNEL, None, FACTS)
    assert verdict.level is Level.CONSISTENT
    assert check(verdict, "config").status is UNKNOWN


def kernel_of(release: str, banner: str | None = None) -> KernelIdentity:
    """A kernel whose ``uname -r`` and /proc/version say these releases."""
    said = release if banner is None else banner
    return replace(
        KERNEL,
        release=release,
        banner=f"Linux version {said} (lab@lab) ({FACTS.compiler}) {VERSION}\n",
    )


@pytest.mark.parametrize(
    "release", ["6.1.192-android14-other", "6.1.192", "6.1.192-android14-lab+", "6.1.192 x"]
)
def test_another_release(release: str) -> None:
    verdict = match(kernel_of(release), CONFIG, FACTS)
    assert verdict.level is Level.MISMATCH
    assert check(verdict, "release") == Check("release", DIFFER, release, "6.1.192-android14-lab")
    assert not verdict.is_repairable


FORGED = "the kernel's two releases disagree, so one of them is forged"


def test_an_archive_of_a_spoofed_release_is_refused() -> None:
    """uname -r was changed, and the archive is of what it was changed to."""
    verdict = match(kernel_of("6.1.192-android14-lab", "6.1.90-real"), CONFIG, FACTS)
    assert verdict.level is Level.MISMATCH
    assert check(verdict, "release") == Check(
        "release",
        DIFFER,
        "6.1.192-android14-lab (uname -r), 6.1.90-real (/proc/version)",
        "6.1.192-android14-lab",
        FORGED,
    )


def test_where_two_channels_disagree_it_is_never_exact() -> None:
    """uname -r was changed, and the archive is the running kernel's own."""
    verdict = match(kernel_of("5.4.0-spoofed", "6.1.192-android14-lab"), CONFIG, FACTS)
    assert verdict.level is Level.CONSISTENT
    found = check(verdict, "release")
    assert (found.status, found.note) == (UNKNOWN, FORGED)
    assert found.expected == "5.4.0-spoofed (uname -r), 6.1.192-android14-lab (/proc/version)"
    other = match(
        kernel_of("5.4.0-spoofed", "6.1.192-android14-lab"), {**CONFIG, "DEBUG_LIST": "y"}, FACTS
    )
    assert other.level is Level.MISMATCH
    assert not other.is_repairable, "nothing is repaired on the word of a forged release"


@pytest.mark.parametrize(
    "banner",
    [
        "",
        "Linux",
        f"Darwin Kernel Version 6.1.192-android14-lab (lab@lab) ({FACTS.compiler}) {VERSION}",
        f"Linux  version 6.1.192-android14-lab (lab@lab) ({FACTS.compiler}) {VERSION}",
        "Linux version 6.1.192-android14-lab",
        f"Linux version 6.1.192-android14-lab {VERSION}",
        f"Linux version 6.1.192-android14-lab (lab@lab) ({FACTS.compiler}) #2 SMP PREEMPT another",
        f"Linux version 6.1.192-android14-lab (lab@lab) ({FACTS.compiler}) {VERSION} and more",
        f"Linux version 6.1.192-android14-lab (lab@lab) ({FACTS.compiler}) #{VERSION}",
        f"Linux version 6.1.192-android14-lab (lab@lab) ({FACTS.compiler}",
        f"Linux version 6.1.192-android14-lab (lab@lab) ({FACTS.compiler}) {VERSION[:-9]}",
    ],
)
def test_a_banner_that_does_not_confirm_uname_is_never_exact(banner: str) -> None:
    """Everything else agrees, and the release that it names, if any, is the right one."""
    verdict = match(replace(KERNEL, banner=banner), CONFIG, FACTS)
    assert verdict.level is Level.CONSISTENT
    release = check(verdict, "release")
    assert release.status is UNKNOWN
    assert release.note is not None
    assert release.note.startswith(("/proc/version has no form known", "the kernel's two versions"))
    assert release.expected is not None
    assert "(/proc/version)" in release.expected
    another = match(replace(KERNEL, banner=banner), {**CONFIG, "DEBUG_LIST": "y"}, FACTS)
    assert not another.is_repairable
    foreign = match(replace(KERNEL, banner=banner), CONFIG, replace(FACTS, release="6.1.1"))
    assert foreign.level is Level.MISMATCH


def test_a_banner_without_a_form_but_with_another_release() -> None:
    verdict = match(replace(KERNEL, banner="Linux version 6.1.90-real"), CONFIG, FACTS)
    assert verdict.level is Level.MISMATCH
    assert check(verdict, "release").note == FORGED


def test_without_a_banner_uname_is_all_there_is() -> None:
    assert match(replace(KERNEL, banner=None), CONFIG, FACTS).level is Level.EXACT


def test_a_forged_version_does_not_refuse_the_kernels_own_archive() -> None:
    """uname -v was changed; /proc/version and the archive say what it was."""
    forged = replace(KERNEL, version="#7 forged")
    verdict = match(forged, CONFIG, replace(FACTS, uts_version=VERSION))
    assert verdict.level is Level.CONSISTENT
    version = check(verdict, "version")
    assert (version.status, version.found) == (UNKNOWN, VERSION)
    assert version.note == "uname -v is forged: /proc/version has what the archive has"
    assert match(forged, CONFIG, replace(FACTS, uts_version="#2 SMP")).level is Level.MISMATCH


def test_a_module_of_another_release_that_loads_silently() -> None:
    """Its archive may even be right; its vermagic is not."""
    verdict = match(KERNEL, CONFIG, FACTS, vermagic="6.1.192-android14-other SMP modversions")
    assert verdict.level is Level.MISMATCH
    assert [one.name for one in verdict.differing] == ["vermagic"]
    assert check(verdict, "vermagic").found == "6.1.192-android14-other"


def test_another_configuration_is_named() -> None:
    config = {**CONFIG, "DEBUG_LIST": "y", "HZ": "1000", "NR_CPUS": "7"}
    del config["SMP"]
    verdict = match(KERNEL, config, FACTS)
    assert verdict.level is Level.MISMATCH
    assert verdict.differences == (
        SymbolDifference("DEBUG_LIST", "y", None),
        SymbolDifference("HZ", "1000", CONFIG["HZ"]),
        SymbolDifference("NR_CPUS", "7", CONFIG.get("NR_CPUS")),
        SymbolDifference("SMP", None, "y"),
    )
    differing = check(verdict, "config")
    assert differing.expected is not None
    assert differing.expected.startswith("CONFIG_DEBUG_LIST=y, CONFIG_HZ=1000, CONFIG_NR_CPUS=7, …")
    assert differing.found is not None
    assert differing.found.startswith("# CONFIG_DEBUG_LIST is not set, CONFIG_HZ=")
    assert differing.found.endswith(", …")
    assert differing.note is not None
    assert differing.note.startswith("4 symbols differ; only the configuration differs")


def test_when_only_the_configuration_differs_it_says_so_and_can_be_repaired() -> None:
    verdict = match(KERNEL, {**CONFIG, "DEBUG_LIST": "y"}, FACTS)
    note = check(verdict, "config").note
    assert note is not None
    assert "only the configuration differs" in note
    assert "nothing compared here can tell which" in note
    mended = repaired(verdict)
    assert mended.level is Level.REPAIRED
    assert (mended.checks, mended.differences) == (verdict.checks, verdict.differences)
    other = check(match(kernel_of("6.1.0"), {**CONFIG, "DEBUG_LIST": "y"}, FACTS), "config")
    assert other.note == "1 symbol differs"


@pytest.mark.parametrize(
    ("kernel", "archive"), [("y", "m"), ("m", "y")], ids=["built in", "module"]
)
@pytest.mark.parametrize("symbol", ["IKHEADERS", "IKHEADERS_PROC"])
def test_how_the_archive_is_delivered_does_not_matter(
    symbol: str, kernel: str, archive: str
) -> None:
    facts = replace(FACTS, config={**CONFIG, symbol: archive})
    verdict = match(KERNEL, {**CONFIG, symbol: kernel}, facts)
    assert verdict.level is Level.EXACT
    assert verdict.differences == ()
    config = check(verdict, "config")
    assert config.status is AGREE
    assert config.note is not None
    assert f"CONFIG_{symbol}={kernel} in the kernel, CONFIG_{symbol}={archive}" in config.note


def test_but_a_kernel_without_ikheaders_is_another_one() -> None:
    config = dict(CONFIG)
    del config["IKHEADERS"]
    assert match(KERNEL, config, FACTS).level is Level.MISMATCH


def test_a_hexadecimal_number_without_its_prefix_is_the_same() -> None:
    facts = replace(FACTS, config={**CONFIG, "HEX": "0x1", "INT": "10"})
    assert match(KERNEL, {**CONFIG, "HEX": "1", "INT": "10"}, facts).level is Level.EXACT
    other = match(KERNEL, {**CONFIG, "HEX": "y", "INT": "0x10"}, facts)
    assert [one.symbol for one in other.differences] == ["HEX", "INT"]


def headed(heading: bytes, symbols: dict[str, str] = CONFIG) -> Configuration:
    """The kernel's configuration under this heading."""
    return Configuration(symbols, parse_heading(b"#\n# " + heading + b" Kernel Configuration\n#\n"))


@pytest.mark.parametrize(
    "heading", [b"Linux/x86 6.1.192", b"Linux/x86_64 6.1.192", b"Linux/i386 6.1.192-rc3", b"other"]
)
def test_a_configuration_of_the_same_linux(heading: bytes) -> None:
    verdict = match(KERNEL, headed(heading), FACTS)
    assert verdict.level is Level.EXACT
    assert check(verdict, "config").note is None


@pytest.mark.parametrize(
    "heading", ["Linux/x86_64 6.1.191", "Linux/arm64 6.1.192", "Linux/x86 6.1"]
)
def test_a_configuration_of_another_linux_proves_nothing(heading: str) -> None:
    """Although its symbols are the archive's: it may be left over, or put there."""
    verdict = match(KERNEL, headed(heading.encode()), FACTS)
    assert verdict.level is Level.CONSISTENT
    config = check(verdict, "config")
    assert config.status is UNKNOWN
    assert config.note == (
        f'the kernel\'s configuration is headed "{heading}", the archive is of Linux 6.1.192, arch/x86'
    )
    other = match(KERNEL, headed(heading.encode(), {**CONFIG, "DEBUG_LIST": "y"}), FACTS)
    assert heading in (check(other, "config").note or "")


def test_an_autoconf_of_another_linux_proves_nothing() -> None:
    facts = replace(FACTS, config_heading="Linux/x86 6.1.191")
    verdict = match(KERNEL, CONFIG, facts)
    assert verdict.level is Level.CONSISTENT
    assert "autoconf.h is headed" in (check(verdict, "config").note or "")
    facts = replace(FACTS, config_heading="Linux/x86 6.1.192", version_code=None)
    assert match(KERNEL, CONFIG, facts).level is Level.EXACT
    facts = replace(facts, release="odd")
    verdict = match(replace(kernel_of("odd")), headed(b"Linux/x86 6.1.191"), facts)
    assert "autoconf.h" in (check(verdict, "config").note or "")
    assert verdict.level is Level.CONSISTENT


def test_what_nobody_claimed_is_unknown() -> None:
    """An import that was told a configuration only: the rest is the archive's own word."""
    verdict = match(KERNEL, CONFIG, FACTS, unclaimed={"release", "machine", "version"})
    assert {one.name: one.status for one in verdict.checks if one.status is not UNKNOWN} == {
        "config": AGREE,
        "builder": AGREE,
    }
    assert verdict.level is Level.CONSISTENT
    release = check(verdict, "release")
    assert (release.expected, release.found) == (None, "6.1.192-android14-lab")
    assert release.note == "nobody said what the kernel's is"


def test_a_delivery_difference_beside_another_one_is_not_counted() -> None:
    verdict = match(KERNEL, {**CONFIG, "IKHEADERS": "y", "DEBUG_LIST": "y"}, FACTS)
    assert [one.symbol for one in verdict.differences] == ["DEBUG_LIST"]
    note = check(verdict, "config").note
    assert note is not None
    assert "CONFIG_IKHEADERS=y in the kernel" in note


@pytest.mark.parametrize(
    ("machine", "built", "srcarch", "expected"),
    [
        ("x86_64", "x86_64", "x86", AGREE),
        ("x86_64", None, "x86", AGREE),
        ("x86_64", "x86_64", None, AGREE),
        ("i686", "i386", "x86", AGREE),
        ("i686", "x86_64", "x86", AGREE),
        ("aarch64", "aarch64", "arm64", AGREE),
        ("armv8l", "aarch64", "arm64", AGREE),
        ("armv8l", "arm", "arm", AGREE),
        ("armv7l", "arm", "arm", AGREE),
        ("armv7l", None, "arm", AGREE),
        ("riscv64", "riscv", "riscv", DIFFER),
        ("riscv64", None, "riscv", AGREE),
        ("armv7l", "aarch64", "arm64", DIFFER),
        ("x86_64", "i386", "x86", DIFFER),
        ("x86_64", "aarch64", "arm64", DIFFER),
        ("x86_64", "x86_64", "arm64", DIFFER),
        ("aarch64", None, "x86", DIFFER),
        ("x86_64", None, None, UNKNOWN),
        ("sparc64", None, "sparc", UNKNOWN),
        ("sparc64", "sparc64", "sparc", AGREE),
    ],
)
def test_machine(
    machine: str, built: str | None, srcarch: str | None, expected: CheckStatus
) -> None:
    facts = replace(FACTS, uts_machine=built, srcarch=srcarch)
    assert status("machine", replace(KERNEL, machine=machine), facts) is expected


def test_a_32_bit_shell_on_a_64_bit_kernel_is_noted() -> None:
    facts = replace(FACTS, uts_machine="aarch64", srcarch="arm64")
    seen = check(match(replace(KERNEL, machine="armv8l"), None, facts), "machine")
    assert seen.note == "a 32-bit shell sees armv8l on a aarch64 kernel"
    facts = replace(FACTS, uts_machine="arm", srcarch="arm")
    assert check(match(replace(KERNEL, machine="armv8l"), None, facts), "machine").note is None


def test_builder_is_unknown_without_compile_h() -> None:
    facts = replace(FACTS, compile_by=None, compile_host=None, compiler=None)
    assert status("builder", facts=facts) is UNKNOWN
    assert status("builder", facts=replace(FACTS, compiler=None)) is AGREE


def test_another_builder_is_a_mismatch() -> None:
    verdict = match(KERNEL, CONFIG, replace(FACTS, compile_host="elsewhere"))
    assert verdict.level is Level.MISMATCH
    assert [one.name for one in verdict.differing] == ["builder"]


def test_version_of_older_kernels() -> None:
    assert status("version", facts=replace(FACTS, uts_version=VERSION)) is AGREE
    verdict = match(KERNEL, CONFIG, replace(FACTS, uts_version="#2 SMP"))
    assert check(verdict, "version").status is DIFFER
    assert verdict.level is Level.MISMATCH


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("b1", "b1", AGREE), ("b1", "b2", DIFFER), ("b1", None, UNKNOWN), (None, "b1", UNKNOWN)],
)
def test_continuity(before: str | None, after: str | None, expected: CheckStatus) -> None:
    verdict = match(replace(KERNEL, boot_id=before), CONFIG, FACTS, boot_id_after=after)
    assert check(verdict, "continuity").status is expected
    assert verdict.level is (Level.MISMATCH if expected is DIFFER else Level.EXACT)


def test_an_archive_that_names_no_kernel_gets_no_verdict() -> None:
    for facts in (replace(FACTS, release=None), replace(FACTS, config=None)):
        with pytest.raises(CorruptArchiveError):
            match(KERNEL, CONFIG, facts)


@given(
    st.builds(
        KernelIdentity,
        release=st.text(max_size=8),
        version=st.text(max_size=8),
        machine=st.text(max_size=8),
        banner=st.one_of(st.none(), st.from_regex(r"Linux version \S+ \(.{0,20}\) #?.{0,5}")),
        boot_id=st.none() | st.text(max_size=3),
    ),
    st.none() | st.dictionaries(st.text("AB_", min_size=1), st.text(max_size=5), max_size=4),
    st.none() | st.text(max_size=8),
)
def test_any_identity_gets_a_verdict_fit_for_a_terminal(
    identity: KernelIdentity, config: dict[str, str] | None, vermagic: str | None
) -> None:
    verdict = match(identity, config, FACTS, vermagic=vermagic)
    assert verdict.level in (Level.EXACT, Level.CONSISTENT, Level.MISMATCH)
    assert (verdict.level is Level.MISMATCH) == bool(verdict.differing)
    assert bool(verdict.differences) == (check(verdict, "config").status is DIFFER)
    for one in verdict.checks:
        assert all(
            text is None or text.isprintable() for text in (one.expected, one.found, one.note)
        )


def test_how_the_archive_is_delivered_is_the_only_difference_that_is_tolerated() -> None:
    """Each symbol of a real kernel, turned from y to m or back; docs/matching.md names the exceptions."""
    page = (Path(__file__).parents[3] / "docs" / "matching.md").read_text()
    section = re.search(r"^### A difference that is tolerated:.*?(?=^#)", page, re.M | re.S)
    assert section is not None
    named = set(re.findall(r"`(?:CONFIG_)?(\w*IKHEADERS\w*)", section[0]))
    assert differences._DELIVERY_SYMBOLS == named == {"IKHEADERS", "IKHEADERS_PROC"}
    turned = {"y": "m", "m": "y"}
    tolerated = {
        symbol
        for symbol, value in CONFIG.items()
        if value in turned
        if match(KERNEL, {**CONFIG, symbol: turned[value]}, FACTS).level is not Level.MISMATCH
    }
    assert tolerated <= named
    assert "IKHEADERS" in tolerated
