"""What headers do with a symbol: which of them test it, and which generated ones it decides."""

from __future__ import annotations

import pytest

from kheaders_adb.kernel.survey import Survey, Surveyor

HEADERS: dict[str, bytes] = {
    "include/linux/sched.h": b"""\
#include <linux/rcupdate.h>
struct task_struct {
	int pid;
#ifdef CONFIG_PREEMPT_RCU
	int rcu_read_lock_nesting;
#endif
};
#ifdef CONFIG_TASK_XACCT
#endif
""",
    "include/linux/rcupdate.h": b"""\
#ifdef CONFIG_PREEMPT_RCU
#endif
struct rcu { };
#if CONFIG_LATER > 1
#endif
""",
    "include/net/sock.h": b"struct sock {\n#if IS_ENABLED(CONFIG_NET_THING)\n\tint x;\n#endif\n};\n",
    "arch/x86/include/asm/a.h": b"#ifdef CONFIG_NET_THING_MODULE\n#endif\n#define X CONFIG_SHIFT\n",
    "include/linux/mmzone.h": b"""\
#ifndef _LINUX_MMZONE_H
#ifndef __GENERATING_BOUNDS_H
#include <linux/rcupdate.h>
#ifdef CONFIG_X
#include <linux/rcupdate.h>
#else
#include <linux/rcupdate.h>
#endif
#endif
enum zone_type {
#ifdef CONFIG_ZONE_DMA32
	ZONE_DMA32,
#endif
	__MAX_NR_ZONES
};
#ifndef __GENERATING_BOUNDS_H
#ifdef CONFIG_COMPACTION
#endif
#else
#include <linux/only_bounds.h>
#endif
#endif
""",
    "include/linux/only_bounds.h": b"#ifdef CONFIG_ONLY_BOUNDS\n#endif\n",
    "include/linux/spinlock_types.h": b'#\tinclude <asm/spinlock_types.h>\n#include "spinlock_raw.h"\n',
    "include/linux/spinlock_raw.h": b"#ifdef CONFIG_DEBUG_SPINLOCK\n#endif\n#include \\\n <linux/deep.h>\n",
    "arch/x86/include/generated/asm/spinlock_types.h": b"#include <asm-generic/spinlock_types.h>\n",
    "include/asm-generic/spinlock_types.h": b"#ifdef CONFIG_QUEUED\n#endif\n",
    "include/uapi/linux/deep.h": b"#include <linux/mmzone.h>\n#ifdef CONFIG_DEEP\n#endif\n",
    "include/generated/bounds.h": b"#define MAX_NR_ZONES 3 \n",
    "include/generated/timeconst.h": b"#if HZ != 250\n#error x\n#endif\n",
    "include/generated/asm-offsets.h": b"#define TASK_PID 992 \n",
    "include/generated/autoconf.h": b"#define CONFIG_UNTESTED 1\n#define CONFIG_HZ 250\n",
    "include/generated/uapi/linux/version.h": b"#define LINUX_VERSION_CODE 1\n",
    "arch/x86/include/generated/uapi/asm/unistd_64.h": b"#define __NR_read 0\n",
    "include/config/untested.h": b"",
}
SYMBOLS = (
    "PREEMPT_RCU", "TASK_XACCT", "NET_THING", "SHIFT", "ZONE_DMA32", "COMPACTION", "ONLY_BOUNDS",
    "DEBUG_SPINLOCK", "QUEUED", "DEEP", "HZ", "SMP", "LATER", "UNTESTED",
)  # fmt: skip


def survey(headers: dict[str, bytes], *symbols: str) -> Survey:
    surveyor = Surveyor(symbols)
    for path, content in headers.items():
        surveyor.add(path, content)
    return surveyor.survey()


