"""The little of an ELF kernel module that matters here, read from hostile bytes.

pyelftools does the parsing.  It trusts offsets and counts, and raises exceptions of many kinds on a
malformed file; so it reads through a stream with a budget, and everything that it raises becomes one
error.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kheaders_adb.errors import ArchiveError
from kheaders_adb.untrusted.rules import Rule
from kheaders_adb.untrusted.text import printable

if TYPE_CHECKING:
    from elftools.elf.sections import Section

STEP = "reading the kernel module"

MAGIC = b"\x7fELF"
# A real kheaders.ko has 30 sections and 50 symbols, and takes 800 reads.
_READS = 100_000
_SECTIONS = 4_096
_MODINFO_BYTES = 64 * 1024

_MACHINES = {
    "EM_X86_64": "x86_64",
    "EM_386": "i386",
    "EM_AARCH64": "aarch64",
    "EM_ARM": "arm",
    "EM_RISCV": "riscv64",
    "EM_PPC64": "ppc64",
    "EM_S390": "s390x",
    "EM_MIPS": "mips",
    "EM_LOONGARCH": "loongarch64",
}


@dataclass(frozen=True, slots=True)
class ElfModule:
    """What an ELF kernel module says of itself.

    Attributes:
        machine: as in UTS_MACHINE, or pyelftools' name for one not known here.
        modinfo: ``.modinfo``, first value of each key.
        modversions: whether it carries symbol CRCs.
        symbols: the file offsets of the symbols asked for, as far as they lie in a section with
            content; all are within the file.
    """

    machine: str
    modinfo: dict[str, str]
    modversions: bool
    symbols: dict[str, int]


def parse_module(data: bytes, wanted: frozenset[str]) -> ElfModule:
    """Parse an ELF relocatable file.

    Args:
        data: the file's bytes, uncompressed.
        wanted: the names of symbols to locate.

    Raises:
        CorruptArchiveError: it is no ELF module, malformed, or cut short.
    """
    if not data.startswith(MAGIC):
        raise Rule.NOT_A_MODULE.error("not an ELF file", step=STEP, hint="give a kheaders.ko")
    with _wrapped():
        return _parse(data, wanted)


@contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:  # pyelftools: ELFError, construct's, struct's, Unicode, Type, Key, …
        raise damaged(f"{type(error).__name__}: {error}") from error


def damaged(seen: str) -> Exception:
    """Return the error for an ELF file that contradicts itself."""
    return Rule.MODULE_DAMAGED.error(seen, step=STEP, hint="fetch the module again")


def _parse(data: bytes, wanted: frozenset[str]) -> ElfModule:
    from elftools.elf.elffile import ELFFile  # takes as long to import as to use
    from elftools.elf.sections import SymbolTableSection

    elf = ELFFile(_BudgetedStream(data))
    if elf["e_type"] != "ET_REL":
        raise Rule.NOT_A_MODULE.error(
            f"an ELF file of type {elf['e_type']}, not a kernel module", step=STEP
        )
    count = elf.num_sections()
    if not 0 < count <= _SECTIONS:
        raise damaged(f"{count} sections")

    modinfo: dict[str, str] = {}
    modversions = False
    symbols: dict[str, int] = {}
    for number in range(count):
        section = elf.get_section(number)
        if section.name == ".modinfo":
            start, size = _extent(data, section)
            modinfo = _parse_modinfo(data[start : start + min(size, _MODINFO_BYTES)])
        elif section.name in ("__versions", "__version_ext_crcs"):
            modversions = modversions or section["sh_size"] > 0
        elif isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                if symbol.name in wanted and isinstance(symbol["st_shndx"], int):
                    start, size = _extent(data, elf.get_section(symbol["st_shndx"]))
                    if symbol["st_value"] > size:
                        raise damaged(f"the symbol {symbol.name} lies outside its section")
                    symbols[symbol.name] = start + symbol["st_value"]
    machine = str(elf["e_machine"])
    return ElfModule(_MACHINES.get(machine, machine), modinfo, modversions, symbols)


def _extent(data: bytes, section: Section) -> tuple[int, int]:
    """Return a section's offset and size in the file, both within it."""
    start, size = int(section["sh_offset"]), int(section["sh_size"])
    if section["sh_type"] == "SHT_NOBITS" or start > len(data) or size > len(data) - start:
        raise damaged(
            f"the section {printable(section.name)} reaches beyond the file's {len(data)} bytes"
        )
    return start, size


def _parse_modinfo(entries: bytes) -> dict[str, str]:
    info: dict[str, str] = {}
    for entry in entries.split(b"\0"):
        key, equals, value = entry.partition(b"=")
        if equals:
            info.setdefault(
                key.decode("utf-8", "backslashreplace"), value.decode("utf-8", "backslashreplace")
            )
    return info


class _BudgetedStream(io.BytesIO):
    """A file in memory that gives out only so much: a malformed one makes the parser read on and on."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads_left = _READS

    def read(self, size: int | None = -1, /) -> bytes:
        taken = super().read(size)
        self._reads_left -= 1
        if self._reads_left < 0:
            raise damaged("parsing it takes more reads than a kernel module can need")
        return taken
