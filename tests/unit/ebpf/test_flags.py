"""The right flags for the right kernel, and how they are written."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.ebpf.compile import CompileOptions, compile_program
from kheaders_adb.ebpf.flags import (
    SHIMS,
    bpf_flags,
    format_json,
    format_make,
    format_shell,
    front_flags,
)
from kheaders_adb.errors import CompileError
from tests.unit.ebpf.conftest import MakeTree, absent
from tests.unit.ebpf.test_headers import OLD_JUMP_LABEL
from tests.unit.ebpf.trees import PROGRAM

TRIPLES = {
    "x86_64": ("x86_64-linux-gnu", "x86", "x86"),
    "arm64": ("aarch64-linux-gnu", "arm64", "arm64"),
    "arm": ("arm-linux-gnueabi", "arm", "arm"),
    "riscv64": ("riscv64-linux-gnu", "riscv", "riscv"),
}


@pytest.mark.parametrize("arch", TRIPLES)
def test_the_front_stage_parses_for_the_device(arch: str, make_tree: MakeTree) -> None:
    tree = make_tree(arch)
    triple, srcarch, target = TRIPLES[arch]
    flags = front_flags(tree)
    assert flags[:4] == ["-target", triple, "-O2", "-g"]
    # Optimisation is left to the stage that knows the processor.
    assert flags[4:7] == ["-emit-llvm", "-Xclang", "-disable-llvm-passes"]
    assert [flag for flag in flags if flag.startswith("-I")] == [
        f"-I{tree.root}/arch/{srcarch}/include",
        f"-I{tree.root}/arch/{srcarch}/include/generated",
        f"-I{tree.root}/include",
        f"-I{tree.root}/arch/{srcarch}/include/uapi",
        f"-I{tree.root}/arch/{srcarch}/include/generated/uapi",
        f"-I{tree.root}/include/uapi",
        f"-I{tree.root}/include/generated/uapi",
    ]
    included = [flags[at + 1] for at, flag in enumerate(flags) if flag == "-include"]
    assert included == [str(SHIMS / "prelude.h"), f"{tree.root}/include/linux/kconfig.h"]
    assert {"-D__KERNEL__", "-D__BPF_TRACING__", f"-D__TARGET_ARCH_{target}"} <= set(flags)
    assert "-nostdlibinc" in flags
    assert "-std=gnu11" in flags
    assert ("-mno-red-zone" in flags) is (arch == "x86_64")


def test_the_bpf_stage() -> None:
    assert bpf_flags(cpu="v3", optimize="1") == [
        *("-target", "bpf", "-O1", "-mcpu=v3", "-Wno-override-module", "-x", "ir")
    ]


def test_no_debug_information_when_unwanted(make_tree: MakeTree) -> None:
    assert "-g" not in front_flags(make_tree(), debug=False)


def test_libbpf_comes_after_the_kernel(make_tree: MakeTree, tmp_path: Path) -> None:
    flags = front_flags(make_tree(), libbpf=tmp_path)
    directories = [flag for flag in flags if flag.startswith("-I")]
    assert directories[7:] == [f"-I{tmp_path}"]
    assert str(SHIMS / "core_read.h") in flags


@pytest.mark.parametrize(
    ("arch", "config", "expected"),
    [
        ("arm64", {"KASAN": "1", "KASAN_SW_TAGS": "1"}, "-DKASAN_SHADOW_SCALE_SHIFT=4"),
        ("arm64", {"KASAN": "1", "KASAN_GENERIC": "1"}, "-DKASAN_SHADOW_SCALE_SHIFT=3"),
        ("arm64", {"KASAN": "1"}, "-DKASAN_SHADOW_SCALE_SHIFT=3"),
        ("arm64", {"KASAN": "1", "KASAN_HW_TAGS": "1"}, None),
        ("arm64", {}, None),
        ("x86_64", {"KASAN": "1", "KASAN_GENERIC": "1"}, None),
        ("riscv64", {"KASAN": "1", "KASAN_GENERIC": "1"}, None),
    ],
)
def test_kasan_of_arm64(
    arch: str, config: dict[str, str], expected: str | None, make_tree: MakeTree
) -> None:
    found = [flag for flag in front_flags(make_tree(arch, config=config)) if "KASAN" in flag]
    assert found == ([expected] if expected else [])


def test_the_oldest_level_of_arm_counts(make_tree: MakeTree) -> None:
    both = make_tree("arm", config={"CPU_32v6": "1", "CPU_32v6K": "1"})
    assert "-D__LINUX_ARM_ARCH__=6" in front_flags(both)
    assert "-D__LINUX_ARM_ARCH__=7" in front_flags(make_tree("arm"))


@pytest.mark.parametrize(
    ("version", "config", "flags"),
    [
        ((6, 1), {}, []),
        ((6, 2), {}, ["-funsigned-char"]),
        ((6, 18), {}, ["-funsigned-char"]),
        ((6, 19), {}, ["-funsigned-char", "-fms-extensions"]),
        ((7, 0), {}, ["-funsigned-char", "-fms-extensions"]),
        (
            (6, 18),
            {"CC_MS_EXTENSIONS": '"-fms-extensions"'},
            ["-funsigned-char", "-fms-extensions"],
        ),
    ],
)
def test_what_newer_kernels_are_built_with(
    version: tuple[int, int], config: dict[str, str], flags: list[str], make_tree: MakeTree
) -> None:
    found = front_flags(make_tree(version=version, config=config))
    assert [flag for flag in ("-funsigned-char", "-fms-extensions") if flag in found] == flags
    assert ("-Wno-microsoft-anon-tag" in found) is ("-fms-extensions" in flags)


def test_function_tracing_of_x86(make_tree: MakeTree) -> None:
    traced = {"FUNCTION_TRACER": "1", "HAVE_FENTRY": "1"}
    assert "-DCC_USING_FENTRY" in front_flags(make_tree(config=traced))
    assert "-DCC_USING_FENTRY" not in front_flags(make_tree(config={"HAVE_FENTRY": "1"}))


@pytest.mark.parametrize(
    ("compiler", "config", "expected"),
    [
        ("gcc version 4.9.x 20150123", {"JUMP_LABEL": "1"}, True),
        ("Android (5484270) clang version 9.0.3", {"JUMP_LABEL": "1"}, True),
        ("Android (4691093) clang version 6.0.2", {"JUMP_LABEL": "1"}, False),
        ("gcc version 4.9.x 20150123", {}, False),
    ],
)
def test_static_keys_of_old_trees_have_the_right_size(
    compiler: str, config: dict[str, str], expected: bool, make_tree: MakeTree
) -> None:
    """struct static_key depends on what the kernel's own compiler could do."""
    tree = make_tree(
        version=(4, 14),
        config=config,
        files={
            "include/linux/jump_label.h": OLD_JUMP_LABEL,
            "include/generated/compile.h": f'#define LINUX_COMPILER "{compiler}"\n',
        },
    )
    assert ("-DCC_HAVE_ASM_GOTO" in front_flags(tree)) is expected
    assert str(SHIMS / "asm_goto.h") in front_flags(tree)


