"""Compiling with a real clang against small trees."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kheaders_adb.ebpf.compile import CompileOptions, compile_program, compile_programs
from kheaders_adb.ebpf.headers import HeaderTree
from kheaders_adb.errors import CompileError, UsageError
from tests.unit.ebpf.conftest import MakeTree
from tests.unit.ebpf.trees import PROGRAM

EM_BPF = "EM_BPF"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "src" / "prog.bpf.c"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def options(clang: Path) -> CompileOptions:
    return CompileOptions(clang=clang)


def sections(path: Path) -> dict[str, bytes]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        assert elf["e_machine"] == EM_BPF
        return {section.name: section.data() for section in elf.iter_sections()}


def offsets(path: Path, section: str = "kprobe/x") -> set[int]:
    """The constants that are added to a register in a program."""
    code = sections(path)[section]
    return {
        int.from_bytes(code[at + 4 : at + 8], "little", signed=True)
        for at in range(0, len(code), 8)
        if code[at] == 0x07
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("arch", ["x86_64", "arm64", "riscv64"])
def test_an_object_with_btf_and_the_trees_offsets(
    arch: str, make_tree: MakeTree, source: Path, options: CompileOptions, tmp_path: Path
) -> None:
    said: list[bytes] = []
    output = tmp_path / "prog.o"
    assert compile_program(make_tree(arch), source, output, options, said.append) == output
    assert said == []
    assert {"kprobe/x", "license", ".BTF", ".BTF.ext"} <= sections(output).keys()
    assert 16 in offsets(output)

    changed = make_tree(arch, config={"SCHED_INFO": "1"})
    compile_program(changed, source, output, options, said.append)
    assert 24 in offsets(output), "the configuration decides where pid is"


def test_neither_debug_information_nor_btf(
    tree: HeaderTree, source: Path, clang: Path, tmp_path: Path
) -> None:
    output = tmp_path / "prog.o"
    compile_program(tree, source, output, CompileOptions(clang=clang, debug=False), print)
    assert not {name for name in sections(output) if name.startswith((".BTF", ".debug"))}


def test_definitions_folders_and_extra_flags_reach_the_parser(
    tree: HeaderTree, source: Path, clang: Path, tmp_path: Path
) -> None:
    (tmp_path / "inc dir").mkdir()
    (tmp_path / "inc dir/mine.h").write_text("#define FROM_FOLDER 1\n")
    source.write_text(
        "#include <mine.h>\n"
        '_Static_assert(FROM_FOLDER + NUMBER + EXTRA == 6, "");\n'
        '_Static_assert(__builtin_strlen(TEXT) == 5, "");\n' + PROGRAM
    )
    options = CompileOptions(
        clang=clang,
        defines=("NUMBER=2", 'TEXT="a b$c"'),
        include_dirs=(tmp_path / "inc dir",),
        extra=("-DEXTRA=3",),
    )
    compile_program(tree, source, tmp_path / "prog.o", options, print)


def test_the_kernels_headers_come_before_the_users(
    tree: HeaderTree, source: Path, clang: Path, tmp_path: Path
) -> None:
    (tmp_path / "inc/linux").mkdir(parents=True)
    (tmp_path / "inc/linux/sched.h").write_text("#error not the kernel's\n")
    options = CompileOptions(clang=clang, include_dirs=(tmp_path / "inc",))
    compile_program(tree, source, tmp_path / "prog.o", options, print)


def test_the_hosts_headers_are_out_of_reach(
    tree: HeaderTree, source: Path, options: CompileOptions, tmp_path: Path
) -> None:
    source.write_text("#include <stdio.h>\n" + PROGRAM)
    said: list[bytes] = []
    with pytest.raises(CompileError):
        compile_program(tree, source, tmp_path / "prog.o", options, said.append)
    assert b"'stdio.h' file not found" in b"".join(said)


def test_a_failure_leaves_nothing_new_and_the_old_object(
    tree: HeaderTree, source: Path, clang: Path, tmp_path: Path
) -> None:
    options = CompileOptions(clang=clang, dependencies=True)
    output = tmp_path / "out" / "prog.o"
    output.parent.mkdir()
    compile_program(tree, source, output, options, print)
    before = output.read_bytes(), (output.parent / "prog.d").read_bytes()
    source.write_text(PROGRAM + "int broken(void) { return nothing; }\n")
    said: list[bytes] = []
    with pytest.raises(CompileError, match=r"prog\.bpf\.c: clang failed") as caught:
        compile_program(tree, source, output, options, said.append)
    assert caught.value.exit_code == 9
    assert b"use of undeclared identifier 'nothing'" in b"".join(said)
    assert b"1 error generated" in b"".join(said)
    assert (output.read_bytes(), (output.parent / "prog.d").read_bytes()) == before
    assert names(output.parent) == {"prog.o", "prog.d"}


def test_diagnostics_are_clangs_own(
    tree: HeaderTree, source: Path, clang: Path, tmp_path: Path
) -> None:
    source.write_text(PROGRAM + "#warning greetings\n")
    said: list[bytes] = []
    compile_program(tree, source, tmp_path / "o.o", CompileOptions(clang=clang), said.append)
    plain = b"".join(said)
    assert b"warning: greetings" in plain
    assert b"\x1b[" not in plain
    said.clear()
    coloured = CompileOptions(clang=clang, color=True)
    compile_program(tree, source, tmp_path / "o.o", coloured, said.append)
    assert b"\x1b[" in b"".join(said)


def test_errors_of_the_bpf_stage_are_passed_on(
    tree: HeaderTree, source: Path, options: CompileOptions, tmp_path: Path
) -> None:
    source.write_text(PROGRAM + 'int asm_of_x86(void) { asm volatile("cpuid"); return 0; }\n')
    said: list[bytes] = []
    with pytest.raises(CompileError):
        compile_program(tree, source, tmp_path / "prog.o", options, said.append)
    assert b"error" in b"".join(said)
    assert not (tmp_path / "prog.o").exists()


def test_a_bad_processor_is_named_and_no_broken_pipe(
    tree: HeaderTree, source: Path, clang: Path, tmp_path: Path
) -> None:
    said: list[bytes] = []
    options = CompileOptions(clang=clang, cpu="v99")
    with pytest.raises(CompileError):
        compile_program(tree, source, tmp_path / "prog.o", options, said.append)
    assert b"v99" in b"".join(said)
    assert b"ipe" not in b"".join(said)


def test_the_dependencies_name_the_object(
    tree: HeaderTree, source: Path, clang: Path, tmp_path: Path
) -> None:
    output = tmp_path / "with space" / "prog.bpf.o"
    output.parent.mkdir()
    changing = tmp_path / "changes"
    options = CompileOptions(clang=clang, dependencies=True, depends_on=(changing,))
    compile_program(tree, source, output, options, print)
    text = (output.parent / "prog.bpf.d").read_text()
    for path in (tree.root / "include/linux/sched.h", changing):
        assert f" {path}" in text
        assert f"\n{path}:\n" in text, "make must not miss it"
    assert text.startswith(str(output).replace(" ", "\\ ") + ":")
    assert str(source) in text
    assert str(tree.root / "include/linux/sched.h") in text
    assert ".tmp" not in text


def test_several_programs_at_once(
    tree: HeaderTree, options: CompileOptions, tmp_path: Path
) -> None:
    programs = []
    for number in range(6):
        path = tmp_path / f"p{number}.c"
        path.write_text(PROGRAM + (f"#error number {number}\n" if number in (2, 4) else ""))
        programs.append((path, tmp_path / f"p{number}.o"))
    said: list[bytes] = []
    with pytest.raises(CompileError, match="2 of 6 programs failed"):
        compile_programs(tree, programs, options, said.append, parallel=3)
    assert {f"p{number}.o" for number in (0, 1, 3, 5)} == {
        name for name in names(tmp_path) if name.endswith(".o")
    }
    assert len(said) == 2, "each program's diagnostics come in one piece"
    assert compile_programs(tree, programs[:2], options, print, parallel=2) == [
        output for _, output in programs[:2]
    ]


def test_two_sources_for_one_object_are_refused(
    tree: HeaderTree, source: Path, options: CompileOptions, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="several sources"):
        compile_programs(tree, [(source, tmp_path / "a.o")] * 2, options, print)


def test_unusable_paths_are_refused_before_clang_runs(
    tree: HeaderTree, source: Path, tmp_path: Path
) -> None:
    options = CompileOptions(clang=Path("/nonexistent"))
    for bad_source, output, message in [
        (tmp_path / "no.c", tmp_path / "a.o", "no.c does not exist"),
        (tmp_path, tmp_path / "a.o", "is a folder, not a file"),
        (source, tmp_path / "no" / "a.o", "no does not exist"),
        (source, tmp_path, "is a folder, not a file"),
        (source, source, "would replace its source"),
    ]:
        with pytest.raises(UsageError, match=message):
            compile_program(tree, bad_source, output, options, print)
    with pytest.raises(UsageError, match="-O0 is not a level"):
        compile_program(
            tree, source, tmp_path / "a.o", CompileOptions(clang=Path("x"), optimize="0"), print
        )
    with pytest.raises(CompileError, match="cannot be run: No such file"):
        compile_program(tree, source, tmp_path / "a.o", options, print)


def test_a_device_is_written_and_not_replaced(
    tree: HeaderTree, source: Path, options: CompileOptions
) -> None:
    compile_program(tree, source, Path("/dev/null"), options, print)
    assert Path("/dev/null").is_char_device()


def test_no_folder_for_what_a_device_is_compiled_with(
    tree: HeaderTree,
    source: Path,
    options: CompileOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """$TMPDIR was there when it was looked up, and is gone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is looked up once in a process
    assert tempfile.gettempdir() == str(folder)
    folder.rmdir()
    with pytest.raises(CompileError, match="no temporary folder can be made: No such file"):
        compile_program(tree, source, Path("/dev/null"), options, print)


