"""What a staged header tree says about how it must be compiled against."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb.errors import CompileError, CorruptArchiveError, UsageError
from kheaders_adb.kernel.autoconf import AUTOCONF, parse_autoconf

# Far above the largest of these headers (autoconf.h is about 200 KB); a larger one is not the kernel's.
MAX_HEADER_BYTES = 4 << 20

_KCONFIG = "include/linux/kconfig.h"

_NOT_A_TREE = (
    "give the root of an extracted kheaders archive, the directory that holds include/ and arch/"
)


class Arch(enum.Enum):
    """An architecture whose kernels can be compiled for.

    Attributes:
        srcarch: the kernel's name for it, as in ``arch/<srcarch>``.
        triple: clang's target for the front stage.
        target_define: the suffix of libbpf's ``__TARGET_ARCH_`` macro.
        machine: what ``uname -m`` says there.
    """

    X86_64 = ("x86", "x86_64-linux-gnu", "x86", "x86_64")
    ARM64 = ("arm64", "aarch64-linux-gnu", "arm64", "aarch64")
    ARM = ("arm", "arm-linux-gnueabi", "arm", "armv7l")
    RISCV64 = ("riscv", "riscv64-linux-gnu", "riscv", "riscv64")

    def __init__(self, srcarch: str, triple: str, target_define: str, machine: str) -> None:
        self.srcarch = srcarch
        self.triple = triple
        self.target_define = target_define
        self.machine = machine


class Shim(enum.Enum):
    """A header of ours that some trees need before their own; the value is its file name."""

    ARM_UNIFIED = "arm_unified.h"
    ASM_GOTO = "asm_goto.h"
    ASM_INLINE = "asm_inline.h"


@dataclass(frozen=True, slots=True)
class HeaderTree:
    """A header tree, and what was read in it.

    Attributes:
        root: the directory that holds ``include/`` and ``arch/``.
        arch: the architecture that it was made for.
        config: the symbols of ``autoconf.h`` without ``CONFIG_``, as parse_autoconf() gives them.
        release: ``UTS_RELEASE``, or None without ``utsrelease.h``.
        version_code: ``LINUX_VERSION_CODE``, or None without ``version.h``.
        compiler: ``LINUX_COMPILER``, or None without ``compile.h``.
        asm_goto_by_flag: the tree learns from ``-DCC_HAVE_ASM_GOTO`` alone that its compiler had asm
            goto, on which ``struct static_key`` depends.
        shims: the headers of ours that it needs.
        cautions: what a user must know before trusting a program compiled against it.
    """

    root: Path
    arch: Arch
    config: Mapping[str, str]
    release: str | None = None
    version_code: int | None = None
    compiler: str | None = None
    asm_goto_by_flag: bool = False
    shims: tuple[Shim, ...] = ()
    cautions: tuple[str, ...] = ()


def read_tree(root: Path) -> HeaderTree:
    """Read from a tree what the compiler's flags depend on.

    Args:
        root: an extracted archive.

    Raises:
        UsageError: it is not a tree of kernel headers.
        CompileError: it is one of an architecture that cannot be compiled for, or holds what makes clang
            read something else in the place of its headers.

    Only a handful of small headers is read, none beyond ``MAX_HEADER_BYTES``.
    """
    autoconf = _content(root, AUTOCONF)
    if autoconf is None or not (root / _KCONFIG).is_file():
        raise UsageError(
            f"{root} is not a tree of kernel headers: it lacks "
            + (AUTOCONF if autoconf is None else _KCONFIG),
            hint=_NOT_A_TREE,
        )
    config = _config(root, autoconf)
    arch = _arch(root, config)
    _refuse_substitutes(root, arch)
    types = _text(root, "include/linux/compiler_types.h") or ""
    # Kernels before 4.15 have it all in compiler-gcc.h, which clang reads as well.
    gcc = _text(root, "include/linux/compiler-gcc.h") or ""
    clang = _text(root, "include/linux/compiler-clang.h") or ""
    asm_goto_by_flag = "CC_HAVE_ASM_GOTO" in (_text(root, "include/linux/jump_label.h") or "")
    gcc_for_clang = not re.search(r"^#\s*elif.*__GNUC__", types, re.M)
    shims = []
    if "__asm__" in (_text(root, "arch/arm/include/asm/unified.h") or ""):
        shims.append(Shim.ARM_UNIFIED)
    if asm_goto_by_flag and not _defines(
        "asm_volatile_goto", types, clang, gcc if gcc_for_clang else ""
    ):
        shims.append(Shim.ASM_GOTO)
    # asm_inline is `asm __inline`, which only works while __inline is the compiler's own word.
    if _defines("asm_inline", types, gcc, clang) and _defines("__inline", types, gcc, clang):
        shims.append(Shim.ASM_INLINE)
    return HeaderTree(
        root=root,
        arch=arch,
        config=config,
        release=_quoted(_text(root, "include/generated/utsrelease.h"), "UTS_RELEASE"),
        version_code=_number(
            _text(root, "include/generated/uapi/linux/version.h"), "LINUX_VERSION_CODE"
        ),
        compiler=_quoted(_text(root, "include/generated/compile.h"), "LINUX_COMPILER"),
        asm_goto_by_flag=asm_goto_by_flag,
        shims=tuple(shims),
        cautions=_cautions(config),
    )


def include_dirs(root: Path, arch: Arch) -> list[Path]:
    """Return where headers are looked for, in the kernel's own order (``LINUXINCLUDE`` in its Makefile)."""
    return [
        root / directory
        for directory in (
            f"arch/{arch.srcarch}/include",
            f"arch/{arch.srcarch}/include/generated",
            "include",
            f"arch/{arch.srcarch}/include/uapi",
            f"arch/{arch.srcarch}/include/generated/uapi",
            "include/uapi",
            "include/generated/uapi",
        )
    ]


