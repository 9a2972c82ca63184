"""``/proc/version``, which says once more what uname says, and who built the kernel with what.

Every kernel with kheaders prints ``Linux version RELEASE (WHO@HOST) (COMPILER) VERSION``
(fs/proc/version.c) with the very strings that ``uname -r`` and ``uname -v`` return.  Whatever compilers put
between, beginning and end are the same on vendors' kernels too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kheaders_adb.model import KernelIdentity

_HEAD = re.compile(r"Linux version (?:(.*?) \(|(\S+))")
# A version is of 64 characters at most, and check texts of 160.
_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Doubt:
    """Where uname and /proc/version do not say the same, so that neither can be believed.

    Attributes:
        release: the likelier release: kernels that hide root from apps change what uname says.
        said: what each of them says.
        note: what follows from it.
    """

    release: str
    said: str
    note: str


def find_doubt(identity: KernelIdentity) -> Doubt | None:
    """What is odd about /proc/version beside uname; None if it says the same or could not be read."""
    if identity.banner is None:
        return None
    banner, version = identity.banner.strip(), identity.version.strip()
    head = _HEAD.match(banner)
    if head is None:
        return Doubt(
            identity.release,
            f"{identity.release} (uname -r), {banner[:_SHOWN] or 'nothing'} (/proc/version)",
            "/proc/version has no form known here, so it cannot confirm what uname says",
        )
    release = head[1] if head[1] is not None else head[2]
    if release != identity.release:
        return Doubt(
            release,
            f"{identity.release} (uname -r), {release} (/proc/version)",
            "the kernel's two releases disagree, so one of them is forged",
        )
    if not banner.endswith(f") {version}"):
        # From its last "#", where a version begins in every build that was not given another one.
        at = banner.rfind(" #")
        end = banner[at + 1 :][:_SHOWN] if at >= 0 else f"…{banner[1 - _SHOWN :]}"
        return Doubt(
            release,
            f"{version or 'nothing'} (uname -v), {end} (/proc/version)",
            "the kernel's two versions disagree, so one of them is forged",
        )
    return None


def parse_builder(identity: KernelIdentity) -> tuple[str, str] | None:
    """Return "who@host" and the compiler of /proc/version; None if it cannot be told safely.

    The compiler holds parentheses of its own, and a host may be called "(none)", so the parts are cut from
    the two ends: the version is ``uname -v``, and the first ``) (`` ends the host.
    """
    if identity.banner is None:
        return None
    banner = identity.banner.strip()
    version = identity.version.strip()
    if version and banner.endswith(f") {version}"):
        banner = banner[: -len(version)].rstrip()
    else:
        build_number = banner.rfind(") #")
        if build_number < 0:
            return None
        banner = banner[: build_number + 1]
    head = re.match(r"Linux version .*? \(", banner)
    if head is None:
        return None
    builder, between, compiler = banner[head.end() : -1].partition(") (")
    if not between or "@" not in builder or not compiler:
        return None
    return builder, compiler