def test_a_source_may_be_called_like_an_option(
    tree: HeaderTree, options: CompileOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-x.c").write_text(PROGRAM)
    compile_program(tree, Path("-x.c"), Path("x.o"), options, print)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_clang_without_bpf_is_told_from_a_bad_program(
    tree: HeaderTree, source: Path, tmp_path: Path
) -> None:
    clang = script(
        tmp_path / "clang",
        'case "$*" in --version) echo "Apple clang version 16.0.0";; -print-targets) echo "  x86";;\n'
        '*"-target bpf"*) echo "error: unable to create target" >&2; exit 1;; *) echo target triple;; esac\n'
        # It tells what it has read, as every clang does.
        'for word; do test "$before" = -MF && echo "_:" > "$word"; before=$word; done; exit 0',
    )
    said: list[bytes] = []
    with pytest.raises(CompileError, match="without the bpf target") as caught:
        compile_program(tree, source, tmp_path / "a.o", CompileOptions(clang=clang), said.append)
    assert "brew install llvm" in (caught.value.hint or "")
    assert b"unable to create target" in b"".join(said)


def test_an_old_clang_is_refused_by_the_prelude(
    tree: HeaderTree, source: Path, clang: Path, tmp_path: Path
) -> None:
    old = script(
        tmp_path / "clang",
        'case "$*" in --version) echo "clang version 13.0.1";; -print-targets) echo "  bpf - BPF";;\n'
        f'*"-target bpf"*) exec {clang} "$@";;\n'
        f'*) exec {clang} -Wno-builtin-macro-redefined -U__clang_major__ -D__clang_major__=13 "$@";; esac',
    )
    said: list[bytes] = []
    with pytest.raises(CompileError, match="is version 13, older than 14"):
        compile_program(tree, source, tmp_path / "a.o", CompileOptions(clang=old), said.append)
    assert b"clang 14 or newer is needed" in b"".join(said)


def test_a_clang_that_dies_is_reported_by_its_signal(
    tree: HeaderTree, source: Path, tmp_path: Path
) -> None:
    clang = script(
        tmp_path / "clang",
        'case "$*" in --version) echo "clang version 16.0.0";; -print-targets) echo "  bpf - BPF";;\n'
        "*) kill -SEGV $$;; esac",
    )
    with pytest.raises(CompileError, match=f"signal {signal.SIGSEGV}"):
        compile_program(tree, source, tmp_path / "a.o", CompileOptions(clang=clang), print)
    assert "a.o" not in names(tmp_path)


def test_interrupted_it_ends_clang_and_leaves_nothing(
    tree: HeaderTree, source: Path, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    clang = script(tmp_path / "clang", f"echo $$ >> {pids}; exec sleep 100")
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import signal, sys; from pathlib import Path\n"
        # A shell that started the tests in the background has them ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from kheaders_adb.ebpf.headers import read_tree\n"
        "from kheaders_adb.ebpf.compile import *\n"
        "tree, source, out, clang = map(Path, sys.argv[1:])\n"
        "compile_program(read_tree(tree), source, out, CompileOptions(clang=clang), print)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tree.root, source, out / "a.o", clang],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not pids.exists() or len(pids.read_text().split()) < 2:
        assert time.monotonic() < deadline, "clang was not started"
        time.sleep(0.01)
    # Python itself loses a child when the signal comes while it starts it; a real clang then sees its pipe
    # close, but this one sleeps on.
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    assert names(out) == set()


GOTO_H = (
    "#include <linux/compiler.h>\n"
    + """\
#if defined(CC_HAVE_ASM_GOTO) && defined(CONFIG_JUMP_LABEL)
static inline int branch(void) { asm_volatile_goto("" : : : : l); return 0; l: return 1; }
#endif
"""
)


def test_the_asm_goto_shim_mends_an_old_tree(
    make_tree: MakeTree, source: Path, options: CompileOptions, tmp_path: Path
) -> None:
    types = "#ifdef __clang__\n#elif defined(__GNUC__)\n#include <linux/compiler-gcc.h>\n#endif\n"
    tree = make_tree(
        config={"JUMP_LABEL": "1"},
        files={
            "include/linux/jump_label.h": GOTO_H,
            "include/linux/compiler.h": "#include <linux/compiler_types.h>\n",
            "include/linux/compiler_types.h": types,
            "include/linux/compiler-gcc.h": "#define asm_volatile_goto(x...) asm goto(x)\n",
        },
    )
    source.write_text("#include <linux/jump_label.h>\n" + PROGRAM)
    compile_program(tree, source, tmp_path / "a.o", options, print)
    bare = HeaderTree(tree.root, tree.arch, tree.config, asm_goto_by_flag=True)
    with pytest.raises(CompileError):
        compile_program(bare, source, tmp_path / "a.o", options, lambda _: None)


def test_the_asm_inline_shim_mends_a_backport(
    make_tree: MakeTree, source: Path, options: CompileOptions, tmp_path: Path
) -> None:
    tree = make_tree(
        files={
            "include/linux/compiler.h": "#include <linux/compiler_types.h>\n",
            "include/linux/compiler_types.h": "#ifndef __inline\n"
            "#define __inline __inline __attribute__((unused))\n"
            "#define asm_inline asm __inline\n#endif\n",
            "include/linux/bug.h": "#include <linux/compiler.h>\n"
            'static inline void bug(void) { asm_inline volatile("ud2"); }\n',
        },
    )
    source.write_text("#include <linux/bug.h>\n" + PROGRAM)
    compile_program(tree, source, tmp_path / "a.o", options, print)
    bare = HeaderTree(tree.root, tree.arch, tree.config)
    with pytest.raises(CompileError):
        compile_program(bare, source, tmp_path / "a.o", options, lambda _: None)


def test_stamps_of_old_kernels_are_in_nobodys_way(
    make_tree: MakeTree, source: Path, options: CompileOptions, tmp_path: Path
) -> None:
    tree = make_tree(files={"include/config/sched/info.h": "", "include/config/64bit.h": ""})
    compile_program(tree, source, tmp_path / "a.o", options, print)


CORE = """\
#include <linux/sched.h>
#include <linux/bpf.h>
#include <asm/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
u64 out[8];
SEC("kprobe/x") int BPF_KPROBE(program)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	out[0] = BPF_CORE_READ(task, parent, tgid);
	out[1] = bpf_core_field_exists(task->pid);
	out[2] = bpf_core_field_size(task->pid);
	out[3] = bpf_core_type_exists(struct task_struct);
	out[4] = bpf_core_type_size(struct task_struct);
	out[5] = bpf_core_enum_value_exists(enum bpf_map_type, BPF_MAP_TYPE_ARRAY);
	out[6] = bpf_core_enum_value(enum bpf_map_type, BPF_MAP_TYPE_ARRAY);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("arch", ["x86_64", "arm64", "riscv64"])
def test_core_macros_need_no_btf_of_the_kernel(
    arch: str, make_tree: MakeTree, source: Path, clang: Path, libbpf: Path, tmp_path: Path
) -> None:
    source.write_text(CORE)
    output = tmp_path / "a.o"
    options = CompileOptions(clang=clang, libbpf=libbpf, extra=("-Wall", "-Werror"))
    compile_program(make_tree(arch), source, output, options, print)
    header = sections(output)[".BTF.ext"]
    # struct btf_ext_header: core_relo_off and core_relo_len are its last two words.
    assert int.from_bytes(header[4:8], "little") == 32
    assert int.from_bytes(header[28:32], "little") == 0, "no CO-RE relocation"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bpf_core_type_exists(struct not_in_the_headers)", b"incomplete type"),
        ("BPF_CORE_READ_BITFIELD(task, pid)", b"needs CO-RE"),
    ],
)
def test_what_core_alone_can_know_is_an_error(
    line: str,
    message: bytes,
    tree: HeaderTree,
    source: Path,
    clang: Path,
    libbpf: Path,
    tmp_path: Path,
) -> None:
    source.write_text(CORE.replace("bpf_core_field_exists(task->pid)", line))
    said: list[bytes] = []
    with pytest.raises(CompileError):
        compile_program(
            tree, source, tmp_path / "a.o", CompileOptions(clang=clang, libbpf=libbpf), said.append
        )
    assert message in b"".join(said)


def test_missing_libbpf_headers_say_what_to_install(
    tree: HeaderTree, source: Path, options: CompileOptions, tmp_path: Path
) -> None:
    source.write_text(CORE)
    with pytest.raises(CompileError) as caught:
        compile_program(tree, source, tmp_path / "a.o", options, lambda _: None)
    assert "libbpf-dev" in (caught.value.hint or "")
