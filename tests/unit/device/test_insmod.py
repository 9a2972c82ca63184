"""What it means when a kernel refuses a module; tests/wire has the messages in full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.device.insmod import explain_insmod, lines_after
from kheaders_adb.device.refusals import LOG_RULES, OTHERS, TOOL_RULES, Refusal, RefusalRule
from tests.unit.device.helpers import generated

TOYBOX = "insmod: failed to load /data/k.ko: "
RUN = "0123456789abcdef"
CRC = "kheaders: disagrees about version of symbol module_layout"


def cause(text: str = "", log: str = "", disabled: bool | None = None, uid: int | None = 0) -> str:
    return explain_insmod(text, log, modules_disabled=disabled, uid=uid).cause


def test_the_kernels_log_is_believed_before_the_tool() -> None:
    assert cause(f"{TOYBOX}Exec format error", CRC) == "crc"
    assert cause(f"{TOYBOX}File exists", CRC) == "crc"
    assert cause("", CRC, disabled=True) == "crc"


def test_a_switched_off_loader_explains_any_errno() -> None:
    assert cause(f"{TOYBOX}Operation not permitted", disabled=True) == "disabled"


def test_what_the_kernel_logs_of_other_things_is_not_quoted() -> None:
    noise = "random: crng init done"

    def said(log: str) -> str:
        text = f"{TOYBOX}Exec format error\n"
        return explain_insmod(text, log, modules_disabled=None, uid=0).said

    assert said(f"{CRC}\n{noise}") == CRC
    assert said(noise) == f"{TOYBOX}Exec format error"
    assert said(f"Loading of module with unavailable key is rejected\n{noise}").startswith(
        "Loading"
    )


@pytest.mark.parametrize(
    ("uid", "expected"), [(0, "forbidden"), (2000, "not-root"), (None, "not-root")]
)
def test_a_plain_refusal_means_another_thing_to_root(uid: int | None, expected: str) -> None:
    assert cause(f"{TOYBOX}Operation not permitted", uid=uid) == expected
    assert cause("insmod: Permission denied", uid=uid) == expected


def test_only_what_the_log_names_is_put_into_the_message() -> None:
    log = "kheaders: version magic '{x} %s {0}' should be '6.1.75 {module!r}'"
    refusal = explain_insmod("", log, modules_disabled=None, uid=0)
    assert "{x} %s {0}" in refusal.seen
    assert "{module!r}" in refusal.seen


THIS_MODULE = (
    ".gnu.linkonce.this_module section size must match the kernel's built struct module size"
    " at run time"
)
TAINT = (
    "kheaders: module verification failed: signature and/or required key missing - tainting kernel"
)


@pytest.mark.parametrize(
    ("text", "log", "expected"),
    [
        (
            "No such file or directory",
            f"{TAINT}\nkheaders: Unknown symbol x (err -2)",
            "unresolved",
        ),
        ("Invalid argument", f"{TAINT}\nkheaders: disagrees about version of symbol x", "crc"),
        ("Permission denied", f"{TAINT}\nkheaders: Unknown symbol x (err -13)", "protected"),
        ("Permission denied", "kheaders: exports protected symbol x", "protected"),
        ("Key was rejected by service", "Loading of unsigned module is rejected", "unsigned"),
        ("Key was rejected by service", "", "signature"),
        ("Invalid argument", "PKCS7: Only support pkcs7_signedData type", "signature"),
        ("Bad message", "", "signature"),
        (
            "Operation not permitted",
            "Lockdown: insmod: unsigned module loading is restricted; see man kernel_lockdown.7",
            "lockdown",
        ),
        ("Operation not permitted", TAINT, "forbidden"),
    ],
)
def test_the_cause_is_not_a_note_beside_it(text: str, log: str, expected: str) -> None:
    assert cause(f"{TOYBOX}{text}", log) == expected


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("Invalid argument", "failed to validate module [kheaders] BTF: -22", "btf"),
        ("Exec format error", "module kheaders: unsupported RELA relocation: 311", "toolchain"),
        ("Exec format error", "kheaders: unsupported RELA relocation: 311", "toolchain"),
        ("Exec format error", "kheaders: module PLT section(s) missing", "toolchain"),
        ("Invalid argument", "kheaders: Unknown relocation type 57", "toolchain"),
        ("Exec format error", "kheaders: Unknown rela relocation: 42", "toolchain"),
        ("Exec format error", "overflow in relocation type 10 val ffffffc0", "toolchain"),
        (
            "Exec format error",
            "module: x86/modules: Skipping invalid relocation target, existing value is nonzero for type 1",
            "toolchain",
        ),
        ("Exec format error", f"module kheaders: {THIS_MODULE}", "layout"),
        (
            "Exec format error",
            f"module (missing .modinfo section or name field): {THIS_MODULE}",
            "layout",
        ),
        ("Exec format error", THIS_MODULE, "layout"),
        ("Invalid argument", "kheaders: Unknown symbol kobject_create (err -22)", "crc"),
        (
            "No such file or directory",
            "kheaders: Unknown symbol x (err 0)",
            "unresolved",
        ),  # to 4.17
        ("Exec format error", "module kheaders: version magic 'a' should be 'b'", "vermagic"),
    ],
)
def test_what_newer_kernels_and_linkers_say(text: str, line: str, expected: str) -> None:
    refusal = explain_insmod(
        f"{TOYBOX}{text}", f"{TAINT}\n{line}\nrandom: crng init done", modules_disabled=None, uid=0
    )
    assert (refusal.cause, refusal.said, refusal.doubts_build) == (expected, line, True)


@pytest.mark.parametrize(
    "line",
    [
        "failed to validate module [wlan] BTF: -22",
        "module wlan: unsupported RELA relocation: 311",
        f"module wlan: {THIS_MODULE}",
    ],
)
def test_nor_are_they_believed_of_others(line: str) -> None:
    assert cause(f"{TOYBOX}Invalid argument", line) == "unknown"


@pytest.mark.parametrize(
    ("log", "silent"),
    [
        ("kheaders: no symbol version for module_layout", False),
        ("module kheaders: words that nobody knows yet", False),
        (TAINT, True),  # a note, and the load went on
        ("kheaders: loading out-of-tree module taints kernel.", True),
        ("random: crng init done", True),
        ("", True),
    ],
)
def test_whether_the_kernel_says_why(log: str, silent: bool) -> None:
    """What is quoted right behind it as the device's word must not give it the lie."""
    text = f"{TOYBOX}Exec format error"
    refusal = explain_insmod(text, log, modules_disabled=None, uid=0)
    assert ("does not say why" in refusal.seen) is silent
    assert refusal.said == (text if silent else log)


