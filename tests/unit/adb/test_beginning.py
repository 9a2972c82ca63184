"""Where a command's output begins: behind the mark, however it is cut, and whatever stands before it."""

from __future__ import annotations

import pytest

from kheaders_adb.adb.beginning import BegunStream, beginning_with
from kheaders_adb.adb.shell import ShellResult, ShellStream, collect
from kheaders_adb.errors import TransferError
from tests.unit.device.peer import conversation, packet, says

MARK = "@0123456789ab"
LINE = f"{MARK}\n".encode()
END = packet(2, b"oops") + packet(3, b"\7")


def collected(*parts: bytes) -> ShellResult:
    with conversation(says(*(packet(1, part) for part in parts), END)) as wire:
        return collect(BegunStream(ShellStream(wire), MARK), limit_bytes=1000)


@pytest.mark.parametrize("noise", [b"", b"Welcome!\n", b"login: ", LINE[:-1], b"@01\n" + LINE[:5]])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_what_comes_before_the_mark_is_none_of_the_output(noise: bytes, end: bytes) -> None:
    output = b"one\n" + LINE + b"\r\ntwo"
    sent = noise + MARK.encode() + end + output
    for parts in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        assert collected(*parts) == ShellResult(output, b"oops", 7)


def test_a_command_that_did_not_begin_has_no_output() -> None:
    assert collected(b"TinaLinux", b" login: ") == ShellResult(b"", b"TinaLinux login: oops", 7)
    assert collected() == ShellResult(b"", b"oops", 7)


def test_a_script_still_begins_with_its_name() -> None:
    assert beginning_with(MARK, "# kheaders-adb x\nid\n") == f"# kheaders-adb x\necho {MARK}\nid\n"
    assert beginning_with(MARK, "id") == f"echo {MARK}\nid"


@pytest.mark.parametrize("chunk_bytes", [1000, 1 << 20])
def test_too_much_before_the_mark_is_too_much_however_it_comes(chunk_bytes: int) -> None:
    sent = b"x" * 70_000 + LINE + b"output"
    parts = [sent[at : at + chunk_bytes] for at in range(0, len(sent), chunk_bytes)]
    with pytest.raises(TransferError, match="says too much before the command's output"):
        collected(*parts)
