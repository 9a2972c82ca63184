"""The shell protocol: output is complete only with an exit packet."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.adb.shell import ShellResult, ShellStream, collect
from kheaders_adb.errors import DeadlineError, TransferError
from tests.unit.device.helpers import generated
from tests.unit.device.peer import conversation, exactly, packet, read_all, says

OUT, ERR, EXIT = 1, 2, 3
RUN = packet(OUT, b"one\n") + packet(ERR, b"oops\n") + packet(OUT, b"two\n") + packet(EXIT, b"\7")


def collected(*parts: bytes, limit_bytes: int = 1 << 20) -> ShellResult:
    with conversation(says(*parts)) as wire:
        return collect(ShellStream(wire), limit_bytes=limit_bytes)


def test_stdout_stderr_and_exit_code_apart() -> None:
    assert collected(RUN) == ShellResult(b"one\ntwo\n", b"oops\n", 7)


def test_bytes_that_come_one_by_one() -> None:
    assert collected(*(RUN[at : at + 1] for at in range(len(RUN)))) == collected(RUN)


packets = st.lists(st.tuples(st.sampled_from([0, OUT, ERR, 4, 5, 77]), st.binary(max_size=40)))


@generated(60)
@given(packets, st.integers(0, 255), st.lists(st.integers(0, 2000), max_size=6))
def test_any_packets_in_any_pieces(
    sent: list[tuple[int, bytes]], code: int, cuts: list[int]
) -> None:
    """Kinds of packets that are for terminals are passed over, whatever the pieces they come in."""
    whole = b"".join(packet(kind, data) for kind, data in sent) + packet(EXIT, bytes([code]))
    result = collected(*_pieces(whole, cuts))
    assert result == ShellResult(
        b"".join(data for kind, data in sent if kind == OUT),
        b"".join(data for kind, data in sent if kind == ERR),
        code,
    )


def _pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("cut", range(len(RUN)))
def test_a_stream_cut_anywhere_is_lost(cut: int) -> None:
    """Also between two packets, where the v1 protocol would have called it complete."""
    with pytest.raises(TransferError, match="the connection ended") as caught:
        collected(RUN[:cut])
    assert type(caught.value) is TransferError
    assert caught.value.device == "X1"


def test_a_large_packet_is_handed_on_before_it_is_complete() -> None:
    seen = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(struct.pack("<BI", OUT, 1000) + b"first")
        assert seen.wait(10)
        sock.sendall(bytes(995) + packet(EXIT, b"\0"))

    with conversation(serve) as wire:
        chunks = iter(stream := ShellStream(wire))
        assert next(chunks) == b"first"
        assert stream.exit_code is None
        seen.set()
        assert sum(map(len, chunks)) == 995
        assert stream.exit_code == 0


@pytest.mark.parametrize("kind", [OUT, ERR, EXIT, 99])
def test_a_packet_of_absurd_size(kind: int) -> None:
    with pytest.raises(TransferError, match="announced a shell packet of 4294967295 bytes"):
        collected(struct.pack("<BI", kind, 0xFFFFFFFF))


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\0"])
def test_an_exit_packet_without_a_code(data: bytes) -> None:
    with pytest.raises(TransferError, match="malformed exit packet"):
        collected(packet(EXIT, data))


def test_a_command_that_never_ends() -> None:
    over = threading.Event()
    with conversation(says(packet(OUT, b"x"), until=over), idle_s=0.05) as wire:
        with pytest.raises(DeadlineError):
            collect(ShellStream(wire), limit_bytes=100)
        over.set()


def test_too_much_output() -> None:
    assert collected(packet(OUT, bytes(100)), packet(EXIT, b"\0"), limit_bytes=100).exit_code == 0
    with pytest.raises(TransferError, match="wrote more than 99 bytes"):
        collected(packet(OUT, bytes(100)), packet(EXIT, b"\0"), limit_bytes=99)


def test_stderr_is_kept_in_bounds() -> None:
    noise = packet(ERR, b"x" * 200_000)
    result = collected(noise, noise, noise, packet(EXIT, b"\0"))
    assert result.stderr == b"x" * (256 * 1024)


def test_stdin_goes_out_in_packets_and_is_closed() -> None:
    data = bytes(range(256)) * 600  # more than two packets
    received: list[bytes] = []
    with conversation(lambda sock: received.append(read_all(sock))) as wire:
        stream = ShellStream(wire)
        stream.send_stdin(data)
        stream.close_stdin()
    (sent,) = received
    parts = []
    while sent:
        kind, size_bytes = struct.unpack("<BI", sent[:5])
        assert size_bytes <= 65536, "older adbd take no larger packets"
        parts.append((kind, sent[5 : 5 + size_bytes]))
        sent = sent[5 + size_bytes :]
    assert parts[-1] == (4, b"")
    assert {kind for kind, _ in parts[:-1]} == {0}
    assert b"".join(part for _, part in parts) == data


def test_closing_ends_the_conversation() -> None:
    ended = threading.Event()

    def serve(sock: socket.socket) -> None:
        exactly(sock, 1)
        assert sock.recv(1) == b""
        ended.set()

    with conversation(serve) as wire:
        wire.write(b"x")
        ShellStream(wire).close()
        assert ended.wait(10)
