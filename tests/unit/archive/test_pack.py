"""Packed modules: unpacked by what is in them, or refused by name; never more than the cap."""

from __future__ import annotations

import gzip
import lzma
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.archives.module import ModuleSpec, build_module
from kheaders_adb.archive.carve import carve, carve_module
from kheaders_adb.archive.pack import Packing, packing_of, read_module, unpack_module
from kheaders_adb.errors import ArchiveError, CorruptArchiveError, UnsafeArchiveError, UsageError
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from tests.conftest import SCALE
from tests.unit.archive.helpers import SMALL, rule_of, run_bounded
from tests.unit.archive.test_generated import cpu_limit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ARCHIVE = SMALL.read_bytes()
MODULE = build_module(ModuleSpec(ARCHIVE))
Pack = Callable[[bytes], bytes]
CHECKED: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}  # as the program does
PACKERS: dict[Packing, Pack] = {
    Packing.XZ: lzma.compress,
    Packing.GZIP: gzip.compress,
    Packing.ZSTD: lambda data: zstd.compress(data, options=CHECKED),
}
EACH = pytest.mark.parametrize("packing", Packing)


def refusal(data: bytes) -> ArchiveError:
    with pytest.raises(ArchiveError) as caught:
        unpack_module(data)
    error = caught.value
    assert error.exit_code == 6
    assert error.step == "reading the kernel module"
    assert error.hint
    assert str(error).isprintable()
    with pytest.raises(ArchiveError) as again:
        carve(data)
    assert str(again.value) == str(error), "whoever carves says the same"
    return error


@EACH
@pytest.mark.parametrize("name", ["kheaders.ko", "kheaders.ko.xz", "kheaders.ko.gz", "x"])
def test_unpacked_by_what_is_in_it_not_by_its_name(
    packing: Packing, name: str, tmp_path: Path
) -> None:
    data = PACKERS[packing](MODULE)
    assert packing_of(data) is packing
    assert unpack_module(data) == MODULE
    path = tmp_path / name
    path.write_bytes(data)
    assert read_module(path) == MODULE
    assert carve_module(path).archive == ARCHIVE


def test_what_is_not_packed_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "kheaders.ko.zst").write_bytes(MODULE)
    assert read_module(tmp_path / "kheaders.ko.zst") == MODULE
    for data in (MODULE, b"", b"\x28\xb5\x2f", b"\xfd7zXZ", b"\x1f"):
        assert packing_of(data) is None
        assert unpack_module(data) == data


