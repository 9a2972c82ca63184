"""What it means when a kernel refuses a module: pure text in, cause and next step out.

The texts are those of toybox (Android), busybox and kmod.  toybox's and busybox's were measured, those of
signatures and lockdown too (Linux 6.1); those of SELinux and of protected symbols come from public reports.
The kernel log often says more than the errno and is asked first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a module was refused.

    Attributes:
        cause: a short name for the kind of refusal, as in "vermagic".
        seen: what happened, for a reader.
        hint: what to do next.
        said: the device's own words that tell it best: a line of the kernel log, or the tool's.
    """

    cause: str
    seen: str
    hint: str
    said: str = ""

    @property
    def doubts_build(self) -> bool:
        """Whether the reason says that the module is of another build, or none of a kernel's at all."""
        return self.cause in (
            "vermagic",
            "crc",
            "architecture",
            "truncated",
            "unresolved",
            "unknown",
        )


_BUILD_MATCHING = "take the kheaders.ko that was built together with this very kernel"
_CARVE = "or read the headers out of the file without loading it: --via carve"

# A busy kernel logs of other processes and their modules at the same moment.  So a line counts only from its
# beginning, and where it names a module or a process, only if it is ours.  That may be called busybox or
# toybox: a shell that runs its own applets does not go through the link that is called insmod.
_MODULE = "^kheaders: "
_INSMOD = "(?:insmod|toybox|busybox)"

_LOG_RULES: tuple[tuple[str, re.Pattern[str], str, str], ...] = (
    (
        "vermagic",
        re.compile(rf"{_MODULE}version magic '(?P<module>[^']*)' should be '(?P<kernel>[^']*)'"),
        "the module was built for {module!r}, the kernel is {kernel!r}",
        _BUILD_MATCHING,
    ),
    (
        "crc",
        re.compile(rf"{_MODULE}disagrees about version of symbol (?P<symbol>\w+)"),
        "the module was built against another source or configuration: the checksum of {symbol} differs",
        _BUILD_MATCHING,
    ),
    (
        "architecture",
        re.compile(r"^Invalid architecture in ELF header: (?P<machine>\d+)"),
        "the module is for another architecture (ELF machine {machine})",
        "give the kheaders.ko of the device's architecture",
    ),
    (
        "truncated",
        re.compile(r"^Invalid ELF (?P<what>section header overflow|header \w+|.*len.*)"),
        "the module file is damaged or cut short ({what})",
        "copy the file again and compare its size with the original",
    ),
    # Not "module verification failed … tainting kernel": that is a note, and the load went on.
    (
        "unsigned",
        re.compile(r"^Loading of unsigned module is rejected"),
        "the kernel takes only signed modules, and this one has no signature at its end",
        f"give the signed kheaders.ko of this build (stripping removes a signature), {_CARVE}",
    ),
    (
        "signature",
        re.compile(r"^Loading of module with unavailable key is rejected"),
        "the module is signed, but with a key that this kernel does not know",
        f"{_BUILD_MATCHING}, {_CARVE}",
    ),
    (
        "signature",
        re.compile(r"^PKCS7: (?P<what>.+)"),
        "the module's signature is damaged ({what})",
        f"copy the file again from its build, {_CARVE}",
    ),
    (
        "lockdown",
        re.compile(rf"^Lockdown: {_INSMOD}: .*unsigned module loading is restricted"),
        "the kernel is locked down and takes only signed modules",
        f"give the signed kheaders.ko of this build, {_CARVE}",
    ),
    # Not `module_request`, by which others ask for modules of their own; nor what was let through anyway.
    (
        "selinux",
        re.compile(
            r"^(?:audit: )?type=1400 audit\([^)]*\): +avc: +denied +"
            rf"\{{ (?P<what>module_load|sys_module) \}} (?=.* comm=\"{_INSMOD}\")(?!.*\bpermissive=1\b)"
        ),
        "SELinux denied it ({what})",
        f"use a su whose domain may load modules, {_CARVE}",
    ),
    # Android's kernels with MODULE_SIG_PROTECT let unsigned modules use only symbols of their KMI.
    (
        "protected",
        re.compile(
            rf"{_MODULE}(?:exports protected symbol (?P<symbol>\w+)|Unknown symbol (?P<used>\w+) \(err -13\))"
        ),
        "the kernel protects a symbol from modules that are not signed with its own key",
        f"give the kheaders.ko that was signed with this very build, {_CARVE}",
    ),
    (
        "unresolved",
        re.compile(rf"{_MODULE}Unknown symbol (?P<symbol>\w+) \(err -2\)"),
        "the module needs {symbol}, which this kernel does not have",
        _BUILD_MATCHING,
    ),
)

