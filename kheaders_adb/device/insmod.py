"""What it means when a kernel refuses a module: pure text in, cause and next step out.

The kernel log often says more than the errno and is asked first; `refusals` has the words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from kheaders_adb.device.refusals import (
    DISABLED,
    FORBIDDEN,
    FORMAT_SEEN,
    GONE,
    INSMOD,
    LOG_RULES,
    NOT_ROOT,
    TOOL_RULES,
    UNKNOWN,
    UNOPENED,
    Refusal,
)

# Not the marks of other runs.
_RELATED = re.compile(r"kheaders(?!-adb)|module|ELF|vmap|alloc|avc:|lockdown", re.IGNORECASE)
# What was done to others, let through, or only noted.
_BESIDE = re.compile(rf"avc: (?!.* comm=\"{INSMOD}\")|\bpermissive=1\b|\btaint(?:s|ing) kernel")
# The kernel's own stamp with its caller; then what phone makers put before the text, as seen in public logs:
# Qualcomm's processor, Samsung's processor, process and thread, MediaTek's processor and process.
_STAMP = re.compile(
    r"(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\]|@\d+| +\[ *\d+: *[^\]]{1,20}: *\d+\]"
    r"| *(?:<\d+>)?[-.* ]+\(\d+\)\[\d+:[^\]]{1,20}\])? ?"
)


def lines_after(run: str, before: Sequence[str], log: str) -> list[str]:
    """The lines of a kernel log that a load has left, without their time stamps.

    They begin behind the mark that the script wrote into the log.  Where it was not allowed to, behind the
    lines `before`; a log without stamps may hold these again and again, then behind the first of them: the
    reason told twice is better than none.  All lines count where neither is there: it was overwritten since.
    They are not told apart by their time: the log's clock is not that of /proc/uptime, and stands still
    while a device sleeps.

    Args:
        run: names the run, as in its mark.
        before: the log's last lines before the load, oldest first.
        log: the log's last lines after it.
    """
    lines = log.splitlines()
    marks = [number for number, line in enumerate(lines, 1) if f"kheaders-adb {run}" in line]
    size = len(before)
    blocks = (end for end in range(size, len(lines) + 1) if lines[end - size : end] == [*before])
    begin = marks[-1] if marks else next(blocks, 0)
    return [_STAMP.sub("", line, count=1) for line in lines[begin:]]


def explain_insmod(
    text: str,
    log: str,
    *,
    modules_disabled: bool | None,
    uid: int | None,
    opened: bool = True,
) -> Refusal:
    """The cause of a failed ``insmod`` and what to do about it.

    Args:
        text: what insmod wrote.
        log: the kernel log's lines since the attempt.
        modules_disabled: ``kernel.modules_disabled``, if known.
        uid: the user that ran it, if known.
        opened: whether the shell could open the file; else ``insmod`` was not even run, and `text` is the
            shell's.
    """
    if not opened:
        refusal = GONE if "no such file" in text.lower() else UNOPENED
        return replace(refusal, said=text.strip())
    lines = log.splitlines()
    for rule in LOG_RULES:
        for line in reversed(lines):
            if match := rule.pattern.search(line):
                return Refusal(rule.cause, rule.seen.format(**match.groupdict()), rule.hint, line)
    refusal = _by_tool(text, modules_disabled=modules_disabled, uid=uid)
    # Whatever else the kernel logs at that moment is not about this, and is quoted only for want of better.
    related = [line for line in lines if _RELATED.search(line) and not _BESIDE.search(line)]
    if refusal.cause == "format" and related:
        refusal = replace(refusal, seen=FORMAT_SEEN)
    said = (related[-1:] or [text.strip()])[0] or "".join(lines[-1:])
    return replace(refusal, said=said)


def _by_tool(text: str, *, modules_disabled: bool | None, uid: int | None) -> Refusal:
    if modules_disabled:
        return DISABLED
    for rule in TOOL_RULES:
        if rule.pattern.search(text):
            return Refusal(rule.cause, rule.seen, rule.hint)
    if re.search(r"Operation not permitted|Permission denied", text):
        return FORBIDDEN if uid == 0 else NOT_ROOT
    return UNKNOWN
