"""The heading of a configuration, as Kconfig of many years writes it."""

from __future__ import annotations

import pytest

from kheaders_adb.kernel.config import parse_config
from kheaders_adb.kernel.heading import parse_heading
from kheaders_adb.model import ArchiveFacts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"#\n# Automatically generated file; DO NOT EDIT.\n# Linux/arm64 6.1.75 Kernel Configuration\n#\n",
         ("arm64", "6.1.75", (6, 1, 75))),
        (b"#\n# Linux/x86_64 6.8.0-rc1 Kernel Configuration\r\n", ("x86_64", "6.8.0-rc1", (6, 8, 0))),
        (b"# Linux/x86 5.4 Kernel Configuration\n", ("x86", "5.4", (5, 4, 0))),
        (b"/*\n *\n * Automatically generated file; DO NOT EDIT.\n"
         b" * Linux/arm 4.14.186 Kernel Configuration\n",
         ("arm", "4.14.186", (4, 14, 186))),
        (b"# Linux/arm64 4.14.300 Kernel Configuration", ("arm64", "4.14.300", (4, 14, 300))),
    ],
)  # fmt: skip
def test_headings(text: bytes, expected: tuple[str, str, tuple[int, int, int]]) -> None:
    heading = parse_heading(text)
    assert heading is not None
    assert (heading.arch, heading.version, heading.numbers) == expected
    assert str(heading) == f"Linux/{expected[0]} {expected[1]}"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"CONFIG_SMP=y\n",
        b"# Linux/$ARCH $KERNELVERSION Kernel Configuration\n",
        b"# Linux kernel version: 2.6.38\n",
        b'CONFIG_X="# Linux/arm64 6.1.75 Kernel Configuration"\n',
        b"# Linux/arm64 6.1.75 Kernel Configuration of mine\n",
        b"# Linux/arm64 \xd9\xa1.1 Kernel Configuration\n",
        b"#" * 2000 + b"\n# Linux/arm64 6.1.75 Kernel Configuration\n",
    ],
)
def test_what_is_no_heading_says_nothing(text: bytes) -> None:
    assert parse_heading(text) is None


def test_a_configuration_keeps_its_heading() -> None:
    text = b"# Linux/arm64 6.1.75 Kernel Configuration\nCONFIG_SMP=y\n"
    config = parse_config(text)
    assert (config, config.heading) == ({"SMP": "y"}, parse_heading(text))
    assert parse_config(b"CONFIG_SMP=y\n").heading is None


@pytest.mark.parametrize(
    ("version", "code", "release", "fits"),
    [
        ("6.1.75", 0x06014B, "6.1.75-android14-11", True),
        ("6.1.90", 0x06015A, "6.1.0-21-amd64", True),  # Debian's numbers
        ("6.1.76", 0x06014B, "6.1.76", False),
        ("6.1.300", 0x0601FF, "6.1.300", True),  # clamped
        ("4.14.300", (4 << 16) + (14 << 8) + 300, "4.14.300", True),  # before it was
        ("6.1.75", None, "6.1.75-android14-11", True),
        ("6.1", None, "6.1.0-rc1", True),
        ("6.1.75", None, "6.1.7-5", False),
        ("6.1.75", None, "mine", True),
        ("6.1.75", None, None, True),
    ],
)
def test_whether_it_is_the_archives(
    version: str, code: int | None, release: str | None, fits: bool
) -> None:
    heading = parse_heading(f"# Linux/arm64 {version} Kernel Configuration\n".encode())
    assert heading is not None
    facts = ArchiveFacts(release=release, version_code=code)
    assert heading.contradicts(facts) is not fits


def test_make_s_names_of_architectures_are_those_of_the_folders() -> None:
    for arch, srcarch in (("x86_64", "x86"), ("i386", "x86"), ("arm64", "arm64"), ("arm", "arm")):
        heading = parse_heading(f"# Linux/{arch} 6.1.75 Kernel Configuration\n".encode())
        assert heading is not None
        assert not heading.contradicts(ArchiveFacts(srcarch=srcarch))
        assert heading.contradicts(ArchiveFacts(srcarch="riscv"))
        assert not heading.contradicts(ArchiveFacts())