def _refuse_substitutes(root: Path, arch: Arch) -> None:
    # For -include clang prefers a precompiled header beside the file: a memory image that it trusts.
    found = [root / f"{_KCONFIG}{ending}" for ending in (".pch", ".gch")]
    # A file in the place of a folder is a header map, which gives every name another file.
    found += [path for path in include_dirs(root, arch) if not path.is_dir()]
    for path in found:
        if path.exists() or path.is_symlink():
            raise CompileError(
                f"{path} would be read by clang in the place of the kernel's headers",
                step="reading the header tree",
                hint="no kernel has this in its headers: do not trust them",
            )


def _arch(root: Path, config: Mapping[str, str]) -> Arch:
    names = sorted(entry.name for entry in (root / "arch").glob("*") if entry.is_dir())
    if len(names) != 1:
        raise UsageError(
            f"{root} does not say which architecture it is for: arch/ holds "
            + (" and ".join(names) or "nothing"),
            hint=_NOT_A_TREE,
        )
    arch = next((arch for arch in Arch if arch.srcarch == names[0]), None)
    unsupported = None
    if arch is None:
        unsupported = f"arch/{names[0]}"
    elif "CPU_BIG_ENDIAN" in config:
        unsupported = f"big-endian {names[0]}"
    elif arch is not Arch.ARM and "64BIT" not in config:
        unsupported = f"32-bit {names[0]}"
    if arch is None or unsupported:
        raise CompileError(
            f"{root} is for {unsupported}, which cannot be compiled for",
            step="reading the header tree",
            hint="programs can be compiled for x86_64, arm64, arm and riscv64",
        )
    return arch


def _cautions(config: Mapping[str, str]) -> tuple[str, ...]:
    found = []
    if {"RANDSTRUCT", "GCC_PLUGIN_RANDSTRUCT"} & config.keys():
        found.append(
            "this kernel lays out some structures at random (CONFIG_RANDSTRUCT); the headers cannot "
            "tell where their fields are, so what a program reads from task_struct and others is wrong"
        )
    return tuple(found)


def _config(root: Path, autoconf: bytes) -> Mapping[str, str]:
    try:
        return parse_autoconf(autoconf)
    except CorruptArchiveError as error:
        raise UsageError(
            f"{root} is not a tree of kernel headers: {error.seen}", hint=_NOT_A_TREE
        ) from error


def _text(root: Path, name: str) -> str | None:
    """Return a header's text, or None when there is none; raises UsageError for an absurd one."""
    content = _content(root, name)
    return None if content is None else content.decode("utf-8", "replace")


def _content(root: Path, name: str) -> bytes | None:
    path = root / name
    try:
        with path.open("rb") as file:
            data = file.read(MAX_HEADER_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint=_NOT_A_TREE) from error
    if len(data) > MAX_HEADER_BYTES:
        raise UsageError(f"{path} is larger than any kernel header", hint=_NOT_A_TREE)
    return data


def _defines(macro: str, *texts: str) -> bool:
    pattern = rf"^[ \t]*#[ \t]*define[ \t]+{macro}\b"
    return any(macro in text and re.search(pattern, text, re.M) for text in texts)


def _quoted(text: str | None, macro: str) -> str | None:
    found = re.search(rf'^#define[ \t]+{macro}[ \t]+"(.*)"', text or "", re.M)
    return found[1] if found else None


def _number(text: str | None, macro: str) -> int | None:
    found = re.search(rf"^#define[ \t]+{macro}[ \t]+(\d{{1,18}})\b", text or "", re.M)
    return int(found[1]) if found else None
