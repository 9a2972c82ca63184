"""Headers that want to read the host's files, against every clang: their secret is never in the object."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kheaders_adb.ebpf.compile import CompileOptions, compile_program
from kheaders_adb.ebpf.headers import HeaderTree, read_tree
from kheaders_adb.ebpf.process import Limits
from kheaders_adb.errors import CompileError, UsageError
from tests.unit.ebpf.conftest import MakeTree
from tests.unit.ebpf.trees import PROGRAM, write_tree

SECRET = b"correct horse battery staple"

SECTION = '__attribute__((section("kprobe/hostile"), used))'


class Victim:
    """A host with a secret, a program, and a header tree that is given to it."""

    def __init__(self, folder: Path, clang: Path, make_tree: MakeTree) -> None:
        self.folder = folder
        self.clang = clang
        self.secret = folder / "home" / "secret.txt"
        self.secret.parent.mkdir()
        # A line of C too, so that it can be included without an error.
        self.secret.write_bytes(b'static const char stolen[] = "' + SECRET + b'";\n')
        self.source = folder / "home" / "project" / "prog.bpf.c"
        self.source.parent.mkdir()
        self.output = folder / "prog.o"
        self.extra: tuple[str, ...] = ()
        self.said = b""
        self._make_tree = make_tree

    def compile(
        self,
        header: str,
        *,
        program: str = "#include <linux/hostile.h>\n" + PROGRAM,
        files: dict[str, str] | None = None,
        options: Callable[[CompileOptions], CompileOptions] = lambda options: options,
        tree: HeaderTree | None = None,
    ) -> bytes:
        """Compile the program against a tree with this header; return the object."""
        text = header.replace("SECRET", str(self.secret)).replace("SECTION", SECTION)
        files = {"include/linux/hostile.h": text, **(files or {})}
        self.source.write_text(program.replace("SECRET", str(self.secret)))
        said: list[bytes] = []
        try:
            compile_program(
                tree or self._make_tree(files=files),
                self.source,
                self.output,
                options(CompileOptions(clang=self.clang, extra=self.extra)),
                said.append,
            )
        finally:
            self.said = b"".join(said)
            if self.output.exists():
                assert SECRET not in self.output.read_bytes()
        return self.output.read_bytes()

    def refused(self, header: str, **more: object) -> CompileError:
        """Compile as above, which must fail, and leave nothing."""
        with pytest.raises(CompileError) as caught:
            self.compile(header, **more)  # type: ignore[arg-type]
        assert caught.value.exit_code == 9
        assert not self.output.exists()
        assert SECRET not in self.said
        return caught.value


@pytest.fixture
def victim(tmp_path: Path, each_clang: Path, make_tree: MakeTree) -> Victim:
    return Victim(tmp_path, each_clang, make_tree)


def within(statement: str) -> str:
    """A header whose function, which is used, executes an asm."""
    return f"SECTION int hostile(void *at) {{ unsigned long x = 0; {statement} return x; }}\n"


FUNCTION_ASM = {
    "incbin": r'asm volatile(".incbin \"SECRET\"");',
    "include": r'asm volatile(".include \"SECRET\"");',
    "upper case": r'asm volatile(".INCBIN \"SECRET\"");',
    "quoted": r'asm volatile("\".incbin\" \"SECRET\"");',
    "macro": r'asm volatile(".macro m a, b\n \\a\\()\\b \"SECRET\"\n.endm\n m .inc, bin");',
    "altmacro": r'asm volatile(".altmacro\n.macro m x\nx \"SECRET\"\n.endm\nm <.incbin>");',
    "repeat": r'asm volatile(".irp x, .incbin\n \\x \"SECRET\"\n.endr");',
    "after an instruction": r'asm volatile("r0 = 0; .incbin \"SECRET\"");',
    "after a line": r'asm volatile("r0 = 0\n\t.incbin \"SECRET\"");',
    "after a carriage return": r'asm volatile("r0 = 0\r.incbin \"SECRET\"");',
    "after a label": r'asm volatile("1: .incbin \"SECRET\"");',
    "after a named label": r'asm volatile("here:.incbin \"SECRET\"");',
    "after a quoted label": r'asm volatile("\"a b\": .incbin \"SECRET\"");',
    "after a comment": r'asm volatile("/* ; */ .incbin \"SECRET\"");',
    "after a line comment": r'asm volatile("# /*\n.incbin \"SECRET\"\n# */");',
    "after a NUL": r'asm volatile("\0.incbin \"SECRET\"");',
    "after a form feed": r'asm volatile("\f.incbin \"SECRET\"");',
    "escaped": r'asm volatile("\x2e\x69ncbin \"SECRET\"");',
    "pasted": r'asm volatile("." "inc" "bin" " \"SECRET\"");',
    "dialects": r'asm volatile("{.incbin|.incbin} \"SECRET\"");',
    "empty dialect": r'asm volatile("{|}.incbin \"SECRET\"");',
    "section": r'asm volatile(".pushsection .rodata\n.incbin \"SECRET\"\n.popsection");',
    "goto": r'asm goto(".incbin \"SECRET\"" : : : : out); out:;',
    "no volatile": r'asm(".incbin \"SECRET\"" : "=r"(x));',
    "operand": r'asm volatile("%0 \"SECRET\"" : : "i"(&directive));',
    "inlined operand": r"through(&directive);",
    "operand with lines": r'asm volatile("r1 = %0 ll" : : "i"(&lines));',
    "named operand": r'asm volatile("%[d] \"SECRET\"" : : [d] "i"(&directive));',
}
SYMBOLS = (
    'extern char directive asm(".incbin");\n'
    r'extern char lines asm("x\n.incbin \"SECRET\"\n");' + "\n"
    "static inline __attribute__((always_inline)) void through(void *p)\n"
    r'{ asm volatile("%0 \"SECRET\"" : : "i"(p)); }' + "\n"
)


@pytest.mark.parametrize("statement", FUNCTION_ASM.values(), ids=FUNCTION_ASM.keys())
def test_no_asm_of_a_function_reads_a_file(statement: str, victim: Victim) -> None:
    refusal = victim.refused(SYMBOLS + within(statement))
    assert "directives for the assembler" in str(refusal) or "a symbol is called" in str(refusal)


def test_the_refusal_names_the_headers_line_and_the_asm(victim: Victim) -> None:
    refusal = victim.refused("\n\n" + within(FUNCTION_ASM["after a label"]))
    assert "include/linux/hostile.h:3" in str(refusal)
    assert "1: .incbin" in str(refusal)
    assert "directives" in str(refusal)


def test_without_debug_information_it_names_the_function(victim: Victim) -> None:
    refusal = victim.refused(
        within(FUNCTION_ASM["incbin"]),
        options=lambda given: CompileOptions(clang=given.clang, debug=False),
    )
    assert "function hostile" in str(refusal)


def test_asm_outside_of_functions_is_left_out_with_a_warning(victim: Victim) -> None:
    made = victim.compile(
        r'asm(".macro m a, b\n\\a\\b \"SECRET\"\n.endm"); asm("m .inc, bin");' + "\n"
        r'asm(".pushsection .rodata; .incbin \"SECRET\"");' + "\n"
    )
    assert b"kprobe/x" in made
    assert b"warning: assembly outside of functions is left out" in victim.said
    assert b".macro m a, b" in victim.said


def test_directives_that_the_bpf_stage_finds_unreachable_do_no_harm(victim: Victim) -> None:
    # Kernel headers are full of these: WARN, static branches, alternatives.
    victim.compile(
        r"""