_TOOL_RULES: tuple[tuple[str, re.Pattern[str], str, str], ...] = (
    (
        "no-insmod",
        re.compile(
            r"insmod: (?:inaccessible or )?not found|insmod: No such file or directory$", re.M
        ),
        "the device has no insmod that this shell finds",
        _CARVE.removeprefix("or "),
    ),
    (
        "signature",
        re.compile(r"Required key not available"),
        "the kernel takes only modules signed with a key that it knows",
        f"give the signed kheaders.ko of this build, {_CARVE}",
    ),
    (
        "signature",
        re.compile(r"Key was rejected by service"),
        "the module's signature is none that this kernel accepts: missing, of another key, or the file was "
        "changed after it was signed",
        f"copy the signed kheaders.ko again from this build, {_CARVE}",
    ),
    (
        "signature",
        re.compile(r"Bad message"),
        "the module's signature is damaged or cut short",
        f"copy the file again from its build, {_CARVE}",
    ),
    (
        "not-root",
        re.compile(r"Not root"),
        "only root may load modules",
        f"use a rooted device, {_CARVE}",
    ),
    (
        "missing",
        re.compile(r"insmod: \S+: No such file|can't (?:insert|open|read) '[^']*': No such file"),
        "the module file is not there any more",
        "run the same command again, so that it is looked for anew",
    ),
    (
        "unresolved",
        re.compile(r"[Uu]nknown symbol|No such file or directory"),
        "the module needs symbols that this kernel does not have",
        _BUILD_MATCHING,
    ),
    (
        "loaded",
        re.compile(r"File exists"),
        "a kheaders is in the kernel already, but it shows no archive",
        f"{_CARVE.removeprefix('or ')}; `lsmod` on the device shows whether somebody uses what is loaded",
    ),
    (
        "crc",
        re.compile(r"Exec format error|invalid module format|Invalid module format"),
        "the kernel does not accept the module's format and does not say why; on a kernel with "
        "MODVERSIONS that is what a module without symbol checksums looks like",
        _BUILD_MATCHING,
    ),
    (
        "memory",
        re.compile(r"Cannot allocate memory|Out of memory"),
        "the kernel has no memory for the module (it takes about 4 MB)",
        f"free memory on the device, then try again, {_CARVE}",
    ),
)


# Not the marks of other runs.
_RELATED = re.compile(r"kheaders(?!-adb)|module|ELF|vmap|alloc|avc:|lockdown", re.IGNORECASE)
_OF_OTHERS = re.compile(rf"avc: (?!.* comm=\"{_INSMOD}\")|\bpermissive=1\b")
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
    text: str, log: str, *, modules_disabled: bool | None, uid: int | None
) -> Refusal:
    """The cause of a failed ``insmod`` and what to do about it.

    Args:
        text: what insmod wrote.
        log: the kernel log's lines since the attempt.
        modules_disabled: ``kernel.modules_disabled``, if known.
        uid: the user that ran it, if known.
    """
    lines = log.splitlines()
    for cause, pattern, seen, hint in _LOG_RULES:
        for line in reversed(lines):
            if match := pattern.search(line):
                return Refusal(cause, seen.format(**match.groupdict()), hint, line)
    # Whatever else the kernel logs at that moment is not about this, and is quoted only for want of better.
    related = [line for line in lines if _RELATED.search(line) and not _OF_OTHERS.search(line)]
    said = (related[-1:] or [text.strip()])[0] or "".join(lines[-1:])
    return replace(_by_tool(text, modules_disabled=modules_disabled, uid=uid), said=said)


def _by_tool(text: str, *, modules_disabled: bool | None, uid: int | None) -> Refusal:
    if modules_disabled:
        return Refusal(
            "disabled",
            "loading modules is switched off until the next boot (kernel.modules_disabled=1)",
            f"{_CARVE.removeprefix('or ')}; after a reboot it may be allowed again",
        )
    for cause, pattern, seen, hint in _TOOL_RULES:
        if pattern.search(text):
            return Refusal(cause, seen, hint)
    if re.search(r"Operation not permitted|Permission denied", text):
        if uid == 0:
            return Refusal(
                "forbidden",
                "root was forbidden to load the module (SELinux or lockdown)",
                f"see `dmesg` for an avc or lockdown line; {_CARVE.removeprefix('or ')}",
            )
        return Refusal("not-root", "only root may load modules", f"use a rooted device, {_CARVE}")
    return Refusal(
        "unknown", "the kernel refused the module", f"see `dmesg` on the device, {_CARVE}"
    )
