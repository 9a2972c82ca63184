"""What an archive says about the kernel it was made for."""

from __future__ import annotations

import re

from kheaders_adb.kernel.autoconf import (
    AUTOCONF,
    KCONFIG,
    check_kconfig,
    is_second,
    parse_autoconf,
    refuse_second,
)
from kheaders_adb.kernel.config import parse_defines
from kheaders_adb.kernel.heading import parse_heading
from kheaders_adb.model import ArchiveFacts
from kheaders_adb.untrusted.rules import Rule

_UTSRELEASE = "include/generated/utsrelease.h"
_COMPILE = "include/generated/compile.h"
_VERSION = "include/generated/uapi/linux/version.h"
# Not include/generated/utsversion.h: an incremental build can leave a stale one in the archive.
_SOURCES = frozenset({AUTOCONF, _UTSRELEASE, _COMPILE, _VERSION})

_ESCAPED = re.compile(r"\\(.)")
_DECIMAL = re.compile(r"[0-9]{1,10}").fullmatch


class FactCollector:
    """Picks the generated headers that name a kernel out of the members passing by."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._arches: set[str] = set()

    def add(self, member_path: str, content: bytes) -> None:
        """Take in one member; cheap for all but four of them.

        Args:
            member_path: normalised, as Member.path.
            content: the file's bytes; empty for anything else.

        Raises:
            CorruptArchiveError: it makes ``autoconf.h`` mean something else to a compiler.
        """
        if is_second(member_path):
            raise refuse_second(member_path)
        if member_path == KCONFIG:
            check_kconfig(content)
        if member_path.startswith("arch/"):
            parts = member_path.split("/", 3)
            if len(parts) > 2 and parts[2] == "include":
                self._arches.add(parts[1])
        elif member_path in _SOURCES:
            self._contents[member_path] = content

    def facts(self) -> ArchiveFacts:
        """Return what the members so far say.

        Raises:
            CorruptArchiveError: one of the generated headers is not text, too large, or not as generated.
        """
        release = self._defines(_UTSRELEASE)
        compiled = self._defines(_COMPILE)
        code = self._defines(_VERSION).get("LINUX_VERSION_CODE", "")
        autoconf = self._contents.get(AUTOCONF)
        heading = None if autoconf is None else parse_heading(autoconf)
        return ArchiveFacts(
            release=_string(release.get("UTS_RELEASE")),
            srcarch=next(iter(self._arches)) if len(self._arches) == 1 else None,
            config=None if autoconf is None else parse_autoconf(autoconf),
            compile_by=_string(compiled.get("LINUX_COMPILE_BY")),
            compile_host=_string(compiled.get("LINUX_COMPILE_HOST")),
            compiler=_string(compiled.get("LINUX_COMPILER")),
            uts_machine=_string(compiled.get("UTS_MACHINE")),
            uts_version=_string(compiled.get("UTS_VERSION")),
            version_code=int(code) if _DECIMAL(code) else None,
            config_heading=None if heading is None else str(heading),
        )

    def _defines(self, path: str) -> dict[str, str]:
        return parse_defines(self._contents.get(path, b""), path)


def require_kheaders(facts: ArchiveFacts) -> None:
    """Refuse an archive that does not say which kernel it is for: no verdict can rest on it.

    Raises:
        CorruptArchiveError: it lacks ``utsrelease.h`` or ``autoconf.h``, or they say nothing.
    """
    missing = [
        path for path, said in ((_UTSRELEASE, facts.release), (AUTOCONF, facts.config)) if not said
    ]
    if missing:
        raise Rule.NOT_KHEADERS.error(
            f"holds no usable {' and no '.join(missing)}, which every archive of kernel headers has",
            hint="give the kheaders.tar.xz of a kernel, as it hands it out",
        )


def _string(text: str | None) -> str | None:
    """Return the content of a C string literal; None for anything else."""
    if text is None or len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return None
    return _ESCAPED.sub(r"\1", text[1:-1])
