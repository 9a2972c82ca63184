"""Configurations: .config and autoconf.h say the same, and damaged ones give our errors only."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kheaders_adb.errors import ArchiveError
from kheaders_adb.kernel.autoconf import parse_autoconf, render_autoconf
from kheaders_adb.kernel.config import (
    as_compiled,
    load_config,
    parse_config,
    parse_defines,
    same_hex,
)
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from tests.conftest import SCALE
from tests.unit.archive.helpers import rule_of

CONFIG = b"""\
#
# Automatically generated file; DO NOT EDIT.
# Linux/x86 6.1.192 Kernel Configuration
#
CONFIG_CC_VERSION_TEXT="gcc (Debian 12.2.0) 12.2.0"
CONFIG_SMP=y
CONFIG_IKHEADERS=m
# CONFIG_DEBUG_LIST is not set
CONFIG_NR_CPUS=64
CONFIG_ONE=1
CONFIG_PHYSICAL_START=0x1000000
CONFIG_DEFAULT_INIT=""
CONFIG_CMDLINE="console=ttyS0 name=\\"x\\""
CONFIG_OLD=n
"""


def test_config() -> None:
    assert parse_config(CONFIG) == {
        "CC_VERSION_TEXT": '"gcc (Debian 12.2.0) 12.2.0"',
        "SMP": "y",
        "IKHEADERS": "m",
        "NR_CPUS": "64",
        "ONE": "1",
        "PHYSICAL_START": "0x1000000",
        "DEFAULT_INIT": '""',
        "CMDLINE": '"console=ttyS0 name=\\"x\\""',
    }


def test_symbols_really_named_module() -> None:
    """CONFIG_X=m and CONFIG_X_MODULE=y are one and the same in C, unless CONFIG_X is there too."""
    assert as_compiled({"X": "m"}) == as_compiled({"X_MODULE": "y"}) == {"X": "m"}
    both = {"X": "y", "X_MODULE": "y"}
    assert as_compiled(both) == both
    assert parse_autoconf(render_autoconf(both)) == both


def test_yes_and_one_are_the_same_in_c() -> None:
    assert as_compiled({"X": "1"}) == as_compiled({"X": "y"}) == {"X": "y"}


@pytest.mark.parametrize(
    ("kernel", "archive", "same"),
    [
        ("1000", "0x1000", True),
        ("1", "0x1", True),
        ("0x1", "0x1", True),
        ("0X1f", "0x1F", True),
        ("0x01", "0x1", True),
        ("0", "0x0", True),
        ("", "0x", True),
        ("0x", "0x", True),
        ("1001", "0x1000", False),
        ("16", "0x10", False),
        ("", "0x0", False),
        ("0", "0x", False),
        ("y", "0x1", False),
        ("m", "0xm", False),
        (None, "0x1000", False),
        ("1", None, False),
        ('"1"', "0x1", False),
        # Without 0x in C it is no hexadecimal number, whatever .config has.
        ("0x1", "1", False),
        ("0x1", "y", False),
        ("010", "10", False),
        ("010", "8", False),
        ("10", '"10"', False),
    ],
)
def test_hexadecimal_numbers(kernel: str | None, archive: str | None, same: bool) -> None:
    """Kconfig writes `#define CONFIG_X 0x1000` for CONFIG_X=1000 if X is of type hex."""
    assert same_hex(kernel, archive) is same


@pytest.mark.parametrize(
    ("kernel", "archived", "written"),
    [
        ("1000", {"X": "0x1000"}, "0x1000"),
        ("1000", {"X": "0x2000"}, "0x1000"),
        ("1", {"X": "0x2000"}, "0x1"),
        ("0x1000", {"X": "0x2000"}, "0x1000"),
        ("dead", {}, "0xdead"),
        ("dead", None, "0xdead"),
        ("1000", {"X": "2000"}, "1000"),
        ("1000", {}, "1000"),
        ("-1", {"X": "0x1"}, "-1"),
        ("y", {"X": "0x1"}, "1"),
        ('"dead"', {}, '"dead"'),
    ],
)
def test_a_hexadecimal_number_is_regenerated_with_its_prefix(
    kernel: str, archived: dict[str, str] | None, written: str
) -> None:
    assert f"#define CONFIG_X {written}\n".encode() in render_autoconf({"X": kernel}, archived)


def test_of_several_lines_on_one_symbol_the_last_counts() -> None:
    config = parse_config(
        b"CONFIG_A=y\n# CONFIG_A is not set\n# CONFIG_B is not set\nCONFIG_B=y\nCONFIG_C=1\nCONFIG_C=2\n"
        b"CONFIG_D=y\nCONFIG_D=n\nCONFIG_E=y\n#\tCONFIG_E is not set, said somebody\n"
        b"CONFIG_F=y\n# CONFIG_F is set\n#CONFIG_F is not set\n # CONFIG_F is not set\n"
    )
    assert config == {"B": "y", "C": "2", "F": "y"}
    assert list(config) == ["B", "C", "F"]


_NAMES = st.text("ABC_1", min_size=1, max_size=6)
_VALUES = st.one_of(
    st.sampled_from(["y", "m", "1", "0", "-5", "0x10", '""', '"a b"', '"\\"m\\""']),
    st.integers(-(2**40), 2**40).map(str),
)
_CONFIGS = st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=12)


def _dot_config(config: dict[str, str]) -> bytes:
    return "".join(f"CONFIG_{name}={value}\n" for name, value in config.items()).encode()


def _define_set(config: dict[str, str]) -> set[bytes]:
    return {line for line in render_autoconf(config).split(b"\n") if line.startswith(b"#define")}


@given(_CONFIGS)
def test_config_and_autoconf_round_trip(config: dict[str, str]) -> None:
    assert parse_config(_dot_config(config)) == config
    assert parse_autoconf(render_autoconf(config)) == as_compiled(config)


@given(_CONFIGS, _CONFIGS)
def test_compiled_configurations_are_equal_exactly_if_their_defines_are(
    one: dict[str, str], other: dict[str, str]
) -> None:
    assert (as_compiled(one) == as_compiled(other)) == (_define_set(one) == _define_set(other))


def test_load_plain_and_gzipped() -> None:
    assert load_config(CONFIG) == CONFIG
    assert load_config(gzip.compress(CONFIG)) == CONFIG


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (gzip.compress(CONFIG, mtime=0)[:-9], "config-damaged"),
        (gzip.compress(CONFIG, mtime=0)[:40] + b"\0" * 40, "config-damaged"),
        (gzip.compress(CONFIG) + b"x", "config-damaged"),
        (gzip.compress(CONFIG) * 2, "config-damaged"),
        (gzip.compress(bytes(5 * 2**20)), "fact-too-large"),
        (b"#" * (4 * 2**20 + 1), "fact-too-large"),
    ],
)
def test_configurations_that_do_not_load(data: bytes, rule: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        load_config(data)
    assert rule_of(caught.value) == rule


def test_gzip_bombs_are_cut_off() -> None:
    limits = replace(DEFAULT_LIMITS, config_bytes=len(CONFIG))
    assert load_config(gzip.compress(CONFIG), limits) == CONFIG
    with pytest.raises(ArchiveError):
        load_config(gzip.compress(CONFIG + b"\n"), limits)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b"", "config-empty"),
        (b"hello\n", "config-empty"),
        (b"CONFIG_X=y\0\n", "fact-not-text"),
        (b'CONFIG_X="\x1b[2J"\n', "fact-not-text"),
    ],
)
def test_configurations_that_are_none(text: bytes, rule: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        parse_config(text)
    assert rule_of(caught.value) == rule


def test_blanks_around_values_mean_nothing_to_c() -> None:
    config = parse_config(b"CONFIG_A= 5\nCONFIG_B=y \t\nCONFIG_C=0x1\r\n")
    assert config == {"A": "5", "B": "y", "C": "0x1"}
    assert parse_autoconf(render_autoconf(config)) == config


def test_all_symbols_unset_is_a_configuration() -> None:
    assert parse_config(b"# CONFIG_SMP is not set\n") == {}


_LINES = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"CONFIG_A=y", b"#define CONFIG_A", b"#define", b"# CONFIG_", b"CONFIG_=", b"\xff"]
        ),
    ),
    max_size=8,
).map(b"\n".join)


@settings(max_examples=300 * SCALE)
@given(_LINES)
def test_no_other_errors(text: bytes) -> None:
    for parse in (parse_config, parse_autoconf, parse_defines, load_config):
        try:
            parse(text)
        except ArchiveError as error:
            rule_of(error)