static inline void bug(void)
{ asm volatile("1: .byte 0x0f, 0x0b; .pushsection __bug_table,\"aw\"; .long 1b - .; .popsection"); }
static inline int checked(int value) { if (__builtin_constant_p(value) && value > 9) bug(); return value; }
static inline void lock(void) { asm volatile(".pushsection .smp_locks; .popsection; lock; incl %gs:0"); }
"""
        + within("x = checked(3);")
    )
    assert victim.said == b""


def test_honest_asm_of_programs_still_assembles(victim: Victim) -> None:
    made = victim.compile(
        within(
            """
    asm volatile("" : : : "memory");
    asm volatile("%0 = 7" : "=r"(x));
    asm volatile("%[x] &= 0xff\\n\\t%[x] += %[more];" : [x] "+r"(x) : [more] "i"(3));
    asm volatile("/* a note */ if %0 s< 0 goto over_%=; %0 = 1; over_%=: %0 += 0 # another" : "+r"(x));
    asm volatile("1:\\n%0 = *(u32 *)(%1 + 4)\\n*(u64 *)(r10 - 8) = %0" : "=r"(x) : "r"(at) : "memory");
"""
        )
    )
    assert b"kprobe/hostile" in made
    assert victim.said == b""


READS = {
    "include": '#include "SECRET"\n' + within("x = stolen[0];"),
    "angles": "#include <SECRET>\n" + within("x = stolen[0];"),
    "upward": '#include "' + 20 * "../" + 'SECRET"\n' + within("x = stolen[0];"),
    "include_next": "#include_next <" + 20 * "../" + "SECRET>\n" + within("x = stolen[0];"),
    "import": "#import <SECRET>\n" + within("x = stolen[0];"),
    "macro": '#define F "SECRET"\n#include F\n' + within("x = stolen[0];"),
    "system header": '#pragma GCC system_header\n#include "SECRET"\n' + within("x = stolen[0];"),
    "line": '#line 1 "/nowhere/x.h"\n#include "SECRET"\n',
    "line marker": '# 1 "/nowhere/a" 1\n#include "SECRET"\n# 1 "/nowhere/a" 2\n',
    "into the source's folder": '#include "SECRET/../project/notes.h"\n',
    "has_include": '#if __has_include("SECRET")\nint is_there;\n#endif\n',
    "has_include of a folder's file": '#if __has_include("SECRET/../secret.txt")\nint is_there;\n#endif\n',
}
SECRETIVE = {
    "embed": 'const char stolen[] = {\n#embed "SECRET"\n};\n' + within("x = stolen[1];"),
    "has_embed": '#if __has_embed("SECRET")\nint is_there;\n#endif\n',
}


@pytest.mark.parametrize("header", READS.values(), ids=READS.keys())
def test_no_header_reads_or_finds_a_file_of_the_host(header: str, victim: Victim) -> None:
    (victim.source.parent / "notes.h").write_text("int notes;\n")
    # clang goes through no file as if it were a folder.
    header = header.replace("SECRET/..", str(victim.secret.parent))
    refusal = victim.refused(header)
    assert "headers may read only headers" in str(refusal)
    assert "secret.txt" in str(refusal) or "notes.h" in str(refusal)


@pytest.mark.parametrize("header", SECRETIVE.values(), ids=SECRETIVE.keys())
def test_nor_does_it_embed_one(header: str, victim: Victim) -> None:
    refusal = victim.refused(header)
    if "clang-19" in str(victim.clang):  # the others do not know the word
        assert "headers may read only headers" in str(refusal)


def test_a_file_that_is_not_there_is_not_found_out_about(victim: Victim) -> None:
    # It is the same object as without the question.
    victim.compile('#if __has_include("/nonexistent/secret")\nint is_there;\n#endif\n')


def test_the_refusal_says_which_header_reads_what(victim: Victim) -> None:
    refusal = victim.refused(READS["include"])
    assert "include/linux/hostile.h reads" in str(refusal)
    assert str(victim.secret) in str(refusal)
    assert "-I" in (refusal.hint or "")


def test_btf_quotes_no_file_that_only_a_line_directive_names(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(victim.secret.parent)
    for name in ("SECRET", "secret.txt", "project/../secret.txt", "/proc/self/cwd/secret.txt"):
        made = victim.compile(
            f'#line 1 "{name}"\n' + within("x = *(int *)at;"),
            program=PROGRAM + "#include <linux/hostile.h>\n",
        )
        assert b"(#line)" in made, "the line numbers are still there"
    assert b"probe_read(&pid" in made, "and the program's own lines"


def test_a_line_directive_that_names_nothing_is_kept(victim: Victim) -> None:
    made = victim.compile(
        "", program=PROGRAM.replace("\nint prog", '\n#line 7 "/build/grammar.y"\nint prog')
    )
    assert b"/build/grammar.y" in made
    assert b"(#line)" not in made


def test_the_program_itself_includes_what_it_likes(victim: Victim) -> None:
    common = victim.secret.parent / "common"
    common.mkdir()
    (common / "a $#1.h").write_text('#include "b.h"\n')
    (common / "b.h").write_text('#include "../other.h"\n')
    (common.parent / "other.h").write_text("#define FROM_OTHER 1\n")
    (victim.source.parent / "near.h").write_text('#include "../common/a $#1.h"\n')
    victim.compile(
        "",
        program='#if __has_include("near.h")\n#include "near.h"\n#endif\n#include <stdarg.h>\n'
        '_Static_assert(FROM_OTHER, "");\n' + PROGRAM,
    )


def test_what_is_named_with_an_include_flag_is_for_headers_too(victim: Victim) -> None:
    stubs = victim.folder / "stubs"
    (stubs / "vendor").mkdir(parents=True)
    (victim.folder / "real.h").write_text("#define STUB 1\n")
    (stubs / "vendor/missing.h").symlink_to(victim.folder / "real.h")
    header = '#include <vendor/missing.h>\n_Static_assert(STUB, "");\n'
    victim.compile(header, options=lambda o: CompileOptions(clang=o.clang, include_dirs=(stubs,)))
    for extra in (
        (f"-I{stubs}",),
        ("-isystem", str(stubs)),
        ("-include", str(stubs / "vendor/missing.h"), f"-idirafter{stubs}"),
    ):
        victim.extra = extra
        victim.compile(header)


def test_clangs_own_headers_are_found_where_it_is_a_script_elsewhere(victim: Victim) -> None:
    wrapper = victim.folder / "bin" / "clang"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {victim.clang} "$@"\n')
    wrapper.chmod(0o755)
    victim.clang = wrapper
    victim.compile("#include <stdarg.h>\n")


@pytest.mark.parametrize(
    "flag", ["-M", "-MM", "-MMD", "-MD", "-MF", "-MFx.d", "-Wp,-MD,x.d", "-MG"]
)
def test_flags_that_replace_the_list_of_what_was_read_are_refused(
    flag: str, victim: Victim
) -> None:
    with pytest.raises(UsageError, match=f"{flag} cannot be given"):
        victim.compile("", options=lambda o: CompileOptions(clang=o.clang, extra=(flag,)))


def test_flags_that_add_to_the_list_go_into_it(victim: Victim) -> None:
    victim.compile(
        "",
        options=lambda o: CompileOptions(
            clang=o.clang, dependencies=True, extra=("-MT", "all", "-MP")
        ),
    )
    text = victim.output.with_suffix(".d").read_text()
    assert text.startswith(f"all {victim.output}: ")
    assert "sched.h:\n" in text


@pytest.mark.parametrize("ending", [".pch", ".gch"])
def test_a_precompiled_header_in_the_tree_is_refused(
    ending: str, victim: Victim, tmp_path: Path
) -> None:
    root = write_tree(tmp_path / "tree")
    (tmp_path / "p.h").write_text("int smuggled;\n")
    command = [str(victim.clang), "-x", "c-header", str(tmp_path / "p.h")]
    subprocess.run([*command, "-o", str(root / f"include/linux/kconfig.h{ending}")], check=True)
    with pytest.raises(
        CompileError, match=f"kconfig.h{ending} would be read by clang in the place"
    ):
        read_tree(root)


def test_a_header_map_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree")
    (root / "arch/x86/include/generated").write_bytes(b"pamh")
    with pytest.raises(CompileError, match="generated would be read by clang in the place"):
        read_tree(root)


BOMBS = {
    "memory": "#define A(x) x x x x x x x x x x\n#define B(x) A(A(A(A(x))))\nint z[] = { B(B(B(1,))) };\n",
    "structure": "struct s { int a[1 << 28]; }; struct s big = { .a = { [0 ... (1 << 28) - 1] = 7 } };\n",
    "object": "int big[100000000] = {1};\n",
    "time": "#include <linux/a0.h>\n",
}
DOUBLING = {
    f"include/linux/a{n}.h": f"#include <linux/a{n + 1}.h>\n#include <linux/a{n + 1}.h>\n"
    for n in range(40)
} | {"include/linux/a40.h": ""}


@pytest.mark.parametrize(("bomb", "limit"), [
    ("memory", "512 MiB of memory"),
    ("structure", "512 MiB of memory"),
    ("object", "16 MiB for a file"),
    ("time", "1 s"),
])  # fmt: skip
def test_headers_without_end_end_at_a_limit(bomb: str, limit: str, victim: Victim) -> None:
    limits = Limits(wall_s=1 if bomb == "time" else 60, memory_bytes=512 << 20, file_bytes=16 << 20)
    refusal = victim.refused(
        BOMBS[bomb], files=DOUBLING, options=lambda o: CompileOptions(clang=o.clang, limits=limits)
    )
    assert f"clang was ended at the limit of {limit}" in str(refusal)
    assert "include themselves" in (refusal.hint or "")
    assert {path.name for path in victim.folder.iterdir()} == {"home", "tree1"}


def test_a_flood_of_warnings_is_cut_and_counted(victim: Victim) -> None:
    limits = Limits(diagnostics_bytes=4000)
    victim.compile(
        '#define W _Pragma("message(\\"a flood\\")")\n#define X W W W W W W W W W W\n X X X\n',
        options=lambda o: CompileOptions(clang=o.clang, limits=limits),
    )
    assert b"bytes of clang's messages are left out" in victim.said
    assert b"30 warnings generated" in victim.said
    assert len(victim.said) < 5000
