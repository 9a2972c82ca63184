"""The heading that Kconfig gives to ``.config`` and ``autoconf.h``: of which Linux the configuration is.

``Linux/arm64 6.1.75 Kernel Configuration`` (mainmenu in the kernel's Kconfig).  It holds the version of the
source without what a build adds (LOCALVERSION), so it says less than a release, but nobody who swaps one
configuration for another thinks of it.  Archives of headers have it stripped from their ``autoconf.h``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kheaders_adb.model import ArchiveFacts
from kheaders_adb.untrusted.text import printable

# Of a version that Kconfig did not fill in ("$KERNELVERSION") nothing is said.
_HEADING = re.compile(
    rb"^(?:#| \*) Linux/([0-9A-Za-z_-]{1,32}) ([0-9]{1,3}\.[0-9]{1,3}[^ \n]{0,32}) "
    rb"Kernel Configuration\r?$",
    re.M,
)
_SEARCHED_BYTES = 1024
# Where make's ARCH is not the name of the folder (the kernel's Makefile).
_SRCARCH = {
    "i386": "x86",
    "x86_64": "x86",
    "sparc32": "sparc",
    "sparc64": "sparc",
    "parisc64": "parisc",
    "sh64": "sh",
}
_NUMBERS = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class Heading:
    """Of which Linux a configuration says it is.

    Attributes:
        arch: make's ARCH: "arm64", "x86_64", …
        version: the source's version, without LOCALVERSION: "6.1.75", "6.8.0-rc1".
        numbers: the version's three numbers.
    """

    arch: str
    version: str
    numbers: tuple[int, int, int]

    def __str__(self) -> str:
        return f"Linux/{self.arch} {self.version}"

    def contradicts(self, facts: ArchiveFacts) -> bool:
        """Whether an archive is of another version of Linux, or of another architecture.

        ``LINUX_VERSION_CODE`` counts before the release: distributions number theirs differently (Debian's
        6.1.0-21 is 6.1.90).
        """
        srcarch = _SRCARCH.get(self.arch, self.arch)
        if facts.srcarch is not None and srcarch != facts.srcarch:
            return True
        version, patch_level, sublevel = self.numbers
        if facts.version_code is not None:
            # The sublevel was clamped at 255 in the spring of 2021, and overflowed before.
            codes = [
                (version << 16) + (patch_level << 8) + last
                for last in (sublevel, min(sublevel, 255))
            ]
            return facts.version_code not in codes
        release = _NUMBERS.match(facts.release or "")
        return release is not None and self.numbers != _three(release)


def parse_heading(text: bytes) -> Heading | None:
    """Return the heading of a ``.config`` or an ``autoconf.h``; None where there is none of this form."""
    found = _HEADING.search(text[:_SEARCHED_BYTES])
    if found is None:
        return None
    arch, version = found[1].decode("ascii"), found[2].decode("utf-8", "backslashreplace")
    numbers = _NUMBERS.match(version)
    assert numbers is not None
    return Heading(arch, version, _three(numbers))


def find_contradictions(kernel: Heading | None, facts: ArchiveFacts) -> tuple[str, ...]:
    """What the headings of two configurations say against their belonging together, in words.

    Args:
        kernel: the heading of the running kernel's configuration, if it has one.
        facts: what the archive says, the heading of its ``autoconf.h`` among it.
    """
    archived = parse_heading(f"# {facts.config_heading} Kernel Configuration".encode())
    of = f"the archive is of {_version_of(facts)}"
    found = []
    if kernel is not None and kernel.contradicts(facts):
        found.append(f'the kernel\'s configuration is headed "{kernel}", {of}')
    if archived is not None and archived.contradicts(facts):
        found.append(f'the archive\'s autoconf.h is headed "{archived}", {of}')
    elif kernel and archived and kernel.version != archived.version and not found:
        found.append(f'the kernel\'s configuration is headed "{kernel}", autoconf.h "{archived}"')
    return tuple(found)


def _version_of(facts: ArchiveFacts) -> str:
    code = facts.version_code
    version = facts.release if code is None else f"{code >> 16}.{code >> 8 & 255}.{code & 255}"
    arch = "" if facts.srcarch is None else f", arch/{facts.srcarch}"
    return printable(f"Linux {version}{arch}")


def _three(found: re.Match[str]) -> tuple[int, int, int]:
    return int(found[1]), int(found[2]), int(found[3] or 0)
