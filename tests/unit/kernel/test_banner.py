"""/proc/version as kernels of many builders print it: beside uname, and beside compile.h."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kheaders_adb.kernel.banner import find_doubt
from kheaders_adb.model import CheckStatus, KernelIdentity
from tests.unit.kernel.test_match import AGREE, FACTS, KERNEL, UNKNOWN, VERSION, status

DIFFER = CheckStatus.DIFFER
ANDROID = (
    "Android (6443078 based on r383902) clang version 11.0.1 "
    "(https://android.googlesource.com/toolchain/llvm-project b397f81), LLD 11.0.1"
)


@pytest.mark.parametrize(
    ("by", "host", "compiler"),
    [
        ("build-user", "build-host", ANDROID),
        ("root", "(none)", "gcc version 4.9.x 20150123 (prerelease) (GCC) "),
        ("debian-kernel", "lists.debian.org", "gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld 2.40"),
        ("a", "b", "c"),
        ("user name", "host", "clang version 14.0.7 (a) (b)"),
    ],
)
@pytest.mark.parametrize(
    "version", ["#1 SMP PREEMPT Tue Mar 9 21:44:32 UTC 2021", "#2-Debian SMP (x) #3", "#1"]
)
def test_builder_of_many_banners(by: str, host: str, compiler: str, version: str) -> None:
    identity = replace(
        KERNEL,
        release="5.4.61-android11",
        version=version,
        banner=f"Linux version 5.4.61-android11 ({by}@{host}) ({compiler}) {version}\n",
    )
    facts = replace(FACTS, compile_by=by, compile_host=host, compiler=compiler)
    assert status("builder", identity, facts) is AGREE
    assert find_doubt(identity) is None
    for other in (
        replace(facts, compile_by=by + "x"),
        replace(facts, compile_host=host + "x"),
        replace(facts, compiler=compiler + "x"),
    ):
        assert status("builder", identity, other) is DIFFER


def test_builder_if_uname_v_is_forged() -> None:
    """Without `uname -v` to cut off, the build number ends the compiler."""
    assert status("builder", replace(KERNEL, version="#7 forged")) is AGREE


@pytest.mark.parametrize(
    "banner",
    [
        None,
        "",
        "Linux version 6.1.192",
        f"Darwin Kernel Version 6.1 (lab@lab) (gcc) {VERSION}",
        f"Linux version 6.1.192-android14-lab (nobody) (gcc) {VERSION}",
        f"Linux version 6.1.192-android14-lab (lab@lab) {VERSION}",
        "Linux version 6.1.192-android14-lab (lab@lab) (gcc) and nothing more",
    ],
)
def test_builder_is_unknown_rather_than_guessed(banner: str | None) -> None:
    assert status("builder", replace(KERNEL, banner=banner)) is UNKNOWN


# In the forms of vendors' builds, old and new: uname -r, the banner's beginning, uname -v.
_FORMS = [
    (
        "3.4.0-perf-g1234567",
        "Linux version 3.4.0-perf-g1234567 (se.infra@SEP-110) (gcc version 4.7 (GCC) ) ",
        "#1 SMP PREEMPT Thu Oct 23 10:47:54 KST 2014",
    ),
    (
        "4.14.116",
        "Linux version 4.14.116 (HarmonyOS@localhost) (Android (5484270 based on r353983c) clang version "
        "9.0.3 (https://android.googlesource.com/toolchain/clang 745b335211bb9eadfa6aa6301f84715cee4b37c5) "
        "(https://android.googlesource.com/toolchain/llvm 60cf23e54e46c807513f7a36d0a7b777920b5881) "
        "(based on LLVM 9.0.3svn)) ",
        "#1 SMP PREEMPT Fri Aug 7 22:48:26 CST 2020",
    ),
    (
        "4.9.186-perf+",
        "Linux version 4.9.186-perf+ (root@(none)) (gcc version 4.9.x 20150123 (prerelease) (GCC) ) ",
        "#1 SMP PREEMPT Mon Mar 22 00:00:00 2021",
    ),
    (
        "6.6.30-android15-8-gdd9c02ccfe27-ab11987101-4k",
        "Linux version 6.6.30-android15-8-gdd9c02ccfe27-ab11987101-4k (kleaf@build-host) (Android (11368308, "
        "+pgo, +bolt, +lto, +mlgo, based on r510928) clang version 18.0.0 "
        "(https://android.googlesource.com/toolchain/llvm-project 477610d4d0d988e69dbc3fae4fe86bff3f07f2b5), "
        "LLD 18.0.0) ",
        "#1 SMP PREEMPT Tue Jun  4 20:13:46 UTC 2024",
    ),
    ("6.1 x", "Linux version 6.1 x (a@b) (gcc) ", "dated, without a number"),
]


@pytest.mark.parametrize(("release", "begin", "version"), _FORMS, ids=[one[0] for one in _FORMS])
def test_honest_banners_raise_no_doubt(release: str, begin: str, version: str) -> None:
    identity = KernelIdentity(release, version, "aarch64", banner=f"{begin}{version}\n")
    assert find_doubt(identity) is None
    cut = replace(identity, banner=f"{begin}{version}"[:256].removesuffix(version))
    assert find_doubt(cut) is not None, "a banner that was cut confirms nothing"
