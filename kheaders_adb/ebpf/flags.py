"""The compiler's flags for one header tree.

BPF programs that include kernel headers are compiled in two stages: the *front* stage parses for the
device's own triple, so that types, inline assembly and ``#ifdef`` are the kernel's, and emits LLVM IR;
the *bpf* stage makes a BPF object of it.  One stage (``-target bpf``) fails on the headers' inline
assembly and, where it does not, lays structures out wrongly.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from kheaders_adb.ebpf.headers import Arch, HeaderTree, include_dirs
from kheaders_adb.errors import CompileError

SHIMS = Path(__file__).parent / "shims"

DEFAULT_CPU = "v2"
DEFAULT_OPTIMIZE = "2"

LIST_TARGET = "_"

# No optimisation in the front stage: it would be for the wrong processor, and LLVM's passes for BPF
# expect to run first.  The bpf stage runs the whole pipeline.  Kernel samples/bpf/Makefile does the same.
_EMIT_IR = ("-emit-llvm", "-Xclang", "-disable-llvm-passes")

_SILENCED = (
    # First, so that an older clang accepts the others.
    "unknown-warning-option",
    "gnu-variable-sized-type-not-at-end",
    "address-of-packed-member",
    "pointer-sign",
    "unused-value",
    "compare-distinct-pointer-types",
    "tautological-compare",
    "tautological-constant-out-of-range-compare",
)

_VERSION_UNSIGNED_CHAR = (6 << 16) | (2 << 8)
_VERSION_MS_EXTENSIONS = (6 << 16) | (19 << 8)

# Kernel arch/arm/Makefile: several may be set, the last (oldest) one counts.
_ARM_LEVELS = (
    ("CPU_32v7M", 7),
    ("CPU_32v7", 7),
    ("CPU_32v6", 6),
    ("CPU_32v5", 5),
    ("CPU_32v4T", 4),
    ("CPU_32v4", 4),
    ("CPU_32v3", 3),
)


def parse_flags(tree: HeaderTree, *, libbpf: Path | None = None) -> list[str]:
    """Return the flags that decide what the headers mean: all that clangd needs.

    Args:
        tree: the headers.
        libbpf: a directory that holds ``bpf/bpf_helpers.h`` and nothing that could hide a kernel header.
    """
    root = tree.root
    return [
        # clang's own headers (stdarg.h, stdbool.h) without the host's.  It finds them itself, so that the
        # flags suit every clang and clangd, and nobody has to ask it for -print-resource-dir.
        "-nostdlibinc",
        *(f"-I{directory}" for directory in include_dirs(root, tree.arch)),
        *((f"-I{libbpf}",) if libbpf else ()),
        *("-include", str(SHIMS / "prelude.h")),
        *("-include", _kconfig(root)),
        *(part for shim in tree.shims for part in ("-include", str(SHIMS / shim.value))),
        *(("-include", str(SHIMS / "core_read.h")) if libbpf else ()),
        "-D__KERNEL__",
        "-D__BPF_TRACING__",
        f"-D__TARGET_ARCH_{tree.arch.target_define}",
        "-DKBUILD_MODNAME=KHEADERS_MODNAME",
        "-std=gnu11",
        "-fno-strict-aliasing",
        "-fno-stack-protector",
        "-fno-jump-tables",
        "-fno-unwind-tables",
        "-fno-asynchronous-unwind-tables",
        "-fshort-wchar",
        *_of_architecture(tree),
        *_of_release(tree),
        *(f"-Wno-{name}" for name in _silenced(tree)),
    ]


def front_flags(
    tree: HeaderTree,
    *,
    libbpf: Path | None = None,
    optimize: str = DEFAULT_OPTIMIZE,
    debug: bool = True,
) -> list[str]:
    """Return the flags of the front stage, for ``clang FLAGS -c prog.c -o prog.bc``.

    Args:
        tree: the headers.
        libbpf: see ``parse_flags``.
        optimize: clang's level without ``-O``; it is recorded in the IR and carried out by the bpf stage.
        debug: debug information, of which the bpf stage makes BTF.
    """
    return [
        *("-target", tree.arch.triple),
        f"-O{optimize}",
        *(("-g",) if debug else ()),
        *_EMIT_IR,
        *parse_flags(tree, libbpf=libbpf),
    ]


def bpf_flags(*, cpu: str = DEFAULT_CPU, optimize: str = DEFAULT_OPTIMIZE) -> list[str]:
    """Return the flags of the bpf stage, for ``clang FLAGS -c prog.bc -o prog.o``.

    Args:
        cpu: the BPF instruction set ("v1" to "v4", "generic", "probe"); every kernel with kheaders has v2.
        optimize: clang's level without ``-O``.
    """
    # The IR names the device's triple; replacing that is the purpose, and clang would warn of it.
    return [
        *("-target", "bpf"),
        f"-O{optimize}",
        f"-mcpu={cpu}",
        "-Wno-override-module",
        *("-x", "ir"),
    ]


def list_flags(listing: Path, graph: Path, *, phony: bool = False) -> list[str]:
    """Return the front stage's flags to write the list of what it has read, and who included whom.

    Args:
        listing: gets a makefile's rule for ``LIST_TARGET``.
        graph: gets a graph in Graphviz's notation.
        phony: the rule is followed by an empty one for each header.
    """
    return [
        *("-MD", "-MF", str(listing), "-MQ", LIST_TARGET, *(("-MP",) if phony else ())),
        *("-Xclang", "-dependency-dot", "-Xclang", str(graph)),
    ]


def format_shell(flags: Sequence[str]) -> str:
    """Return the flags as one line for a POSIX shell, quoted only where that is needed."""
    return shlex.join(flags)


def format_json(flags: Sequence[str]) -> str:
    """Return the flags as a JSON array of strings."""
    return json.dumps(list(flags), ensure_ascii=False)


def format_make(flags: Sequence[str]) -> str:
    """Return the flags as one line for the right side of an assignment in a makefile.

    The value that make then holds is the shell's form, for use in a recipe.

    Raises:
        CompileError: a flag holds a line break, for which a makefile has no notation.
    """
    line = format_shell(flags)
    if "\n" in line or "\r" in line:
        raise CompileError(
            "a flag holds a line break, which cannot be written in a makefile",
            hint="keep the store in a directory without such a name",
        )
    return line.replace("$", "$$").replace("#", "\\#")


def _kconfig(root: Path) -> str:
    path = str(root / "include/linux/kconfig.h")
    # clang writes -include as #include "path", where a quote cannot be escaped.  The short name is looked
    # for in the current directory first, so it is only for this case.
    return "linux/kconfig.h" if '"' in path else path


def _of_architecture(tree: HeaderTree) -> list[str]:
    match tree.arch:
        case Arch.X86_64:
            return ["-mno-red-zone"]
        case Arch.ARM64:
            return _arm64_kasan(tree)
        case Arch.ARM:
            level = [level for symbol, level in _ARM_LEVELS if symbol in tree.config][-1:]
            return [f"-D__LINUX_ARM_ARCH__={level[0] if level else 7}"]
        case Arch.RISCV64:
            return []


def _arm64_kasan(tree: HeaderTree) -> list[str]:
    # arch/arm64/Makefile gives the shift on the command line; 5.0 brought the second mode.
    if "KASAN_SW_TAGS" in tree.config:
        return ["-DKASAN_SHADOW_SCALE_SHIFT=4"]
    if "KASAN" in tree.config and "KASAN_HW_TAGS" not in tree.config:
        return ["-DKASAN_SHADOW_SCALE_SHIFT=3"]
    return []


def _of_release(tree: HeaderTree) -> list[str]:
    flags = []
    version = tree.version_code or 0
    if {"FUNCTION_TRACER", "HAVE_FENTRY"} <= tree.config.keys():
        flags.append("-DCC_USING_FENTRY")  # asm/ftrace.h of x86 refuses to be read without it
    if tree.asm_goto_by_flag and "JUMP_LABEL" in tree.config and not _built_without_asm_goto(tree):
        flags.append("-DCC_HAVE_ASM_GOTO")
    if version >= _VERSION_UNSIGNED_CHAR:
        flags.append("-funsigned-char")  # kernel commit 3bc753c06dd0
    if "CC_MS_EXTENSIONS" in tree.config or version >= _VERSION_MS_EXTENSIONS:
        flags.append("-fms-extensions")
    return flags


def _silenced(tree: HeaderTree) -> list[str]:
    names = list(_SILENCED)
    if tree.arch is Arch.X86_64:
        # Per-CPU pointers in named address spaces (6.10), and IBT's nocf_check without -fcf-protection.
        names += ["duplicate-decl-specifier", "ignored-attributes"]
    if "CC_HAS_COUNTED_BY" in tree.config:
        names.append("unknown-attributes")  # the kernel's compiler was newer than this one may be
    if "-fms-extensions" in _of_release(tree):
        names.append("microsoft-anon-tag")
    return names


def _built_without_asm_goto(tree: HeaderTree) -> bool:
    # clang has had asm goto since 9.  Every gcc that ever built such a kernel has it.
    found = re.search(r"clang version (\d+)\.", tree.compiler or "")
    return found is not None and int(found[1]) < 9
