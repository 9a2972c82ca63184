"""From a booted kernel's headers to a running BPF program, and what wrong headers do."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from fixtures.archives.module import ModuleSpec, build_module
from fixtures.archives.rewrite import with_symbols
from fixtures.lab import Device, Lab
from fixtures.lab.bpf import run_bpf
from kheaders_adb.archive.carve import carve_module
from tests.lab.btf import Btf
from tests.lab.cli import User, with_module
from tests.lab.conftest import kheaders_of

Boot = Callable[..., Device]

PROGRAMS = Path(__file__).parents[1] / "ebpf_programs"


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of one of the programs, in a folder of its own."""

    def copy(name: str) -> Path:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        return Path(shutil.copy(PROGRAMS / name, folder))

    return copy


def pids(device: Device, program: Path) -> tuple[int, int, int]:
    """Run task_pid: the loader's own pid, and its pid and tgid as read from task_struct."""
    run = run_bpf(device, program)
    assert run.programs == {"read_pid": "attached"}
    seen = run.maps["tasks"][run.pid.to_bytes(4, "little")]
    return run.pid, *struct.unpack("<II", seen)


@pytest.mark.parametrize("kernel", ["x86_64-module", "arm64-module", "x86_64-stock"])
def test_a_program_reads_its_own_pid(
    kernel: str, boot: Boot, program: Callable[[str], Path], tmp_path: Path
) -> None:
    device = boot(kernel)
    user = User(device, tmp_path / "a store's")
    source = program("task_pid.bpf.c")

    done = user.run("compile", "-s", device.serial, *with_module(device), str(source))

    assert done.code == 0, done.err
    assert "warning" not in done.err
    own, pid, tgid = pids(device, source.with_suffix(".o"))
    assert (pid, tgid) == (own, own)
    assert user.traces() == ""

    again = user.run("compile", "-s", device.serial, str(source), "-o", str(tmp_path / "again.o"))
    assert again.code == 0, again.err
    said = again.err.splitlines()
    assert len(said) == 1, "it is staged: one round trip, and no more to say than what is used"
    assert f" of {device.serial}" in said[0]


@pytest.mark.parametrize("kernel", ["x86_64-module", "arm64-module"])
@pytest.mark.parametrize("name", ["kprobe_open", "xdp_drop", "socket_filter", "opensnoop"])
def test_programs_of_other_kinds_pass_the_verifier(
    kernel: str,
    name: str,
    boot: Boot,
    program: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    device = boot(kernel)
    store = tmp_path_factory.getbasetemp() / f"verifier-{kernel}"
    source = program(f"{name}.bpf.c")
    done = User(device, store).run("compile", *with_module(device), str(source))
    assert done.code == 0, done.err
    if name == "opensnoop" and not has_syscall_tracepoints(device):
        pytest.skip(f"{kernel} has no tracepoints of system calls")
    assert run_bpf(device, source.with_suffix(".o")).programs


def has_syscall_tracepoints(device: Device) -> bool:
    found = device.root_shell(
        "ls -d /sys/kernel/*/tracing/events/syscalls /sys/kernel/tracing/events/syscalls"
    )
    return "syscalls" in found.stdout


@pytest.mark.parametrize("twin", ["generated", "x86_64-twin"])
def test_headers_of_another_configuration_read_the_wrong_pid(
    twin: str, boot: Boot, lab: Lab, program: Callable[[str], Path], tmp_path: Path
) -> None:
    """The reason for the project: same release, loads without a word, reads garbage; so `pull` refuses."""
    device = boot("x86_64-module")
    user = User(device, tmp_path / "store")
    source = program("task_pid.bpf.c")
    module = str(twin_module(twin, lab, device, tmp_path))

    refused = user.run("pull", "--module", module)
    assert refused.code == 5, refused.err
    assert "SCHED_INFO" in refused.err

    # Who insists gets the tree, a warning each time, and this.
    assert user.run("pull", "--module", module, "--allow-mismatch").code == 0
    for choice in (["--kernel", "latest"], ["-s", device.serial]):
        done = user.run("compile", *choice, str(source))
        assert done.code == 0, done.err
        assert "do NOT belong to this kernel" in done.err
        own, pid, _ = pids(device, source.with_suffix(".o"))
        assert pid != own


def twin_module(name: str, lab: Lab, device: Device, folder: Path) -> Path:
    """A kheaders.ko of the device's release and source, but of another configuration and task_struct.

    The built one also loads on the device; the generated one needs no kernel build, and so is always there.
    """
    own = device.kernel.kheaders_ko
    assert own is not None
    if name == "generated":
        carved = carve_module(own)
        # As fixtures/lab/data/kernel/twin.config, with what that selects.
        archive = with_symbols(carved.archive, "SCHED_INFO", "TASKSTATS", "TASK_DELAY_ACCT")
        path = folder / "kheaders.ko"
        path.write_bytes(build_module(ModuleSpec(archive)))
        return path
    return kheaders_of(name, lab)


@pytest.mark.parametrize("kernel", ["x86_64-stock", "x86_64-btf"])
def test_sizes_and_offsets_equal_the_kernels_btf(
    kernel: str, boot: Boot, program: Callable[[str], Path], tmp_path: Path
) -> None:
    device = boot(kernel)
    source = program("sizes.bpf.c")
    done = User(device, tmp_path / "store").run("compile", *with_module(device), str(source))
    assert done.code == 0, done.err
    btf = Btf(device.pull_bytes("/sys/kernel/btf/vmlinux"))
    layouts = list(layouts_in(source.with_suffix(".o")))
    assert len({name for name, *_ in layouts}) >= 10
    for name, field, offset, size in layouts:
        assert (name, field, offset) == (name, field, btf.offset(name, field))
        assert (name, size) == (name, btf.size(name))


def layouts_in(path: Path) -> list[tuple[str, str, int, int]]:
    """What sizes.bpf.c holds."""
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".rodata")
        assert section is not None
        data = section.data()
    return [
        (name.rstrip(b"\0").decode(), field.rstrip(b"\0").decode(), offset, size)
        for name, field, offset, size in struct.iter_unpack("<32s32sQQ", data)
    ]