def avc(what: str, comm: str, more: str = "", *, permissive: int | None = 0) -> str:
    """A denial as kernels log it: its fields are those of public reports, see the tests."""
    state = "" if permissive is None else f" permissive={permissive}"
    return (
        f"audit: type=1400 audit(1624460471.557:725): avc:  denied  {{ {what} }} for  pid=109560"
        f' comm="{comm}" {more} scontext=u:r:su:s0 tcontext=u:r:su:s0 tclass=system{state}'
    )


LOADED_FILE = 'path="/data/local/tmp/kheaders.ko" dev="dm-7" ino=6248'


@pytest.mark.parametrize(
    "log",
    [
        avc("module_load", "insmod", LOADED_FILE),
        avc("module_load", "insmod", LOADED_FILE, permissive=None),  # Linux before 3.17
        avc("module_load", "busybox", LOADED_FILE),
        avc("sys_module", "insmod", "capability=16 "),
        # Android's logd writes them into the log again, with one blank each.
        'type=1400 audit(8087831.026:6): avc: denied { module_load } for pid=9 comm="insmod" '
        "scontext=u:r:su:s0 tcontext=u:r:su:s0 tclass=system permissive=0",
    ],
)
def test_selinux_denied_the_loading(log: str) -> None:
    text = f"{TOYBOX}Permission denied"
    assert cause(text, f"{log}\nrandom: crng init done") == "selinux"


@pytest.mark.parametrize(
    "log",
    [
        # Others ask for modules of theirs all the time (iptables under netd, in kali-nethunter #1274).
        avc("module_request", "iptables", 'kmod="personality-8"'),
        avc("module_request", "insmod", 'kmod="crypto-pkcs1pad(rsa,sha512)"'),
        # Another process may not load: init, on a OnePlus 3.
        avc("module_load", "init"),
        avc("module_load", "(udev-worker)", 'path="/lib/modules/6.10.0/libahci.ko" dev="9p"'),
        avc("sys_module", "syz-executor.0", "capability=16 "),
        # Logged, but let through.
        avc("module_load", "insmod", LOADED_FILE, permissive=1),
        avc("sys_module", "insmod", "capability=16 ", permissive=1),
        # Not the kernel's word.
        f"healthd: {avc('module_load', 'insmod', LOADED_FILE)}",
        'userspace: avc:  denied  { module_load } for comm="insmod"',
    ],
)
def test_selinux_is_not_blamed_for_what_it_did_to_others_or_let_through(log: str) -> None:
    assert cause(f"{TOYBOX}Exec format error", log) == "format"
    assert cause(f"{TOYBOX}Invalid argument", log) == "unknown"
    assert cause(f"{TOYBOX}Exec format error", f"{log}\n{CRC}\n{log}") == "crc"


