"""Reading the archive off devices that do not keep to the script; honest ones are in tests/wire."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from kheaders_adb.device.lease import sweep
from kheaders_adb.device.outcome import (
    ArchiveGoneError,
    ArchiveHeader,
    NoWorkFolderError,
    ReadReport,
)
from kheaders_adb.device.probe import Probe
from kheaders_adb.device.script import name_line
from kheaders_adb.device.su import Su, SuCommand, SuDialect
from kheaders_adb.device.transfer import ArchiveStream
from kheaders_adb.errors import (
    DeviceChangedError,
    KheadersError,
    ModuleRefusedError,
    NoHeadersError,
    PrivilegeError,
    TransferError,
)
from kheaders_adb.model import HeaderSource, KernelIdentity, SourceKind
from tests.unit.device.peer import device_that, packet

BOOT = "c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de"
SYSFS = "/sys/kernel/kheaders.tar.xz"
WORK = PurePosixPath("/data/local/tmp/kheaders-adb")
TOLD = Probe(
    identity=KernelIdentity("6.1.0", "#1", "aarch64", boot_id=BOOT),
    config=None,
    uid=0,
    archives=(),
    modules=(),
    module_loaded=False,
    modules_disabled=False,
    works=(WORK,),
    leftovers=(),
    has_su=False,
    debuggable=False,
)
GOOD = (f"@R read 0\n@R boot {BOOT}\n@R end\n", 0)


def answering(
    out: bytes, err: str = GOOD[0], code: int = GOOD[1]
) -> Callable[[socket.socket, str], None]:
    """A device that answers any script with this; ``@R`` stands for the run's mark."""

    def run(sock: socket.socket, command: str) -> None:
        name = re.search(r"RUN=(\w+)\n", command)
        assert name is not None
        mark = f"@{name[1]}".encode()
        sock.sendall(
            packet(1, out.replace(b"@R", mark))
            + packet(2, err.encode().replace(b"@R", mark))
            + packet(3, bytes([code]))
        )

    return run


def read(
    out: bytes,
    err: str = GOOD[0],
    code: int = GOOD[1],
    *,
    module: str | None = None,
    uid: int = 0,
) -> tuple[ArchiveHeader, bytes, ReadReport]:
    with device_that(answering(out, err, code)) as device:
        path = None if module is None else PurePosixPath(module)
        device.su = Su(SuCommand(), SuDialect.DASH_C)  # what su reads comes through the shell
        with ArchiveStream(device, replace(TOLD, uid=uid), module=path) as stream:
            header = stream.open()
            data = b"".join(stream.chunks())
            return header, data, stream.finish()


def test_a_good_read() -> None:
    header, data, report = read(f"@R reading 5 - {SYSFS}\n".encode() + b"01\n34")
    assert header == ArchiveHeader(5, None, SYSFS)
    assert data == b"01\n34"
    assert report == ReadReport(HeaderSource(SourceKind.SYSFS, SYSFS), BOOT, ())


def test_a_header_and_data_in_single_bytes() -> None:
    whole = f"@R reading 5 - {SYSFS}\n".encode() + b"01234"

    def run(sock: socket.socket, command: str) -> None:
        name = re.search(r"RUN=(\w+)\n", command)
        assert name is not None
        mark = f"@{name[1]}".encode()
        for byte in whole.replace(b"@R", mark):
            sock.sendall(packet(1, bytes([byte])))
        sock.sendall(packet(2, GOOD[0].encode().replace(b"@R", mark)) + packet(3, b"\0"))

    with device_that(run) as device:
        device.su = Su(SuCommand(), SuDialect.DASH_C)
        with ArchiveStream(device, TOLD) as stream:
            stream.open()
            assert b"".join(stream.chunks()) == b"01234"


def test_an_archive_that_the_host_knows_is_not_sent() -> None:
    header, data, _ = read(f"@R reading 5 {'ab' * 32} {SYSFS}\n".encode())
    assert header.sha256 == "ab" * 32
    assert data == b""


def test_a_device_that_cannot_tell_the_size() -> None:
    header, data, _ = read(f"@R reading 0 - {SYSFS}\n".encode() + b"0123")
    assert (header.size_bytes, data) == (0, b"0123")


@pytest.mark.parametrize(
    "line",
    [
        "Welcome to my phone",
        "",
        "@R reading",
        "@R reading x - /sys",
        "@R reading -1 - /sys",
        "@R reading ٣ - /sys",
        f"@R reading {'9' * 5000} - /sys",
        "@other reading 5 - /sys",
        "@R writing 5 - /sys",
        "x" * 5000,
    ],
)
def test_a_header_that_is_none(line: str) -> None:
    with pytest.raises(TransferError, match="instead of announcing the archive") as caught:
        read(line.encode() + b"\n")
    assert type(caught.value) is TransferError
    assert len(caught.value.seen) < 1000
    assert "login script" in (caught.value.hint or "")


HEADER = f"@R reading 5 - {SYSFS}\n".encode()


