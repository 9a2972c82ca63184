"""bcc and bpftrace, with the variables that `env` prints: what they compile reads the staged tree's offsets.

They only compile: in a user namespace of its own nothing can be loaded into this host's kernel.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from fixtures.lab import Device, Lab
from kheaders_adb.archive.carve import carve_module
from tests.lab.btf import Btf
from tests.lab.cli import PROGRAM
from tests.lab.conftest import kheaders_of
from tests.unit.ebpf.conftest import absent

Boot = Callable[..., Device]

KERNEL = "x86_64-stock"
ADD = 0x07
"""The BPF instruction that adds a constant to a register."""
EXECUTABLE = 4
"""A section's flag in ELF."""

BCC = r"""
from bcc import BPF
program = BPF(text='''
#include <linux/sched.h>
#include <net/sock.h>
int probe(void *ctx) {
    struct task_struct *task = (void *)bpf_get_current_task();
    int pid = 0;
    bpf_probe_read_kernel(&pid, sizeof(pid), &task->pid);
    return pid;
}
''')
print(program.dump_func("probe").hex())
"""
BPFTRACE = r"""
kprobe:do_exit { $task = (struct task_struct *)curtask; printf("%d\n", $task->pid); }
"""


@dataclass(frozen=True, slots=True)
class Staged:
    """A kernel's headers in a store, and where task_struct's pid is by them."""

    store: Path
    pid_at: int

    def run(self, *command: str | Path, **environ: str) -> str:
        """What a command prints, after ``eval "$(kheaders-adb env)"`` in a shell in a user namespace."""
        script = f'eval "$({PROGRAM} env -q)"; exec "$@"'
        done = subprocess.run(
            ["unshare", "--map-root-user", "sh", "-ec", script, "sh", *command],
            env={**os.environ, "KHEADERS_ADB_STORE": str(self.store), **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def staged(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Staged:
    """The headers of a kernel with bpf, imported."""
    can_unshare = ["unshare", "--map-root-user", "true"]
    if subprocess.run(can_unshare, capture_output=True, check=False).returncode:
        pytest.skip("this host gives no user namespaces")
    folder = tmp_path_factory.mktemp("clients")
    archive = folder / "kheaders.tar.xz"
    archive.write_bytes(carve_module(kheaders_of(KERNEL, lab)).archive)
    store = folder / "store"
    source = folder / "at.bpf.c"
    source.write_text(
        "#include <linux/sched.h>\nint at = __builtin_offsetof(struct task_struct, pid);\n"
    )
    for words in (["import", str(archive)], ["compile", str(source)]):
        subprocess.run([PROGRAM, "--store", store, "-q", *words], check=True)
    with source.with_suffix(".o").open("rb") as file:
        data = ELFFile(file).get_section_by_name(".data")
        assert data is not None
        return Staged(store, int.from_bytes(data.data(), "little"))


def added(code: bytes) -> set[int]:
    """The constants that BPF code adds to registers."""
    instructions = struct.iter_unpack("<BBhi", code)
    return {constant for operation, _, _, constant in instructions if operation == ADD}


def test_bcc_compiles_with_the_staged_tree_and_says_nothing(staged: Staged) -> None:
    pythons = [Path("/usr/bin/python3"), Path("/usr/local/bin/python3")]
    can = [
        path
        for path in pythons
        if path.exists()
        and not subprocess.run(
            [path, "-c", "import bcc"], capture_output=True, check=False
        ).returncode
    ]
    if not can:
        absent("bcc is not installed (Debian: python3-bpfcc)")
    out = staged.run(can[0], "-c", BCC)
    (code,) = out.splitlines()  # and no warning of a version that was told
    assert staged.pid_at in added(bytes.fromhex(code))


def bpftrace(staged: Staged, folder: Path, program: str, **environ: str) -> set[int]:
    """The constants that bpftrace's program adds to registers."""
    if shutil.which("bpftrace") is None:
        absent("bpftrace is not installed")
    source, made = folder / "pid.bt", folder / "pid.o"
    source.write_text(program)
    staged.run("bpftrace", "--emit-elf", made, source, **environ)
    with made.open("rb") as file:
        code = [s.data() for s in ELFFile(file).iter_sections() if s["sh_flags"] & EXECUTABLE]
    return set().union(*map(added, code))


def test_bpftrace_compiles_with_the_staged_tree(staged: Staged, tmp_path: Path) -> None:
    assert staged.pid_at in bpftrace(staged, tmp_path, f"#include <linux/sched.h>\n{BPFTRACE}")


def test_bpftrace_takes_what_is_not_included_from_btf(
    staged: Staged, boot: Boot, tmp_path: Path
) -> None:
    """From this host's without a word, or from the device's own where it is told to."""
    btf = tmp_path / "vmlinux.btf"
    btf.write_bytes(boot(KERNEL).pull_bytes("/sys/kernel/btf/vmlinux"))
    assert staged.pid_at in bpftrace(staged, tmp_path, BPFTRACE, BPFTRACE_BTF=str(btf))
    hosts = Path("/sys/kernel/btf/vmlinux")
    if hosts.exists():
        theirs = Btf(hosts.read_bytes()).offset("task_struct", "pid")
        assert theirs in bpftrace(staged, tmp_path, BPFTRACE, BPFTRACE_BTF=str(hosts))