@pytest.mark.parametrize(
    "log",
    [
        avc("module_request", "iptables", 'kmod="personality-8"'),
        avc("module_load", "init"),
        avc("module_load", "insmod", LOADED_FILE, permissive=1),
    ],
)
def test_nor_is_that_quoted_as_the_devices_word(log: str) -> None:
    refusal = explain_insmod("Invalid argument", log, modules_disabled=None, uid=0)
    assert refusal.said == "Invalid argument"


@pytest.mark.parametrize(
    "log",
    [
        # Of other modules that somebody loads meanwhile, and of other tools.
        "8812au: version magic '4.15.0-72-generic SMP mod_unload ' should be '4.15.0-74-generic SMP '",
        "wlan: disagrees about version of symbol module_layout",
        "wlan: Unknown symbol cfg80211_x (err -2)",
        "wlan: Unknown symbol cfg80211_x (err -13)",
        "wlan: exports protected symbol x",
        "Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7",
        # Words of others that only hold those of the loader.
        "dm-verity: PKCS7: bad signature",
        "myd: Loading of unsigned module is rejected",
        "myd: Invalid ELF header magic",
    ],
)
def test_what_the_kernel_says_of_others_is_not_the_cause(log: str) -> None:
    assert cause(f"{TOYBOX}Invalid argument", log) == "unknown"


@pytest.mark.parametrize(
    "stamp",
    [
        "[   93.497405] ",
        "<6>[   93.497405] ",
        "[   93.497405][ T5140] ",
        "[   14.002910]@0 ",
        "[   22.793389] [5:  kworker/u16:1:  184] ",
        "<6>[    0.871658]  [0:      swapper/0:    1] ",
        "<6>[    0.161563] .(0)[1:swapper/0]",
        "<6>[    0.003219]  (0)[1:swapper/0]",
        "[   93.497405] <0>.(0)[1:swapper/0]",
    ],
)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (avc("module_load", "insmod", LOADED_FILE), "selinux"),
        ("PKCS7: Only support pkcs7_signedData type", "signature"),
        (CRC, "crc"),
        ("[crng] 1: [2] ready", "unknown"),
    ],
)
def test_the_stamps_of_phone_makers_do_not_hide_the_line(
    stamp: str, line: str, expected: str
) -> None:
    (found,) = lines_after(RUN, [], f"{stamp}{line}")
    assert found == line
    assert cause("", found) == expected


@pytest.mark.parametrize(
    "text",
    [
        "sh: insmod: not found",
        "/system/bin/sh: insmod: inaccessible or not found",
        "sh: 1: insmod: not found",
    ],
)
def test_a_device_without_insmod_is_not_a_refusal_of_the_kernel(text: str) -> None:
    assert cause(text) == "no-insmod"
    assert cause("insmod: /data/k.ko: No such file or directory") == "missing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("insmod: ERROR: could not load module /data/k.ko: No such file or directory", "missing"),
        ("insmod: ERROR: could not insert module k.ko: Unknown symbol in module", "unresolved"),
        (f"{TOYBOX}No such file or directory", "unresolved"),
        ("insmod: can't insert '/data/k.ko': unknown symbol in module", "unresolved"),
        ("insmod: can't insert '/data/k.ko': No such file or directory", "missing"),
        ("insmod: Not root", "not-root"),
        (f"{TOYBOX}Operation not permitted", "forbidden"),
        (f"{TOYBOX}Protocol error", "unknown"),
        (f"{TOYBOX}Required key not available", "signature"),
        (f"{TOYBOX}Cannot allocate memory", "memory"),
    ],
)
def test_what_the_tool_alone_says(text: str, expected: str) -> None:
    assert cause(text) == expected


# mksh's words, of old and of late, busybox's, dash's and bash's.
@pytest.mark.parametrize(
    "form",
    [
        "/system/bin/sh: can't open /data/k.ko: {}",
        "/system/bin/sh: <stdin>[12]: /data/k.ko: open: {}",
        "sh: can't open /data/k.ko: {}",
        "sh: 12: cannot open /data/k.ko: {}",
        "sh: line 12: /data/k.ko: {}",
    ],
)
def test_a_file_that_the_shell_cannot_open_was_refused_by_nobody_else(form: str) -> None:
    log = "kheaders: version magic 'a' should be 'b'"  # of another run
    for why, expected in (
        ("No such file or directory", "missing"),
        ("no such file", "missing"),
        ("Permission denied", "unopened"),
        ("Input/output error", "unopened"),
    ):
        said = form.format(why)
        refusal = explain_insmod(said, log, modules_disabled=None, uid=0, opened=False)
        assert (refusal.cause, refusal.said) == (expected, said)