def test_the_shims_are_files() -> None:
    from kheaders_adb.ebpf.headers import Shim

    names = {shim.value for shim in Shim} | {"prelude.h", "core_read.h"}
    assert {path.name for path in SHIMS.iterdir()} == names


FLAG = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1)


@given(st.lists(FLAG, min_size=1))
def test_json_holds_the_flags(flags: list[str]) -> None:
    assert json.loads(format_json(flags)) == flags


NASTY = [
    "-Ia b",
    "-DX='\"$HOME\" `id` \\ #%*~!'",
    "-D{a,b}",
    "-I(x)&;|<>",
    "-Dé",
    "-D$(id)",
    "-D=,@",
]


def test_a_shell_takes_the_flags_as_they_are() -> None:
    script = f"printf '%s\\0' {format_shell(NASTY)}"
    printed = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert printed.decode().split("\0")[:-1] == NASTY


@pytest.mark.parametrize(
    "makefile",
    ["FLAGS := {flags}\n", "$(eval FLAGS := $(shell cat flags))\n", "include flags.mk\n"],
)
def test_make_takes_the_flags_as_they_are(makefile: str, tmp_path: Path) -> None:
    if shutil.which("make") is None:
        absent("make is not installed")
    line = format_make(NASTY)
    (tmp_path / "flags").write_text(line)
    (tmp_path / "flags.mk").write_text(f"FLAGS := {line}\n")
    rule = "all:\n\t@printf '%s\\n' $(FLAGS)\n"
    (tmp_path / "Makefile").write_text(makefile.replace("{flags}", line) + rule)
    printed = subprocess.run(
        ["make", "-s", "-C", tmp_path], capture_output=True, check=True, text=True
    ).stdout
    assert printed.splitlines() == NASTY


def test_make_cannot_take_a_line_break() -> None:
    with pytest.raises(CompileError, match="line break"):
        format_make(["-Ia\nb"])


def printed_front(make_tree: MakeTree) -> str:
    return format_shell(front_flags(make_tree()))


def test_the_front_flags_with_bpfs_target_are_one_error_that_says_what_to_do(
    each_clang: Path, make_tree: MakeTree, tmp_path: Path
) -> None:
    (tmp_path / "prog.bpf.c").write_text(
        PROGRAM + 'int f(void) { int x; asm("" : "=Q"(x)); return y; }\n'
    )
    said = run_shell(
        f"{each_clang} {printed_front(make_tree)} -target bpf -c prog.bpf.c -o prog.o", tmp_path
    )
    assert said.count(b"error: ") == 1, said
    assert b"kheaders-adb cflags --stage bpf" in said
    assert not (tmp_path / "prog.o").exists()


def test_front_flags_behind_bpfs_target_make_bitcode(
    clang: Path, make_tree: MakeTree, tmp_path: Path
) -> None:
    """As docs/compiling.md says: the last -target counts, and nothing in a header can tell."""
    (tmp_path / "prog.bpf.c").write_text(PROGRAM)
    command = f"{clang} -target bpf {printed_front(make_tree)} -c prog.bpf.c -o prog.o"
    assert run_shell(command, tmp_path) == b""
    assert (tmp_path / "prog.o").read_bytes()[:4] == b"BC\xc0\xde"


def test_a_pipe_of_both_stages_makes_what_compile_makes(
    each_clang: Path, make_tree: MakeTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # debug information has it
    source = tmp_path / "prog.bpf.c"
    source.write_text(PROGRAM)
    tree = make_tree()
    front, bpf = format_shell(front_flags(tree)), format_shell(bpf_flags())
    pipe = f"{each_clang} {front} -S {source} -o - | {each_clang} {bpf} -c - -o piped.o"
    assert run_shell(pipe, tmp_path) == b""
    ours = compile_program(
        tree, source, tmp_path / "ours.o", CompileOptions(clang=each_clang), print
    )
    assert (tmp_path / "piped.o").read_bytes() == ours.read_bytes()


def run_shell(command: str, folder: Path) -> bytes:
    """What a shell's command says on stderr."""
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=False)
    return done.stderr