@pytest.mark.parametrize(
    "command",
    [
        ["xz", "--check=crc32", "--lzma2=dict=1MiB", "-c"],  # as `make modules_install` packs
        ["gzip", "-n", "-f", "-c"],
        ["zstd", "--quiet", "--rm", "-c"],
        ["zstd", "--quiet", "-T0", "-19", "-c"],
        ["zstd", "--quiet", "--ultra", "-22", "-c"],
        ["zstd", "--quiet", "--no-check", "-c"],
    ],
    ids=" ".join,
)
def test_as_the_kernels_makefile_packs_them(command: list[str]) -> None:
    try:
        packed = subprocess.run(command, input=MODULE, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed")
    assert unpack_module(packed) == MODULE


@EACH
def test_a_file_cut_short(packing: Packing) -> None:
    data = PACKERS[packing](MODULE)
    for kept in (8, len(data) // 2, len(data) - 1):
        error = refusal(data[:kept])
        assert isinstance(error, CorruptArchiveError)
        assert "cut short" in error.seen or "within the xz stream" in error.seen


@EACH
def test_several_streams(packing: Packing) -> None:
    error = refusal(PACKERS[packing](MODULE) * 2)
    assert f"another {packing} stream follows the first" in error.seen


@EACH
@pytest.mark.parametrize("rest", [b"\n", bytes(511), b"PK\x03\x04", MODULE[:100]])
def test_other_bytes_behind_it(packing: Packing, rest: bytes) -> None:
    error = refusal(PACKERS[packing](MODULE) + rest)
    assert isinstance(error, CorruptArchiveError)
    assert "the end of" in error.seen


@EACH
def test_damaged(packing: Packing) -> None:
    data = bytearray(PACKERS[packing](MODULE))
    data[len(data) // 2] ^= 0x10
    assert "decode" in refusal(bytes(data)).seen


@EACH
@pytest.mark.parametrize("inner", Packing)
def test_packed_twice(packing: Packing, inner: Packing) -> None:
    error = refusal(PACKERS[packing](PACKERS[inner](MODULE)))
    assert rule_of(error) == "module-compression"
    assert f"packed twice: what its {packing} stream holds is packed with {inner}" in error.seen


def test_a_skippable_frame_is_not_taken_for_a_module() -> None:
    """pzstd writes one before its frames."""
    data = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + bytes(4) + zstd.compress(MODULE)
    assert unpack_module(data) == data
    with pytest.raises(ArchiveError) as caught:
        carve(data)
    assert rule_of(caught.value) == "not-a-module"


@EACH
def test_the_cap_is_exact(packing: Packing) -> None:
    data = PACKERS[packing](MODULE)
    exact = replace(DEFAULT_LIMITS, module_bytes=len(MODULE))
    assert unpack_module(data, exact) == MODULE
    with pytest.raises(UnsafeArchiveError) as caught:
        unpack_module(data, replace(exact, module_bytes=len(MODULE) - 1))
    assert rule_of(caught.value) in ("module-too-large", "total-too-large")
    assert "hostile" not in (caught.value.hint or "")


def test_the_cap_holds_before_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "kheaders.ko"
    path.write_bytes(MODULE)
    small = replace(DEFAULT_LIMITS, module_bytes=len(MODULE) - 1)
    with pytest.raises(UnsafeArchiveError, match="module-too-large"):
        read_module(path, small)


def test_a_zstd_window_beyond_the_cap() -> None:
    def with_window(log: int) -> bytes:
        options: dict[int, int] = {zstd.CompressionParameter.window_log: log}
        packer = zstd.ZstdCompressor(options=options)
        return packer.compress(MODULE) + packer.flush()

    assert rule_of(refusal(with_window(28))) == "dictionary-too-large"
    small = replace(DEFAULT_LIMITS, module_bytes=2**20)
    assert unpack_module(with_window(20), small) == MODULE
    with pytest.raises(UnsafeArchiveError, match="dictionary-too-large"):
        unpack_module(with_window(21), small)


def test_a_zstd_dictionary_is_not_at_hand() -> None:
    trained = zstd.train_dict([MODULE[at : at + 200] for at in range(0, 20_000, 100)], 2_000)
    error = refusal(zstd.compress(MODULE, zstd_dict=trained))
    assert rule_of(error) == "module-compression"
    assert "ictionary" in error.seen


def test_without_a_reader_for_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment put together by hand."""
    for name in ("backports.zstd", "backports", "compression.zstd", "compression"):
        monkeypatch.setitem(sys.modules, name, None)
    error = refusal(zstd.compress(MODULE))
    assert "which this Python cannot unpack" in error.seen
    assert "backports.zstd" in (error.hint or "")
    assert unpack_module(gzip.compress(MODULE)) == MODULE


@pytest.mark.parametrize(
    "path", ["none.ko", ".", "folder/kheaders.ko"], ids=["missing", "a folder", "below a file"]
)
def test_a_file_that_cannot_be_read(path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with pytest.raises(UsageError):
        read_module(tmp_path / path)


def test_a_file_without_end(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a device, not a file"):
        read_module(Path("/dev/zero"))
    path = tmp_path / "kheaders.ko"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnsafeArchiveError, match="module-too-large"):
        read_module(path, replace(DEFAULT_LIMITS, module_bytes=2**20))


@EACH
def test_bombs_within_512_mib_and_two_seconds_of_cpu(packing: Packing, tmp_path: Path) -> None:
    """A gibibyte of zeros in some kilobytes, in a process that is killed beyond its bounds."""
    path = tmp_path / "kheaders.ko"
    if packing is Packing.GZIP:
        piece = zlib.compressobj(wbits=31)
        path.write_bytes(b"".join(piece.compress(bytes(2**20)) for _ in range(256)) + piece.flush())
    elif packing is Packing.XZ:
        path.write_bytes(lzma.compress(bytes(2**28), preset=0))
    else:
        path.write_bytes(zstd.compress(bytes(2**28)))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from kheaders_adb.archive.pack import read_module\n"
        "from kheaders_adb.errors import ArchiveError\n"
        "try:\n"
        "    read_module(Path(sys.argv[1]))\n"
        "except ArchiveError as error:\n"
        "    print(error.rule)\n"
    )

    done = run_bounded(code, path, memory_bytes=512 * 2**20)
    rule = "total-too-large" if packing is Packing.XZ else "module-too-large"
    assert (done.stdout.strip(), done.stderr) == (rule, "")


@settings(max_examples=200 * SCALE)
@given(st.sampled_from(Packing), st.integers(0, 2**16), st.binary(min_size=1, max_size=8))
def test_mutations_give_no_other_error(packing: Packing, at: int, other: bytes) -> None:
    data = bytearray(_PACKED[packing])
    at %= len(data)
    data[at : at + len(other)] = other
    with cpu_limit(2.0):
        try:
            content = unpack_module(bytes(data))
        except ArchiveError as error:
            rule_of(error)
        else:
            assert len(content) <= DEFAULT_LIMITS.module_bytes


_PACKED = {packing: pack(MODULE) for packing, pack in PACKERS.items()}