words = st.sampled_from(
    [
        *("version magic '", "' should be '", "'", "disagrees about version of symbol ", CRC),
        *("Invalid ELF ", "header ", "len", "Invalid architecture in ELF header: ", "62", "{", "}"),
        *("module verification failed", "Exec format error", "File exists", "insmod: ", "Not root"),
        *("No such file", "can't insert '", "Unknown symbol", "Permission denied", "\n", "\0", "é"),
    ]
)
texts = st.text() | st.lists(words, max_size=12).map("".join)


@generated()
@given(texts, texts, st.none() | st.booleans(), st.none() | st.integers(0, 2**32))
def test_any_text_is_explained(text: str, log: str, disabled: bool | None, uid: int | None) -> None:
    refusal = explain_insmod(text, log, modules_disabled=disabled, uid=uid)
    assert refusal.cause
    assert refusal.seen
    assert refusal.hint
    assert not (refusal.doubts_build and "--via carve" in refusal.hint)


@pytest.mark.parametrize(
    "rule", [*LOG_RULES, *TOOL_RULES, *OTHERS], ids=lambda rule: f"{rule.cause}: {rule.seen[:40]}"
)
def test_no_hint_leads_to_what_the_cause_makes_doubtful(rule: RefusalRule | Refusal) -> None:
    """What is in the module of another build is not this kernel's, however it is taken out."""
    refusal = Refusal(rule.cause, rule.seen, rule.hint)
    assert not (refusal.doubts_build and "carve" in refusal.hint)
    assert not (refusal.doubts_build and "without loading" in refusal.hint)


@generated()
@given(st.text(alphabet="'Invalid ELF", min_size=0, max_size=400))
def test_long_lines_are_no_trap(text: str) -> None:
    assert cause("version magic '" * 200 + text, "version magic '" * 200 + text)


LOG = """\
[    1.234567] early: noise
[   42.985000] kheaders: version magic of an attempt before
[   41.000001] kheaders: disagrees
no time at all
<6>[   43.0] priority before it
[   44.000000][ T123] caller: with a thread
"""


def test_the_lines_of_an_attempt_are_those_after_the_last_ones_before_it() -> None:
    new = [
        "kheaders: disagrees",
        "no time at all",
        "priority before it",
        "caller: with a thread",
    ]
    assert lines_after(RUN, LOG.splitlines()[1:2], LOG) == new
    assert lines_after(RUN, LOG.splitlines()[:2], LOG) == new
    assert lines_after(RUN, LOG.splitlines(), LOG) == []


@pytest.mark.parametrize(
    "before", [[], ["[    0.000001] overwritten since"], ["no time at all", "overwritten since"]]
)
def test_without_the_lines_before_it_all_are_new(before: list[str]) -> None:
    assert len(lines_after(RUN, before, LOG)) == 6


OLD = "kheaders: version magic 'x' should be 'y'"
MARK = f"kheaders-adb {RUN}"


@pytest.mark.parametrize(
    ("before", "log", "expected"),
    [
        # Without stamps, what one attempt logs is what the next one logs: only the mark tells them apart.
        ([], [MARK, CRC], [CRC]),
        ([], [OLD, CRC, MARK, CRC], [CRC]),
        ([], [OLD, "kheaders-adb another", OLD, f"[    1.5] {MARK}", CRC], [CRC]),
        ([], [OLD, MARK], []),
        # Where no mark could be written, the lines before are all that there is.
        (["x", "y"], ["x", "y", CRC], [CRC]),
        (["x", OLD], [OLD, "x", OLD, CRC], [CRC]),
        (["x", CRC], ["x", CRC, CRC], [CRC]),
        ([CRC, CRC], [CRC, CRC, CRC], [CRC]),
    ],
)
def test_what_one_attempt_logged_is_not_taken_for_anothers(
    before: list[str], log: list[str], expected: list[str]
) -> None:
    assert lines_after(RUN, before, "\n".join(log)) == expected


def test_the_mark_of_another_run_is_not_what_the_device_says() -> None:
    log = "kheaders-adb fedcba9876543210"
    assert explain_insmod(TOYBOX, log, modules_disabled=None, uid=0).said == TOYBOX.strip()


@generated()
@given(st.text() | st.text(alphabet="[]. 0123456789ae+-\n"), st.lists(st.text()))
def test_any_log(log: str, before: list[str]) -> None:
    assert all("\n" not in line for line in lines_after(RUN, before, log))
