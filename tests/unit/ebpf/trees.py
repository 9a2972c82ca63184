"""Header trees of a few lines each, which a real clang compiles against in no time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SRCARCH = {"x86_64": "x86", "arm64": "arm64", "arm": "arm", "riscv64": "riscv"}
CONFIG = {
    "x86_64": {"64BIT": "1", "X86_64": "1"},
    "arm64": {"64BIT": "1", "ARM64": "1"},
    "arm": {"ARM": "1", "CPU_32v7": "1"},
    "riscv64": {"64BIT": "1", "RISCV": "1"},
}

TYPES_H = """\
#ifndef _LINUX_TYPES_H
#define _LINUX_TYPES_H
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32;
typedef unsigned long long __u64; typedef signed int __s32; typedef signed long long __s64;
typedef __u16 __be16; typedef __u32 __be32; typedef __u32 __wsum;
typedef __u32 u32; typedef __u64 u64;
#endif
"""
SCHED_H = """\
#include <linux/types.h>
struct task_struct {
#ifdef CONFIG_SCHED_INFO
	u64 run_delay;
#endif
	u32 flags;
	struct task_struct *parent;
	u32 pid;
	u32 tgid;
};
"""
BPF_H = """\
#include <linux/types.h>
enum bpf_map_type { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2 };
enum { BPF_ANY = 0 };
"""
PTRACE_H = {
    "x86_64": "struct pt_regs { unsigned long di, si, dx, cx, r8, ax, ip, sp, bp, bx, ss; };\n",
    "arm64": "struct user_pt_regs { unsigned long long regs[31], sp, pc, pstate; };\n"
    "struct pt_regs { struct user_pt_regs user_regs; };\n",
    "arm": "struct pt_regs { unsigned long uregs[18]; };\n",
    "riscv64": "struct pt_regs { unsigned long epc, ra, sp, gp, tp, a0; };\n",
}


def write_tree(
    root: Path,
    arch: str = "x86_64",
    *,
    config: Mapping[str, str] | None = None,
    version: tuple[int, int] = (6, 1),
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write a header tree into a folder and return that; the rest as for tree_files."""
    content = tree_files(arch, config=config, version=version, files=files)
    for name, text in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def tree_files(
    arch: str = "x86_64",
    *,
    config: Mapping[str, str] | None = None,
    version: tuple[int, int] = (6, 1),
    files: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """A header tree: path → text.

    Args:
        arch: a key of SRCARCH.
        config: more symbols.
        version: of the kernel.
        files: more files, or others in the place of these.
    """
    symbols = CONFIG[arch] | dict(config or {})
    code = (version[0] << 16) + (version[1] << 8)
    return {
        "include/generated/autoconf.h": "".join(
            f"#define CONFIG_{name} {value}\n" for name, value in symbols.items()
        ),
        "include/generated/utsrelease.h": f'#define UTS_RELEASE "{version[0]}.{version[1]}.0-mini"\n',
        "include/generated/compile.h": '#define LINUX_COMPILER "gcc (Debian) 12.2.0"\n',
        "include/generated/uapi/linux/version.h": f"#define LINUX_VERSION_CODE {code}\n",
        "include/linux/kconfig.h": "#include <generated/autoconf.h>\n",
        "include/linux/types.h": TYPES_H,
        "include/linux/sched.h": SCHED_H,
        "include/linux/bpf.h": BPF_H,
        f"arch/{SRCARCH[arch]}/include/asm/ptrace.h": PTRACE_H[arch],
        **(files or {}),
    }


PROGRAM = """\
#include <linux/sched.h>
#include <linux/bpf.h>
#include <asm/ptrace.h>
static u64 (*get_current_task)(void) = (void *)35;
static long (*probe_read)(void *to, u32 size, const void *from) = (void *)113;
u32 seen;
__attribute__((section("kprobe/x"), used))
int program(struct pt_regs *ctx)
{
	struct task_struct *task = (void *)get_current_task();
	u32 pid = 0;
	probe_read(&pid, sizeof(pid), &task->pid);
	seen = pid;
	return 0;
}
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""