@pytest.mark.parametrize(
    ("out", "err", "code", "error", "words"),
    [
        (HEADER + b"0123", GOOD[0], 0, TransferError, "has 5 bytes, 4 came"),
        (HEADER + b"012345", GOOD[0], 0, TransferError, "has 5 bytes, 6 came"),
        (
            HEADER + b"012",
            f"cat: {SYSFS}: No such device\n@R read 1\n@R boot {BOOT}\n@R end\n",
            0,
            TransferError,
            f"broke off after 3 bytes (the device said: cat: {SYSFS}: No such device)",
        ),
        (HEADER + b"01234", f"@R read 0\n@R boot {BOOT}\n", 0, TransferError, "broke off"),
        (HEADER + b"01234", GOOD[0], 137, TransferError, "broke off"),
        (
            HEADER + b"01234",
            "@R read 0\n@R boot 00000000-0000-4000-8000-000000000000\n@R end\n",
            0,
            DeviceChangedError,
            "the device rebooted between the probe and the read",
        ),
        (HEADER + b"01234", "@R read 0\n@R end\n", 0, DeviceChangedError, "rebooted"),
        (b"", "@R absent\n@R end\n", 0, ArchiveGoneError, "its module was unloaded"),
        (b"", "@R loaded\n@R absent\n", 0, NoHeadersError, "no archive appeared"),
        (b"", "@R short 100 4000\n", 0, NoWorkFolderError, "100 of 4000 bytes"),
        (b"", "@R short\n", 0, NoWorkFolderError, "there is no room"),
        (b"", "sh: can't create\n", 0, NoWorkFolderError, "the device said: sh: can't create"),
        (b"", "", 0, NoWorkFolderError, "could not even begin"),
        (b"", "@R nomark no space\n@R end\n", 0, NoWorkFolderError, "was not loaded"),
        (b"", "@R elsewhere another\n@R end\n", 0, DeviceChangedError, "another one answered"),
        (b"", GOOD[0], 0, TransferError, "announced no archive"),
        (b"", "@R refused\n", 0, ModuleRefusedError, "the kernel refused the module"),
        (
            b"",
            "@R before [ 0.9] old\n@R refused 1\n@R log [ 0.9] old\n@R log [ 1.0] why\n",
            0,
            ModuleRefusedError,
            "said: why",
        ),
        (b"", "@R refused 1\n@R text File exists\n", 0, ModuleRefusedError, "File exists"),
    ],
)
def test_reads_that_went_wrong(
    out: bytes, err: str, code: int, error: type[KheadersError], words: str
) -> None:
    with pytest.raises(KheadersError) as caught:
        read(out, err, code)
    assert type(caught.value) is error
    assert words in caught.value.seen
    assert caught.value.device == "X1"
    assert caught.value.step


@pytest.mark.parametrize(
    ("uid", "words"), [(2000, "may be read by root only"), (0, "may not be read, not even by root")]
)
def test_an_archive_that_may_not_be_read(uid: int, words: str) -> None:
    with pytest.raises(PrivilegeError, match=words) as caught:
        read(
            HEADER,
            f"cat: {SYSFS}: Permission denied\n@R read 1\n@R boot {BOOT}\n@R end\n",
            uid=uid,
        )
    assert ("rooted device" in (caught.value.hint or "")) is (uid != 0)


def test_what_the_device_says_cannot_act_on_a_terminal() -> None:
    with pytest.raises(TransferError) as caught:
        read(HEADER, "cat: \x1b]0;owned\x07\n@R read 1\n@R end\n")
    assert "\\x1b]0;owned\\x07" in caught.value.seen
    assert str(caught.value).isprintable()


def test_a_read_may_end_without_the_archive() -> None:
    with device_that(answering(HEADER)) as device:
        device.su = Su(SuCommand(), SuDialect.DASH_C)
        with ArchiveStream(device, TOLD) as stream:
            stream.open()
            assert stream.finish().boot_id == BOOT


def test_what_could_not_be_put_back_is_told_with_the_error() -> None:
    """A load that failed on the way is followed by a look whether the device cleaned up."""

    def run(sock: socket.socket, command: str) -> None:
        if name_line("read") in command:
            sock.close()
        else:
            answering(b"", "@R stuck rmmod: busy\x1b[m\n@R kept\n@R end\n")(sock, command)

    with device_that(run) as device, pytest.raises(TransferError) as caught:  # noqa: SIM117
        with ArchiveStream(device, TOLD, module=PurePosixPath("/vendor/kheaders.ko")) as stream:
            stream.open()
    assert caught.value.__notes__ == [
        "kheaders could not be unloaded: rmmod: busy\\x1b[m\n"
        "kheaders stays loaded for another run that is reading it"
    ]


def test_a_sweep_never_raises() -> None:
    with device_that(lambda sock, _: sock.close()) as device:
        (said,) = sweep(device, WORK)
    assert said.startswith("could not see whether the device cleaned up after itself (")