def test_the_header_that_says_best_what_a_symbol_is_good_for() -> None:
    found = survey(HEADERS, *SYMBOLS).mentions
    said = {symbol: (mention.header, mention.structure) for symbol, mention in found.items()}
    assert said["PREEMPT_RCU"] == ("include/linux/sched.h", "task_struct")
    assert said["TASK_XACCT"] == ("include/linux/sched.h", None), "behind the structure's end"
    assert said["NET_THING"] == ("include/net/sock.h", "sock"), "not a macro elsewhere"
    assert said["SHIFT"] == ("arch/x86/include/asm/a.h", None), "used, not tested, is the same"
    assert "UNTESTED" not in said, "what autoconf.h says of it is no test"
    assert found["PREEMPT_RCU"] < found["NET_THING"] < found["TASK_XACCT"] < found["SHIFT"]


def test_a_module_s_macro_is_the_symbol_s() -> None:
    found = survey({"include/a.h": b"#ifdef CONFIG_X_MODULE\n#endif\n"}, "X")
    assert found.mentions["X"].header == "include/a.h"
    assert not survey({"include/a.h": b"#ifdef CONFIG_X_MODULES\nNO_CONFIG_X\n"}, "X").mentions


def test_what_the_sources_of_bounds_h_include_decides_it() -> None:
    """With all that is included there under any condition, but not what they leave out for it."""
    found = survey(HEADERS, *SYMBOLS).deciding
    assert found == {
        "HZ": ("include/generated/timeconst.h", None),
        "SMP": ("include/generated/bounds.h", None),
        "ZONE_DMA32": ("include/generated/bounds.h", "include/linux/mmzone.h"),
        "COMPACTION": ("include/generated/bounds.h", "include/linux/mmzone.h"),
        "ONLY_BOUNDS": ("include/generated/bounds.h", "include/linux/only_bounds.h"),
        "DEBUG_SPINLOCK": ("include/generated/bounds.h", "include/linux/spinlock_raw.h"),
        "QUEUED": ("include/generated/bounds.h", "include/asm-generic/spinlock_types.h"),
        "DEEP": ("include/generated/bounds.h", "include/uapi/linux/deep.h"),
    }


def test_without_the_generated_headers_nothing_is_decided() -> None:
    headers = {path: text for path, text in HEADERS.items() if "/generated/" not in path}
    assert survey(headers, *SYMBOLS).deciding == {}


def test_an_include_that_cannot_be_followed_may_lead_to_anything() -> None:
    headers = {**HEADERS, "include/linux/log2.h": b"#include THIS\n"}
    assert survey(headers, "PREEMPT_RCU").deciding == {
        "PREEMPT_RCU": ("include/generated/bounds.h", "include/linux/log2.h")
    }


@pytest.mark.parametrize(
    "path",
    [
        "include/generated/rq-offsets.h",
        "include/generated/randstruct_hash.h",
        "include/generated/asm/vendor.h",
        "arch/x86/include/generated/asm/cpufeaturemasks.h",
    ],
)
def test_generated_headers_that_are_not_known_may_depend_on_anything(path: str) -> None:
    assert survey({**HEADERS, path: b"#define X 1\n"}, "TASK_XACCT").unknown == (path,)


def test_those_of_every_kernel_do_not() -> None:
    known = (
        "include/generated/utsrelease.h",
        "include/generated/compile.h",
        "include/generated/package.h",
        "include/generated/autoksyms.h",
        "include/generated/gki_module_unprotected.h",
        "arch/arm64/include/generated/asm/cpucaps.h",
        "arch/arm64/include/generated/asm/sysreg-defs.h",
    )
    found = survey(HEADERS | dict.fromkeys(known, b"#define X 1\n"), "TASK_XACCT")
    assert found.unknown == ()
    assert found.offsets == {"include/generated/asm-offsets.h": b"#define TASK_PID 992 \n"}


def test_long_lines_deep_nesting_and_many_includes_cost_no_time() -> None:
    nested = b"struct a {\n" * 99_999 + b"#ifndef __GENERATING_BOUNDS_H\n#include <a.h>\n" * 99_999
    many = b"#include <a.h>\n#include A\n" * 99_999
    headers = {"include/linux/mmzone.h": nested + b"# " * 500_000, "include/linux/log2.h": many}
    assert survey(HEADERS | headers, "X").deciding.keys() == {"X"}
