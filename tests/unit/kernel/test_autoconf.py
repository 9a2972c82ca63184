"""autoconf.h: the form that Kconfig writes is read, and nothing that clang might read otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kheaders_adb.errors import ArchiveError, CorruptArchiveError
from kheaders_adb.kernel.autoconf import (
    AUTOCONF,
    KCONFIG,
    check_kconfig,
    is_second,
    parse_autoconf,
    render_autoconf,
)
from kheaders_adb.kernel.config import parse_defines
from kheaders_adb.kernel.facts import FactCollector
from tests.conftest import SCALE
from tests.unit.archive.helpers import SMALL, listing, rule_of

DEFINES = rb"""#define CONFIG_SMP 1
#define CONFIG_IKHEADERS_MODULE 1
#define CONFIG_NR_CPUS 64
#define CONFIG_ARCH_MMAP_RND_BITS_MIN -5
#define CONFIG_PHYSICAL_START 0x1000000
#define CONFIG_UPPER 0XFF
#define CONFIG_60XX_WDT 1
#define CONFIG_lower 1
#define CONFIG_DEFAULT_INIT ""
#define CONFIG_CMDLINE "console=ttyS0 x=\"y\\z\" /* not a comment */ // nor this ??-"
#define CONFIG_INT_WITHOUT_DEFAULT@
#define CONFIG_HEX_WITHOUT_DEFAULT 0x
""".replace(b"@", b" ")
SYMBOLS = {
    "SMP": "y",
    "IKHEADERS": "m",
    "NR_CPUS": "64",
    "ARCH_MMAP_RND_BITS_MIN": "-5",
    "PHYSICAL_START": "0x1000000",
    "UPPER": "0XFF",
    "60XX_WDT": "y",
    "lower": "y",
    "DEFAULT_INIT": '""',
    "CMDLINE": r'"console=ttyS0 x=\"y\\z\" /* not a comment */ // nor this ??-"',
    "INT_WITHOUT_DEFAULT": "",
    "HEX_WITHOUT_DEFAULT": "0x",
}
TITLE = (
    b" * Automatically generated file; DO NOT EDIT.\n * Linux/arm64 6.1.75 Kernel Configuration\n"
)


@pytest.mark.parametrize(
    "heading",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"\n", id="stripped"),
        pytest.param(b"/*\n" + TITLE + b" */\n", id="of 5.x and 6.x"),
        pytest.param(b"/*\n *\n" + TITLE + b" *\n */\n", id="of 4.x"),
    ],
)
def test_the_form_that_kconfig_writes(heading: bytes) -> None:
    assert parse_autoconf(heading + DEFINES) == SYMBOLS


@pytest.mark.parametrize(
    "odd",
    [
        b"#undef CONFIG_SMP\n",
        b"# define CONFIG_X 1\n",
        b" #define CONFIG_X 1\n",
        b"#define  CONFIG_X 1\n",
        b"#define\tCONFIG_X 1\n",
        b"#define CONFIG_X\t1\n",
        b"#define CONFIG_X  1\n",
        b"#define CONFIG_X 1 \n",
        b"#define CONFIG_X 1\r\n",
        b"#define CONFIG_X 1\r#undef CONFIG_SMP\n",
        b"#define CONFIG_X 1\f\n",
        b"#if 0\n#define CONFIG_X 1\n#endif\n",
        b"#ifdef X\n",
        b"#include <x.h>\n",
        b"#pragma once\n",
        b'_Pragma("push_macro(\\"CONFIG_SMP\\")")\n',
        b"int x;\n",
        b"/* #define CONFIG_X 1 */\n",
        b"/*\n#undef CONFIG_SMP\n */\n",
        b"// x\n",
        b"#define CONFIG_X 1 /* one */\n",
        b"#define CONFIG_X /*\n",
        b"*/\n",
        b"#define CONFIG_X 1 \\\n",
        b"#define CONFIG_X \\\n1\n",
        b"\\\n",
        b'#define CONFIG_X "a\\\nb"\n',
        b'#define CONFIG_X "a??/"\n',
        b"??=define CONFIG_X 1\n",
        b"%:define CONFIG_X 1\n",
        b"#define CONFIG_X(y) y\n",
        b"#define CONFIG_X 1L\n",
        b"#define CONFIG_X (1)\n",
        b"#define CONFIG_X y\n",
        b"#define CONFIG_X m\n",
        b"#define CONFIG_X CONFIG_SMP\n",
        b'#define CONFIG_X "a" "b"\n',
        b'#define CONFIG_X "\\x41"\n',
        b'#define CONFIG_X "a"b"\n',
        b"#define CONFIG_X 'a'\n",
        b"#define CONFIG_X 0b1\n",
        b"#define CONFIG_ 1\n",
        b"#define CONFIG_\\u0041 1\n",
        b"#define CONFIG_\xc3\xa4 1\n",
        b"#define UNRELATED 1\n",
        b"#define CONFIG_SMP 2\n",
        b'#define CONFIG_SMP "1"\n',
        b"#define CONFIG_LAST 1",
    ],
)
def test_what_clang_may_read_otherwise_is_refused(odd: bytes) -> None:
    """Wherever it stands, and in a comment too: it is not worth knowing which of them are harmless."""
    whole = odd.endswith(b"\n")
    for content in (DEFINES + odd, b"\n" + DEFINES + odd, *((odd + DEFINES,) if whole else ())):
        with pytest.raises(CorruptArchiveError) as caught:
            parse_autoconf(content)
        assert rule_of(caught.value) == "autoconf-odd"
        assert caught.value.hint is not None
        assert "as the kernel or its build hands it out" in caught.value.hint
        assert "hostile" not in f"{caught.value} {caught.value.hint}"


def test_control_characters_are_no_text() -> None:
    for byte in (b"\0", b"\x1b", b"\x0b", b"\x7f"):
        with pytest.raises(ArchiveError) as caught:
            parse_autoconf(DEFINES + b'#define CONFIG_X "' + byte + b'"\n')
        assert rule_of(caught.value) == "fact-not-text"


@pytest.mark.parametrize(
    "heading",
    [
        b"/*\n * */\n#undef CONFIG_SMP\n/*\n */\n",
        b"/* x */\n",
        b"/*\n * x */ #undef CONFIG_SMP\n */\n",
        b"/*\n */ #undef CONFIG_SMP\n */\n",
        b"/*\n * x \n",
        b"/*\n * a\n */\n/*\n * b\n */\n",
        b"/*\n#define CONFIG_X 1\n */\n",
    ],
)
def test_a_heading_hides_nothing(heading: bytes) -> None:
    with pytest.raises(ArchiveError) as caught:
        parse_autoconf(heading + DEFINES)
    assert rule_of(caught.value) == "autoconf-odd"


def test_the_same_twice_is_the_same() -> None:
    """CONFIG_X=m beside a symbol that is really called X_MODULE: Kconfig writes two equal lines."""
    assert parse_autoconf(DEFINES + DEFINES) == SYMBOLS


def test_the_real_autoconf_survives_regeneration() -> None:
    _, _, content = listing([SMALL.read_bytes()])[AUTOCONF]
    config = parse_autoconf(content)
    assert len(config) == 696
    assert config["IKHEADERS"] == "m"
    assert parse_autoconf(render_autoconf(config)) == config
    assert parse_defines(render_autoconf(config)) == parse_defines(content)


_KCONFIG = b"""\
%s#ifndef __LINUX_KCONFIG_H
#define __LINUX_KCONFIG_H

