"""Archives out of kernel modules: real ones, hand-made ones, damaged ones."""

from __future__ import annotations

import gzip
import lzma
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.archives.module import ModuleSpec, build_module
from kheaders_adb.archive.carve import carve, carve_module
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import ArchiveError, UnsafeArchiveError, UsageError
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from tests.conftest import SCALE
from tests.unit.archive.helpers import SMALL, rule_of
from tests.unit.archive.test_generated import cpu_limit

ARCHIVE = SMALL.read_bytes()
MODULE = build_module(ModuleSpec(ARCHIVE))
STRIPPED = build_module(ModuleSpec(ARCHIVE, symbols=False))


def refusal(data: bytes) -> str:
    with pytest.raises(ArchiveError) as caught:
        carve(data)
    return rule_of(caught.value)


def test_the_archive_and_what_the_module_says(tmp_path: Path) -> None:
    path = tmp_path / "kheaders.ko"
    path.write_bytes(MODULE)
    module = carve_module(path)
    assert module.archive == ARCHIVE
    assert module.name == "kheaders"
    assert module.vermagic == "6.1.192-android14-lab SMP mod_unload modversions"
    assert module.modversions
    assert module.machine == "x86_64"


def test_other_architecture_without_symbol_crcs() -> None:
    modinfo = {"name": "kheaders"}
    module = carve(
        build_module(ModuleSpec(ARCHIVE, modinfo=modinfo, versions=False, machine="aarch64"))
    )
    assert (module.machine, module.modversions) == ("aarch64", False)
    assert module.vermagic is None


def test_without_symbols_the_xz_stream_tells_its_end() -> None:
    assert carve(STRIPPED).archive == ARCHIVE


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("plain", [MODULE, STRIPPED])
def test_compressed_modules(compress: object, plain: bytes) -> None:
    assert callable(compress)
    assert carve(compress(plain)).archive == ARCHIVE


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "not-a-module"),
        (b"#!/bin/sh\n", "not-a-module"),
        (MODULE[:4], "module-damaged"),
        (MODULE[:64], "module-damaged"),
        (MODULE[: len(MODULE) // 2], "module-damaged"),
        (MODULE[:-1], "module-damaged"),
        (build_module(ModuleSpec(ARCHIVE, elf_type=3)), "not-a-module"),
        (build_module(ModuleSpec(ARCHIVE, modinfo={"name": "zram"})), "other-module"),
        (build_module(ModuleSpec(ARCHIVE, modinfo={}, symbols=False)), "other-module"),
        (build_module(ModuleSpec(b"")), "module-damaged"),
        (build_module(ModuleSpec(b"no archive")), "module-without-archive"),
        (build_module(ModuleSpec(ARCHIVE[:-5])), "module-without-archive"),
        (build_module(ModuleSpec(b"no archive", symbols=False)), "module-without-archive"),
        (build_module(ModuleSpec(ARCHIVE * 2, symbols=False)), "module-without-archive"),
        (build_module(ModuleSpec(ARCHIVE[:-9], symbols=False)), "xz-damaged"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "module-compression"),
        (gzip.compress(MODULE)[:-20], "module-compression"),
        (b"\x1f\x8b" + b"x" * 20, "module-compression"),
        (lzma.compress(MODULE)[:-20], "xz-truncated"),
        (ARCHIVE, "not-a-module"),
    ],
)
def test_refused(data: bytes, rule: str) -> None:
    assert refusal(data) == rule


def test_another_module_is_called_by_its_name() -> None:
    with pytest.raises(ArchiveError, match="a kernel module named zram, not kheaders"):
        carve(build_module(ModuleSpec(ARCHIVE, modinfo={"name": "zram"})))


def test_a_name_with_an_escape_sequence_does_not_reach_the_terminal() -> None:
    with pytest.raises(ArchiveError) as caught:
        carve(build_module(ModuleSpec(ARCHIVE, modinfo={"name": "\x1b]0;x\x07"})))
    assert str(caught.value).isprintable()


def test_caps() -> None:
    def over(**caps: int) -> str:
        with pytest.raises(UnsafeArchiveError) as caught:
            carve(data, replace(DEFAULT_LIMITS, **caps))
        return rule_of(caught.value)

    data = MODULE
    assert over(module_bytes=len(MODULE) - 1) == "module-too-large"
    assert over(compressed_bytes=len(ARCHIVE) - 1) == "compressed-too-large"
    data = STRIPPED
    assert over(total_bytes=10_000) == "total-too-large"
    data = gzip.compress(MODULE)
    assert over(module_bytes=len(MODULE) - 1) == "module-too-large"
    data = lzma.compress(MODULE)
    assert over(module_bytes=len(MODULE) - 1) == "total-too-large"


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        carve_module(tmp_path / "kheaders.ko")
    with pytest.raises(UsageError, match="is a folder, not a file"):
        carve_module(tmp_path)


