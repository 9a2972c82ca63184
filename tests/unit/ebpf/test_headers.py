"""Reading from a tree what the flags depend on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kheaders_adb.ebpf.headers import MAX_HEADER_BYTES, Arch, Shim, read_tree
from kheaders_adb.errors import CompileError, UsageError
from kheaders_adb.kernel.autoconf import parse_autoconf
from tests.unit.ebpf.conftest import MakeTree
from tests.unit.ebpf.trees import write_tree
from tests.unit.kernel.test_autoconf import DEFINES


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("x86_64", Arch.X86_64),
        ("arm64", Arch.ARM64),
        ("arm", Arch.ARM),
        ("riscv64", Arch.RISCV64),
    ],
)
def test_the_architecture_is_the_trees(arch: str, expected: Arch, make_tree: MakeTree) -> None:
    tree = make_tree(arch, version=(5, 10))
    assert tree.arch is expected
    assert tree.release == "5.10.0-mini"
    assert tree.version_code == (5 << 16) + (10 << 8)
    assert tree.compiler == "gcc (Debian) 12.2.0"
    assert tree.shims == ()
    assert tree.cautions == ()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("include/generated/autoconf.h", "it lacks include/generated/autoconf.h"),
        ("include/linux/kconfig.h", "it lacks include/linux/kconfig.h"),
    ],
)
def test_what_is_no_tree_is_refused(removed: str, message: str, tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / removed).unlink()
    with pytest.raises(UsageError, match=message):
        read_tree(root)


def test_a_tree_of_two_architectures_is_refused(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / "arch/arm64").mkdir()
    with pytest.raises(UsageError, match=r"arch/ holds arm64 and x86"):
        read_tree(root)


@pytest.mark.parametrize(
    ("arch", "config", "message"),
    [
        ("arm64", {"CPU_BIG_ENDIAN": "1"}, "big-endian arm64"),
        ("x86_64", {}, "32-bit x86"),
        ("riscv64", {}, "32-bit riscv"),
    ],
)
def test_what_cannot_be_compiled_for_is_named(
    arch: str, config: dict[str, str], message: str, tmp_path: Path
) -> None:
    root = write_tree(tmp_path, arch, config=config)
    if not config:
        (root / "include/generated/autoconf.h").write_text("#define CONFIG_HZ 250\n")
    with pytest.raises(CompileError, match=message) as caught:
        read_tree(root)
    assert "x86_64, arm64, arm and riscv64" in (caught.value.hint or "")


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / "arch/x86").rename(root / "arch/s390")
    with pytest.raises(CompileError, match="arch/s390"):
        read_tree(root)


def test_a_configuration_that_is_no_text_is_refused(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / "include/generated/autoconf.h").write_bytes(b"#define CONFIG_64BIT 1\n\0")
    with pytest.raises(UsageError, match=r"not a tree of kernel headers: .*fact-not-text"):
        read_tree(root)


def test_an_absurd_header_is_refused(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    with (root / "include/generated/compile.h").open("wb") as file:
        file.truncate(MAX_HEADER_BYTES + 1)
    with pytest.raises(UsageError, match="larger than any kernel header"):
        read_tree(root)


def test_a_header_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / "include/generated/compile.h").unlink()
    (root / "include/generated/compile.h").mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*compile\.h: Is a directory"):
        read_tree(root)


def test_headers_that_say_nothing_leave_it_unknown(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    for name in ("utsrelease.h", "compile.h", "uapi/linux/version.h"):
        (root / "include/generated" / name).write_bytes(b"\xff\xfe not C at all")
    tree = read_tree(root)
    assert (tree.release, tree.version_code, tree.compiler) == (None, None, None)


OLD_JUMP_LABEL = "#if defined(CC_HAVE_ASM_GOTO) && defined(CONFIG_JUMP_LABEL)\n#endif\n"


@pytest.mark.parametrize(
    ("files", "shims"),
    [
        ({"include/linux/jump_label.h": OLD_JUMP_LABEL}, (Shim.ASM_GOTO,)),
        (
            # Before 4.19, clang reads compiler-gcc.h as well.
            {
                "include/linux/jump_label.h": OLD_JUMP_LABEL,
                "include/linux/compiler-gcc.h": "#define asm_volatile_goto(x...) asm goto(x)\n",
            },
            (),
        ),
        (
            {
                "include/linux/jump_label.h": OLD_JUMP_LABEL,
                "include/linux/compiler_types.h": "#ifdef __clang__\n#elif defined(__GNUC__)\n#endif\n",
                "include/linux/compiler-gcc.h": "#define asm_volatile_goto(x...) asm goto(x)\n",
            },
            (Shim.ASM_GOTO,),
        ),
        (
            {"include/linux/compiler_types.h": "#define asm_inline asm __inline\n"},
            (),
        ),
        (
            {
                "include/linux/compiler_types.h": "# define asm_inline asm __inline\n",
                "include/linux/compiler-gcc.h": "#define __inline __inline __attribute__((unused))\n",
            },
            (Shim.ASM_INLINE,),
        ),
    ],
)
def test_shims_only_where_the_tree_needs_them(
    files: dict[str, str], shims: tuple[Shim, ...], make_tree: MakeTree
) -> None:
    assert make_tree(files=files).shims == shims


def test_random_structures_are_cautioned_of(make_tree: MakeTree) -> None:
    (caution,) = make_tree(config={"RANDSTRUCT": "1", "RANDSTRUCT_FULL": "1"}).cautions
    assert "CONFIG_RANDSTRUCT" in caution
    assert make_tree(config={"RANDSTRUCT_NONE": "1"}).cautions == ()


def test_clang_defines_what_was_read(clang: Path, tmp_path: Path) -> None:
    """Each form of value that is accepted, strings with quotes and comment marks in them among them."""
    (tmp_path / "autoconf.h").write_bytes(DEFINES)
    done = subprocess.run(
        f"{clang} -target bpf -std=gnu11 -E -dM -include autoconf.h -x c /dev/null".split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    defines = [line for line in done.stdout.splitlines(keepends=True) if b" CONFIG_" in line]
    assert parse_autoconf(b"".join(sorted(defines))) == parse_autoconf(DEFINES)