#include <generated/autoconf.h>

#ifdef CONFIG_CPU_BIG_ENDIAN
#define __BIG_ENDIAN 4321
#else
#define __LITTLE_ENDIAN 1234
#endif
#define IS_REACHABLE(option) __or(IS_BUILTIN(option), \\
				__and(IS_MODULE(option), __is_defined(MODULE)))
%s#endif
"""


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_KCONFIG % (b"", b""), id="plain"),
        pytest.param(_KCONFIG % (b"/* SPDX-License-Identifier: GPL-2.0 */\n", b""), id="SPDX"),
        pytest.param(_KCONFIG % (b"", b"/*\n * Getting CONFIG_X right.\n */\n"), id="comments"),
        pytest.param(_KCONFIG % (b"", b"#include <linux/compiler_types.h>\n"), id="4.x"),
    ],
)
def test_the_kconfig_h_of_kernels(content: bytes) -> None:
    check_kconfig(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#define IS_ENABLED(option) 1\n",
        b"#if 0\n" + _KCONFIG % (b"", b"") + b"#endif\n",
        b"/* a */\n#if 0\n/* b */\n" + _KCONFIG % (b"", b"#endif\n"),
        (_KCONFIG % (b"", b"")).replace(b"__LINUX_KCONFIG_H", b"__KERNEL__"),
        (_KCONFIG % (b"", b"")).replace(b"<generated/autoconf.h>", b"<generated/other.h>"),
        (_KCONFIG % (b"", b"")).replace(b"<generated/autoconf.h>", b'"generated/autoconf.h"'),
        _KCONFIG % (b"#define CONFIG_SMP 1\n", b""),
        _KCONFIG % (b"", b"#undef CONFIG_SMP\n"),
        _KCONFIG % (b"", b" # undef CONFIG_SMP\n"),
        _KCONFIG % (b"", b"#\\\nundef CONFIG_SMP\n"),
        _KCONFIG % (b"", b"/**/#undef CONFIG_SMP\n"),
        _KCONFIG % (b"", b"/*\n*/ #undef CONFIG_SMP\n"),
        _KCONFIG % (b"", b"// /*\n#undef CONFIG_SMP\n// */\n"),
        _KCONFIG % (b"", b"#undef/**/CONFIG_SMP\n"),
        _KCONFIG % (b"", b"#/**/undef CONFIG_SMP\n"),
        _KCONFIG % (b"", b"%:undef CONFIG_SMP\n"),
        _KCONFIG % (b"", b"??=undef CONFIG_SMP\n"),
        _KCONFIG % (b"", b"// ??/\n#define x\n"),
        _KCONFIG % (b"", b"#define CONFIG_SMP 0\n"),
        _KCONFIG % (b"", b"#include <linux/other.h>\n"),
        _KCONFIG % (b"", b"#include_next <linux/kconfig.h>\n"),
        _KCONFIG % (b"", b"#import <linux/other.h>\n"),
        _KCONFIG % (b"", b'#pragma push_macro("CONFIG_SMP")\n'),
    ],
)
def test_a_kconfig_h_that_changes_the_configuration_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptArchiveError) as caught:
        FactCollector().add(KCONFIG, content)
    assert rule_of(caught.value) == "autoconf-odd"


@pytest.mark.parametrize(
    "path",
    [
        "arch/arm64/include/generated/autoconf.h",
        "arch/arm64/include/generated/generated/autoconf.h",
        "arch/arm64/include/uapi/generated/autoconf.h",
        "arch/arm64/include/generated/uapi/generated/autoconf.h",
        "include/generated/generated/autoconf.h",
        "include/uapi/generated/autoconf.h",
        "include/generated/uapi/generated/autoconf.h",
        "arch/arm64/include/linux/kconfig.h",
        "include/uapi/linux/kconfig.h",
        "include/generated/Autoconf.h",
        "Include/generated/autoconf.h",
        "include/linux/KCONFIG.H",
        "include/linux/\N{KELVIN SIGN}config.h",
    ],
)
def test_a_second_file_of_that_name_is_refused(path: str) -> None:
    with pytest.raises(CorruptArchiveError) as caught:
        FactCollector().add(path, b"")
    assert rule_of(caught.value) == "autoconf-odd"


def test_long_blanks_cost_no_time() -> None:
    """Within the size that is read at all; a reader that tries each of them would take hours."""
    for content in (b"\n" * 2**21, b"/*\n" * 2**20, b"/*\n" + b" * x\n" * 2**19, b"//\n" * 2**20):
        with pytest.raises(CorruptArchiveError):
            check_kconfig(content)
        with pytest.raises(CorruptArchiveError):
            parse_autoconf(content + b"#\n")


def test_other_names_are_none_of_them() -> None:
    assert not any(map(is_second, listing([SMALL.read_bytes()])))
    for path in (
        AUTOCONF,
        KCONFIG,
        "include/config/autoconf.h",
        "include/generated/autoconf.h.old",
        "tools/testing/radix-tree/generated/autoconf.h",
    ):
        assert not is_second(path)


_PIECES = st.lists(
    st.sampled_from(
        (
            b'#define CONFIG_A 1\n|#define CONFIG_B |"|\\|\n|1|/*| */\n| * x\n|#undef CONFIG_A\n|0x|-| |\xff'
        ).split(b"|")
    ),
    max_size=8,
).map(b"".join)


@settings(max_examples=300 * SCALE)
@given(_PIECES)
def test_what_is_read_is_all_that_the_file_holds(content: bytes) -> None:
    """Either it is refused, or every line of it is one of the defines that are returned."""
    try:
        symbols = parse_autoconf(content)
    except CorruptArchiveError:
        return
    assert parse_autoconf(render_autoconf(symbols)) == symbols
    rendered = {line for line in render_autoconf(symbols).split(b"\n") if line.startswith(b"#")}
    lines = {line for line in content.split(b"\n") if line and not line.startswith((b"/*", b" *"))}
    assert {line.rstrip() for line in lines} <= {line.rstrip() for line in rendered}
