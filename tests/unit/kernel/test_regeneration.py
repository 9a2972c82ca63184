"""When a new autoconf.h repairs an archive, and why it does not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kheaders_adb.errors import MismatchError
from kheaders_adb.kernel.config import Configuration, parse_config
from kheaders_adb.kernel.differences import with_mentions
from kheaders_adb.kernel.heading import parse_heading
from kheaders_adb.kernel.match import match
from kheaders_adb.kernel.regeneration import find_obstacle, render_unusable, repaired
from kheaders_adb.model import ArchiveFacts, Check, KernelIdentity, Level
from tests.unit.kernel.test_match import CONFIG, FACTS, KERNEL, check, kernel_of
from tests.unit.kernel.test_survey import HEADERS, survey


def obstacle(
    config: dict[str, str],
    facts: ArchiveFacts = FACTS,
    identity: KernelIdentity = KERNEL,
    headers: dict[str, bytes] = HEADERS,
) -> str | None:
    verdict = match(identity, config, facts)
    found = survey(headers, *(one.symbol for one in verdict.differences))
    return find_obstacle(verdict, config, facts, found)


def without(symbol: str) -> dict[str, str]:
    return {name: value for name, value in CONFIG.items() if name != symbol}


def test_where_nothing_else_depends_on_it() -> None:
    for config in ({**CONFIG, "TASK_XACCT": "y"}, {**CONFIG, "PREEMPT_RCU": "y", "LATER": "2"}):
        assert obstacle(config) is None
        assert repaired(match(KERNEL, config, FACTS)).level is Level.REPAIRED


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            {**CONFIG, "TASK_XACCT": "y", "ZONE_DMA32": "n"},
            "CONFIG_ZONE_DMA32 may decide what is in include/generated/bounds.h by way of "
            "include/linux/mmzone.h, and that cannot be regenerated",
        ),
        (
            {**CONFIG, "HZ": "1000"},
            "CONFIG_HZ may decide what is in include/generated/timeconst.h, and",
        ),
        (without("SMP"), "CONFIG_SMP may decide what is in include/generated/bounds.h, and"),
        ({**CONFIG, "DEBUG_SPINLOCK": "y"}, "by way of include/linux/spinlock_raw.h"),
        ({**CONFIG, "LATER": "12"}, "whether CONFIG_LATER is a hexadecimal number cannot be told"),
        (
            {**CONFIG, "LATER": "twelve"},
            'not as Kconfig writes it: .*"#define CONFIG_LATER twelve"',
        ),
        ({**CONFIG, "LATER": '"a\\nb"'}, "not as Kconfig writes it"),
    ],
)
def test_where_something_else_may_depend_on_it(config: dict[str, str], why: str) -> None:
    found = obstacle(config)
    assert found is not None
    assert re.search(why, found), found


def test_numbers_that_no_header_uses_may_be_of_any_type() -> None:
    assert obstacle({**CONFIG, "UNTESTED": "12"}) is None
    assert obstacle({**CONFIG, "LATER": "0x12"}) is None


def test_a_generated_header_that_is_not_known() -> None:
    headers = {**HEADERS, "include/generated/rq-offsets.h": b"#define RQ_nr_pinned 1\n"}
    assert obstacle({**CONFIG, "TASK_XACCT": "y"}, headers=headers) == (
        "include/generated/rq-offsets.h may depend on any symbol, and cannot be regenerated"
    )


def test_a_configuration_of_another_linux_repairs_nothing() -> None:
    heading = parse_heading(b"# Linux/x86 6.1.75 Kernel Configuration\n")
    found = obstacle(Configuration({**CONFIG, "TASK_XACCT": "y"}, heading))
    assert found is not None
    assert "is headed" in found


def test_only_the_configuration_can_be_repaired() -> None:
    other = {**CONFIG, "TASK_XACCT": "y"}
    for config, facts, identity, why in (
        (other, FACTS, kernel_of("6.1.0"), "besides the configuration differs: release"),
        (
            CONFIG,
            replace(FACTS, uts_machine="arm"),
            KERNEL,
            "besides the configuration differs: machine",
        ),
        (CONFIG, FACTS, KERNEL, "nothing differs"),
        (other, FACTS, replace(KERNEL, banner="odd"), "is not known: release"),
    ):
        assert why in (obstacle(config, facts, identity) or "")
        with pytest.raises(MismatchError, match="does not repair this"):
            repaired(match(identity, config, facts))


def test_constants_for_assembler_become_errors_in_c() -> None:
    header = (
        b"#ifndef X\n#define X\n\n#define TASK_PID 992 /* offsetof(...) */\n#define  Y\t1\n#endif\n"
    )
    none = b"kheaders_adb_repaired_this_tree_and_has_no_"
    assert render_unusable(header) == (
        b"#ifndef X\n#define X\n\n#define TASK_PID %bTASK_PID\n#define  Y\t%bY\n#endif\n"
        % (none, none)
    )


def config_check(config: dict[str, str], headers: dict[str, bytes] = HEADERS) -> Check:
    verdict = match(KERNEL, config, FACTS)
    found = survey(headers, *(one.symbol for one in verdict.differences))
    told = with_mentions(verdict, found.mentions)
    assert told.differences == verdict.differences
    assert [one for one in told.checks if one.name != "config"] == [
        one for one in verdict.checks if one.name != "config"
    ]
    return check(told, "config")


def test_what_headers_test_is_named_first_and_with_the_header() -> None:
    config = {
        **CONFIG,
        "AAA": "y",
        "BBB": "1",
        "CCC": "m",
        "SHIFT": "3",
        "NET_THING": "m",
        "PREEMPT_RCU": "y",
    }
    found = config_check(config)
    assert found.expected == "CONFIG_PREEMPT_RCU=y, CONFIG_NET_THING=m, CONFIG_SHIFT=3, …"
    assert found.found == (
        "# CONFIG_PREEMPT_RCU is not set, # CONFIG_NET_THING is not set, # CONFIG_SHIFT is not set, …"
    )
    assert found.note is not None
    assert found.note.startswith(
        "6 symbols differ; tested by headers: CONFIG_PREEMPT_RCU (include/linux/sched.h), "
        "CONFIG_NET_THING (include/net/sock.h), CONFIG_SHIFT (arch/x86/include/asm/a.h); only the"
    )


def test_what_no_header_tests_is_said_to_be_so() -> None:
    assert "2 symbols differ; no header of the archive tests any of them; only" in (
        config_check({**CONFIG, "AAA": "y", "BBB": "1"}).note or ""
    )
    assert (config_check({**CONFIG, "AAA": "y"}).note or "").startswith(
        "1 symbol differs; no header tests it"
    )


def test_no_more_headers_are_named_than_can_be_read() -> None:
    many = {f"S{number}": "y" for number in range(9)}
    tests = "".join(f"#ifdef CONFIG_{symbol}\n#endif\n" for symbol in many).encode()
    note = config_check({**CONFIG, **many}, {"include/linux/a.h": tests}).note or ""
    assert "CONFIG_S4 (include/linux/a.h), and 4 more; " in note
    assert "CONFIG_S5" not in note


def test_a_value_that_a_config_can_have_and_c_cannot() -> None:
    config = parse_config(b"CONFIG_SMP=y\nCONFIG_TASK_XACCT=\\x\n")
    facts = replace(FACTS, config={"SMP": "y"})
    assert "not as Kconfig writes it" in (obstacle(config, facts) or "")
