"""Every program against real headers of 6.1 and 6.12, with every clang; clangd; the flags of other builds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from fixtures.lab import KernelImage, Lab, LabMissing
from kheaders_adb.archive.carve import carve_module
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.ebpf.compdb import entry, update
from kheaders_adb.ebpf.compile import CompileOptions, compile_programs
from kheaders_adb.ebpf.flags import bpf_flags, format_shell, front_flags
from kheaders_adb.ebpf.headers import HeaderTree, read_tree
from kheaders_adb.ebpf.libbpf import find_libbpf
from kheaders_adb.model import MemberKind
from tests.lab.conftest import missing
from tests.unit.ebpf.conftest import CLANGS, absent

ALWAYS = ("x86_64-stock", "arm64-stock")
"""Kernels that no test run lacks."""
HEADERS = (
    *ALWAYS,
    *("headers-6.1-x86_64", "headers-6.1-arm64", "headers-6.12-x86_64", "headers-6.12-arm64"),
)
PROGRAMS = sorted((Path(__file__).parents[1] / "ebpf_programs").glob("*.bpf.c"))

Headers = Callable[[str], HeaderTree]


@pytest.fixture(scope="session")
def headers(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Headers:
    """The tree of a headers archive, extracted once."""
    trees: dict[str, HeaderTree] = {}

    def get(name: str) -> HeaderTree:
        if name not in trees:
            try:
                image = lab.kernel(name)
            except LabMissing as error:
                missing(error)
                raise
            trees[name] = read_tree(extract(image, tmp_path_factory.mktemp(name)))
        return trees[name]

    return get


def extract(image: KernelImage, root: Path) -> Path:
    if image.archive is not None:
        data = image.archive.read_bytes()
    else:
        assert image.kheaders_ko is not None
        data = carve_module(image.kheaders_ko).archive
    for member, content in read_archive([data]):
        path = root / member.path
        if member.kind is MemberKind.DIRECTORY:
            path.mkdir(parents=True, exist_ok=True)
        elif member.kind is MemberKind.SYMLINK:
            path.symlink_to(member.target or "")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


@pytest.fixture(scope="session")
def libbpf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = find_libbpf(None, lambda: tmp_path_factory.mktemp("cache"))
    if found is None:
        absent("libbpf's headers are not installed (Debian: libbpf-dev)")
    assert found is not None
    return found


def clang(version: int) -> Path:
    found = shutil.which(f"clang-{version}")
    if found is None:
        absent(f"clang-{version} is not installed")
    assert found is not None
    return Path(found)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", CLANGS)
@pytest.mark.parametrize("name", HEADERS)
def test_every_program_compiles_without_a_word(
    name: str, version: int, headers: Headers, libbpf: Path, tmp_path: Path
) -> None:
    said: list[bytes] = []
    written = compile_programs(
        headers(name),
        [(source, tmp_path / f"{source.stem}.o") for source in PROGRAMS],
        CompileOptions(clang=clang(version), libbpf=libbpf, extra=("-Wall",)),
        said.append,
        parallel=os.cpu_count() or 1,
    )
    assert b"".join(said) == b""
    assert len(written) == len(PROGRAMS) >= 5
    for path in written:
        with path.open("rb") as file:
            elf = ELFFile(file)
            assert elf["e_machine"] == "EM_BPF"
            assert elf.get_section_by_name(".BTF") is not None
            symbols = elf.get_section_by_name(".symtab")
            assert isinstance(symbols, SymbolTableSection)
            # layout.bpf.c: the two stages agree about every structure in it.
            assert not symbols.get_symbol_by_name("layout_differs")


def test_the_layout_program_can_fail(headers: Headers, libbpf: Path, tmp_path: Path) -> None:
    """Without this, the check above might be no check."""
    (source,) = (path for path in PROGRAMS if path.name == "layout.bpf.c")
    changed = tmp_path / "layout.bpf.c"
    changed.write_text(
        source.read_text().replace("!= offsetof(type, field)", "!= 1 + offsetof(type, field)")
    )
    output = tmp_path / "layout.o"
    options = CompileOptions(clang=newest_clang(), libbpf=libbpf)
    compile_programs(headers(HEADERS[0]), [(changed, output)], options, print)
    with output.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(symbols, SymbolTableSection)
        assert symbols.get_symbol_by_name("layout_differs")


def newest_clang() -> Path:
    for version in reversed(CLANGS):
        if found := shutil.which(f"clang-{version}"):
            return Path(found)
    return clang(CLANGS[-1])


@pytest.mark.parametrize("name", ["x86_64-stock", "headers-6.12-arm64"])
def test_clangd_resolves_every_include(
    name: str, headers: Headers, libbpf: Path, tmp_path: Path
) -> None:
    clangd = next(
        (
            found
            for program in ("clangd", *(f"clangd-{version}" for version in CLANGS))
            if (found := shutil.which(program))
        ),
        None,
    )
    if clangd is None:
        absent("clangd is not installed")
    assert clangd is not None
    source = tmp_path / "kprobe_open.bpf.c"
    source.write_text(next(p for p in PROGRAMS if p.name == source.name).read_text())
    options = CompileOptions(clang=newest_clang(), libbpf=libbpf)

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [clangd, f"--check={source}", f"--compile-commands-dir={tmp_path}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )

    assert "file not found" in check().stderr, (
        "without the database, there must be something to find"
    )
    update(
        tmp_path / "compile_commands.json",
        [entry(headers(name), source, tmp_path, options)],
    )
    done = check()
    assert done.returncode == 0, done.stderr
    assert "file not found" not in done.stderr
    assert "All checks completed, 0 errors" in done.stderr


@pytest.mark.parametrize("name", ALWAYS)
def test_the_printed_flags_make_the_same_object(
    name: str, headers: Headers, libbpf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `cflags` prints is what `compile` does, byte for byte; both stages in a pipe, as documented."""
    monkeypatch.chdir(tmp_path)  # debug information has it
    tree, compiler = headers(name), newest_clang()
    program = next(path for path in PROGRAMS if path.name == "opensnoop.bpf.c")
    ours = tmp_path / "ours.o"
    compile_programs(tree, [(program, ours)], CompileOptions(clang=compiler, libbpf=libbpf), print)
    front, back = front_flags(tree, libbpf=libbpf), bpf_flags()
    script = (
        f"{compiler} {format_shell(front)} -S {program} -o - | "
        f"{compiler} {format_shell(back)} -c - -o theirs.o"
    )
    subprocess.run(["sh", "-ec", script], check=True)
    assert (tmp_path / "theirs.o").read_bytes() == ours.read_bytes()
    assert json.loads(json.dumps(front)) == front