def test_python_and_pytest_compile_for_the_device(
    boot: Boot, program: Callable[[str], Path], tmp_path: Path
) -> None:
    """The fixtures in a test of the user's own, in a pytest of its own."""
    device = boot("x86_64-module")
    user = User(device, tmp_path / "store")
    source = program("task_pid.bpf.c")
    (source.parent / "test_mine.py").write_text(
        "from pathlib import Path\n"
        "def test_it(kheaders, bpf_compile, tmp_path):\n"
        "    assert kheaders.verdict.level == 'exact'\n"
        "    assert f'-I{kheaders.tree}/include' in kheaders.cflags()\n"
        f"    made = bpf_compile({str(source)!r})\n"
        "    assert made == tmp_path / 'task_pid.bpf.o'\n"
        f"    Path({str(tmp_path)!r}, 'made.o').write_bytes(made.read_bytes())\n"
        "    assert kheaders.compile(Path('task_pid.bpf.c')) == Path('task_pid.bpf.o')\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir", source.parent),
            # In a folder of its own: in the shared one it would remove what older runs left there, and
            # that has taken minutes.
            *("-p", "no:cacheprovider", "--basetemp", tmp_path / "theirs"),
            *("--kheaders-serial", device.serial),
            *("--kheaders-store", user.store, "--kheaders-module", str(device.kernel.kheaders_ko)),
        ],
        cwd=source.parent,
        env=environment_of(user),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    own, pid, tgid = pids(device, tmp_path / "made.o")
    assert (pid, tgid) == (own, own)


def environment_of(user: User) -> dict[str, str]:
    from tests.lab.cli import environment

    return environment(user.device.adb_server_port, user.store) | {"PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize("kernel", ["x86_64-module", "arm64-module"])
def test_push_unpacks_the_tree_on_the_device(kernel: str, boot: Boot, tmp_path: Path) -> None:
    device = boot(kernel)
    user = User(device, tmp_path / "store")
    first = user.run("push", "--json", *with_module(device))
    assert first.code == 0, first.err
    folder = first.document["folder"]
    try:
        assert first.document["sent"] is True
        assert first.document["environment"]["BPFTRACE_KERNEL_SOURCE"] == folder
        tree = Path(user.run("path").out.strip())
        listing = device.root_shell(f"cd {folder} && find . -type f ! -name .kheaders-adb | sort")
        assert listing.stdout.split() == sorted(
            f"./{path.relative_to(tree)}"
            for path in tree.rglob("*")
            if path.is_file() and not path.is_symlink()
        )
        sums = device.root_shell(
            f"cd {folder} && cat include/generated/autoconf.h include/linux/sched.h"
        )
        assert (
            sums.stdout
            == (tree / "include/generated/autoconf.h").read_text()
            + (tree / "include/linux/sched.h").read_text()
        )
        links = device.root_shell(f"cd {folder} && find . -type l | wc -l").stdout
        assert int(links) == sum(path.is_symlink() for path in tree.rglob("*"))

        second = user.run("push")
        assert second.code == 0, second.err
        assert f"export BCC_KERNEL_SOURCE={folder};" in second.out
        assert "already" in second.err
        # What a device may look like after somebody pulled the cable: nothing of that is left either.
        assert device.root_shell(f"ls -A {folder}/..").stdout.split() == [Path(folder).name]
    finally:
        device.root_shell("rm -rf /data/local/tmp/kheaders")


def test_push_takes_nobody_elses_folder(boot: Boot, tmp_path: Path) -> None:
    device = boot("x86_64-module")
    user = User(device, tmp_path / "store")
    device.root_shell("mkdir -p /data/local/tmp/mine && touch /data/local/tmp/mine/precious")
    try:
        done = user.run("push", "--to", "/data/local/tmp/mine", *with_module(device))
        assert done.code == 2
        assert "is not a tree of ours" in done.err
        assert device.root_shell("ls -A /data/local/tmp/mine").stdout.split() == ["precious"]
        done = user.run("push", "--to", "relative", *with_module(device))
        assert done.code == 2
    finally:
        device.root_shell("rm -rf /data/local/tmp/mine")


def test_without_a_device_the_newest_staged_tree_is_used(
    boot: Boot, program: Callable[[str], Path], tmp_path: Path
) -> None:
    device = boot("x86_64-module")
    user = User(device, tmp_path / "store")
    assert user.run("pull", *with_module(device)).code == 0
    alone = User(device, user.store, port=1, environ={"ANDROID_SERIAL": ""})
    source = program("task_pid.bpf.c")
    done = alone.run("compile", "--json", str(source), "-MD")
    assert done.code == 0, done.err
    assert json.loads(done.out)["objects"] == [str(source.with_suffix(".o"))]
    assert source.with_suffix(".d").exists()
    both = user.run("compile", "-s", device.serial, "--kernel", "latest", str(source))
    assert both.code == 2