_TABLE = 0x28  # e_shoff
_SECTIONS = len(MODULE) - int.from_bytes(MODULE[_TABLE : _TABLE + 8], "little")


@settings(max_examples=300 * SCALE)
@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.integers(0, 63),
                st.integers(len(MODULE) - _SECTIONS - 400, len(MODULE) - 1),
            ),
            st.one_of(
                st.binary(min_size=1, max_size=8),
                st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\0\0\0\x7f", b"\x01"]),
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_damaged_modules_give_no_other_error(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(MODULE)
    for at, other in changes:
        data[at : at + len(other)] = other
    with cpu_limit(2.0):
        try:
            module = carve(bytes(data))
        except ArchiveError as error:
            rule_of(error)
        else:
            assert module.archive.startswith(b"\xfd7zXZ\0")


def test_string_tables_without_end_do_not_stall() -> None:
    """pyelftools reads a name up to the next NUL; a file without one would cost minutes."""
    symbols = 4_000
    spec = ModuleSpec(ARCHIVE, before=b"n" * 2_000_000)
    data = bytearray(build_module(spec))
    table = int.from_bytes(data[_TABLE : _TABLE + 8], "little")
    symtab = table + 64 * 5
    offset = len(data)
    data += b"\x01\0\0\0" + bytes(20)
    data += data[-24:] * (symbols - 1)
    data[symtab + 24 : symtab + 40] = offset.to_bytes(8, "little") + (24 * symbols).to_bytes(
        8, "little"
    )
    strtab = symtab + 64
    data[strtab + 24 : strtab + 40] = (70).to_bytes(8, "little") + (1_000_000).to_bytes(8, "little")
    with cpu_limit(2.0):
        assert refusal(bytes(data)) == "module-damaged"


def test_symbol_tables_without_measure_do_not_stall() -> None:
    data = bytearray(MODULE)
    symtab = int.from_bytes(data[_TABLE : _TABLE + 8], "little") + 64 * 5
    size = 24 * 200_000
    data[symtab + 24 : symtab + 40] = len(data).to_bytes(8, "little") + size.to_bytes(8, "little")
    data += bytes(size)
    with cpu_limit(2.0):
        assert refusal(bytes(data)) == "module-damaged"


def test_symbols_stay_within_their_section() -> None:
    data = bytearray(MODULE)
    symtab = int.from_bytes(data[_TABLE : _TABLE + 8], "little") + 64 * 5
    table = int.from_bytes(data[symtab + 24 : symtab + 32], "little")
    value = table + 24 * 3 + 8  # st_value of kernel_headers_data_end
    end = int.from_bytes(data[value : value + 8], "little")
    rodata = len(ModuleSpec(ARCHIVE).before + ARCHIVE) + len(b"\0tail")
    assert end == rodata - len(b"\0tail")
    data[value : value + 8] = (rodata + 1).to_bytes(8, "little")
    with pytest.raises(ArchiveError, match="kernel_headers_data_end lies outside its section"):
        carve(bytes(data))


@pytest.mark.parametrize(("field", "value"), [(24, 2**40), (32, 2**40), (32, len(MODULE) + 1)])
def test_sections_stay_within_the_file(field: int, value: int) -> None:
    data = bytearray(MODULE)
    rodata = int.from_bytes(data[_TABLE : _TABLE + 8], "little") + 64
    data[rodata + field : rodata + field + 8] = value.to_bytes(8, "little")
    with pytest.raises(ArchiveError, match=r"the section \.rodata reaches beyond the file's"):
        carve(bytes(data))


@pytest.mark.parametrize("kernel", ["x86_64-module", "arm64-module", "x86_64-foreign-release"])
def test_real_modules(kernel: str) -> None:
    prebuilt = os.environ.get("KHEADERS_LAB_PREBUILT")
    if prebuilt is None:
        pytest.skip("KHEADERS_LAB_PREBUILT names no finished kernels")
    path = Path(prebuilt, "kernels", kernel, "kheaders.ko")
    module = carve_module(path)
    assert module.modversions
    assert module.archive in path.read_bytes()
    assert sum(1 for _ in read_archive([module.archive])) > 6_000
