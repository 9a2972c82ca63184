"""The ways in which a kernel refuses a module: by which words each is known, and what to do about it.

The texts are those of toybox (Android), busybox and kmod.  toybox's and busybox's were measured, those of
signatures and lockdown too (Linux 6.1); those of SELinux, of protected symbols, of BTF and of linking come
from the kernel's source and public reports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kheaders_adb.device.advice import OTHER_DOMAIN


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
        return self.cause in _OF_ANOTHER_BUILD

    @property
    def doubts_folder(self) -> bool:
        """Whether it may be for the folder in which the file lies: SELinux judges a file by its label."""
        return self.cause == "selinux" and "{ module_load }" in self.said


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """By what a refusal is known.

    Attributes:
        cause, hint: as those of `Refusal`.
        pattern: what a line of the log, or the tool's text, holds.
        seen: as that of `Refusal`; what the pattern's groups found is put into it.
    """

    cause: str
    pattern: re.Pattern[str]
    seen: str
    hint: str


# Whose archive is not this kernel's either, or maybe not: so their hints never lead to --via carve.
_OF_ANOTHER_BUILD = {
    "vermagic",
    "crc",
    "btf",
    "layout",
    "toolchain",
    "format",
    "architecture",
    "truncated",
    "unresolved",
    "unknown",
}

_BUILD_MATCHING = "take the kheaders.ko that was built together with this very kernel"
_CARVE = "or read the headers out of the file without loading it: --via carve"

# A busy kernel logs of other processes and their modules at the same moment.  So a line counts only from its
# beginning, and where it names a module or a process, only if it is ours.  That may be called busybox or
# toybox: a shell that runs its own applets does not go through the link that is called insmod.
_MODULE = "^(?:module )?kheaders: "
INSMOD = "(?:insmod|toybox|busybox)"

LOG_RULES: tuple[RefusalRule, ...] = (
    RefusalRule(
        "vermagic",
        re.compile(rf"{_MODULE}version magic '(?P<module>[^']*)' should be '(?P<kernel>[^']*)'"),
        "the module was built for {module!r}, the kernel is {kernel!r}",
        _BUILD_MATCHING,
    ),
    RefusalRule(
        "crc",
        re.compile(rf"{_MODULE}disagrees about version of symbol (?P<symbol>\w+)"),
        "the module was built against another source or configuration: the checksum of {symbol} differs",
        _BUILD_MATCHING,
    ),
    RefusalRule(
        "crc",
        re.compile(rf"{_MODULE}Unknown symbol (?P<symbol>\w+) \(err -22\)"),
        "the module was built against another {symbol} than this kernel's",
        _BUILD_MATCHING,
    ),
    # -12: no memory for it.
    RefusalRule(
        "btf",
        re.compile(r"^failed to validate module \[kheaders\] BTF: (?!-12\b)"),
        "the module's BTF does not fit the kernel's: it was built at another time",
        _BUILD_MATCHING,
    ),
    # The name is not known yet to some kernels, or stands in a section that is missing.
    RefusalRule(
        "layout",
        re.compile(
            r"^(?:module(?: kheaders| \([^)]*\))?: )?"
            r"\.gnu\.linkonce\.this_module section size must match"
        ),
        "the kernel's struct module has another size: the module was built against another configuration",
        _BUILD_MATCHING,
    ),
    # Each architecture has its own words for what it cannot link.
    RefusalRule(
        "toolchain",
        re.compile(
            rf"{_MODULE}.*(?:relocation|\breloc\b|\bPLT\b|\bGOT\b)"
            r"|^(?:module: )?x86/modules: .*relocation|^overflow in relocation type",
            re.IGNORECASE,
        ),
        "the module was built with another toolchain or configuration: the kernel cannot link it",
        _BUILD_MATCHING,
    ),
    RefusalRule(
        "architecture",
        re.compile(r"^Invalid architecture in ELF header: (?P<machine>\d+)"),
        "the module is for another architecture (ELF machine {machine})",
        "give the kheaders.ko of the device's architecture",
    ),
    RefusalRule(
        "truncated",
        re.compile(r"^Invalid ELF (?P<what>section header overflow|header \w+|.*len.*)"),
        "the module file is damaged or cut short ({what})",
        "copy the file again and compare its size with the original",
    ),
    # Not "module verification failed … tainting kernel": that is a note, and the load went on.
    RefusalRule(
        "unsigned",
        re.compile(r"^Loading of unsigned module is rejected"),
        "the kernel takes only signed modules, and this one has no signature at its end",
        f"give the signed kheaders.ko of this build (stripping removes a signature), {_CARVE}",
    ),
    RefusalRule(
        "signature",
        re.compile(r"^Loading of module with unavailable key is rejected"),
        "the module is signed, but with a key that this kernel does not know",
        f"{_BUILD_MATCHING}, {_CARVE}",
    ),
    RefusalRule(
        "signature",
        re.compile(r"^PKCS7: (?P<what>.+)"),
        "the module's signature is damaged ({what})",
        f"copy the file again from its build, {_CARVE}",
    ),
    RefusalRule(
        "lockdown",
        re.compile(rf"^Lockdown: {INSMOD}: .*unsigned module loading is restricted"),
        "the kernel is locked down and takes only signed modules",
        f"give the signed kheaders.ko of this build, {_CARVE}",
    ),
    # Not `module_request`, by which others ask for modules of their own; nor what was let through anyway.
    RefusalRule(
        "selinux",
        re.compile(
            r"^(?:audit: )?type=1400 audit\([^)]*\): +avc: +denied +"
            rf"\{{ (?P<what>module_load|sys_module) \}} (?=.* comm=\"{INSMOD}\")(?!.*\bpermissive=1\b)"
        ),
        "SELinux denied it ({what})",
        f"use a su whose domain may load modules, {_CARVE}",
    ),
    # Android's kernels with MODULE_SIG_PROTECT let unsigned modules use only symbols of their KMI.
    RefusalRule(
        "protected",
        re.compile(
            rf"{_MODULE}(?:exports protected symbol (?P<symbol>\w+)|Unknown symbol (?P<used>\w+) \(err -13\))"
        ),
        "the kernel protects a symbol from modules that are not signed with its own key",
        f"give the kheaders.ko that was signed with this very build, {_CARVE}",
    ),
    RefusalRule(
        "unresolved",
        re.compile(rf"{_MODULE}Unknown symbol (?P<symbol>\w+) \(err (?:-2|0)\)"),
        "the module needs {symbol}, which this kernel does not have",
        _BUILD_MATCHING,
    ),
)

GONE = Refusal(
    "missing",
    "the module file is not there any more",
    "run the same command again, so that it is looked for anew",
)

TOOL_RULES: tuple[RefusalRule, ...] = (
    RefusalRule(
        "no-insmod",
        re.compile(
            r"insmod: (?:inaccessible or )?not found|insmod: No such file or directory$", re.M
        ),
        "the device has no insmod that this shell finds",
        _CARVE.removeprefix("or "),
    ),
    RefusalRule(
        "signature",
        re.compile(r"Required key not available"),
        "the kernel takes only modules signed with a key that it knows",
        f"give the signed kheaders.ko of this build, {_CARVE}",
    ),
    RefusalRule(
        "signature",
        re.compile(r"Key was rejected by service"),
        "the module's signature is none that this kernel accepts: missing, of another key, or the file was "
        "changed after it was signed",
        f"copy the signed kheaders.ko again from this build, {_CARVE}",
    ),
    RefusalRule(
        "signature",
        re.compile(r"Bad message"),
        "the module's signature is damaged or cut short",
        f"copy the file again from its build, {_CARVE}",
    ),
    RefusalRule(
        "not-root",
        re.compile(r"Not root"),
        "only root may load modules",
        f"use a rooted device, {_CARVE}",
    ),
    RefusalRule(
        GONE.cause,
        re.compile(
            r"insmod: \S+: No such file|can't (?:insert|open|read) '[^']*': No such file"
            # kmod, if it is the file that is missing.
            r"|could not load module [^:]*: No such file"
        ),
        GONE.seen,
        GONE.hint,
    ),
    RefusalRule(
        "unresolved",
        re.compile(r"[Uu]nknown symbol|No such file or directory"),
        "the module needs symbols that this kernel does not have",
        _BUILD_MATCHING,
    ),
    RefusalRule(
        "loaded",
        re.compile(r"File exists"),
        "a kheaders is in the kernel already, but it shows no archive",
        f"{_CARVE.removeprefix('or ')}; `lsmod` on the device shows whether somebody uses what is loaded",
    ),
    RefusalRule(
        "format",
        re.compile(r"Exec format error|invalid module format|Invalid module format"),
        "the kernel does not accept the module's format and does not say why; on a kernel with "
        "MODVERSIONS that is what a module without symbol checksums looks like",
        _BUILD_MATCHING,
    ),
    RefusalRule(
        "memory",
        re.compile(r"Cannot allocate memory|Out of memory"),
        "the kernel has no memory for the module (it takes about 4 MB)",
        f"free memory on the device, then try again, {_CARVE}",
    ),
)

#: What is seen of a refused format where a line of the log may say why.
FORMAT_SEEN = "the kernel does not accept the module's format"

DISABLED = Refusal(
    "disabled",
    "loading modules is switched off until the next boot (kernel.modules_disabled=1)",
    f"{_CARVE.removeprefix('or ')}; after a reboot it may be allowed again",
)
FORBIDDEN = Refusal(
    "forbidden",
    "root was forbidden to load the module (SELinux or lockdown)",
    f"see `dmesg` for an avc or lockdown line; {_CARVE.removeprefix('or ')}",
)
NOT_ROOT = Refusal("not-root", "only root may load modules", f"use a rooted device, {_CARVE}")
UNKNOWN = Refusal(
    "unknown", "the kernel refused the module", f"see `dmesg` on the device; {_BUILD_MATCHING}"
)
UNOPENED = Refusal(
    "unopened",
    "this shell cannot open the module file",
    f"{OTHER_DOMAIN}; or give the same module from the build: --module kheaders.ko",
)
#: Those that are known by more than words.
OTHERS = (DISABLED, FORBIDDEN, NOT_ROOT, UNKNOWN, UNOPENED)
