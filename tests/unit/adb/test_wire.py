"""One connection: exact reads and writes, and one deadline for all of them."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.wire import ServerRefusedError, ServiceFailedError, Wire
from kheaders_adb.errors import AdbServerError, DeadlineError, KheadersError, TransferError
from kheaders_adb.untrusted.text import one_line
from tests.unit.device.helpers import generated
from tests.unit.device.peer import SERIAL, STEP, conversation, exactly, read_all, says


def has_context(error: KheadersError) -> bool:
    return (error.device, error.step) == (SERIAL, STEP)


def test_short_reads_are_put_together() -> None:
    parts = [bytes([number]) for number in range(10)]
    with conversation(says(*parts)) as wire:
        assert wire.read_exact(7) == bytes(range(7))
        assert wire.read_some() in (bytes(range(7, end)) for end in (8, 9, 10))


def test_what_was_read_too_far_is_kept() -> None:
    with conversation(says(b"0123456789")) as wire:
        assert [wire.read_exact(1), wire.read_exact(3), wire.read_some(2)] == [b"0", b"123", b"45"]
        assert wire.read_exact(4) == b"6789"
        assert wire.read_some() == b""


def test_the_end_of_the_stream_inside_a_read() -> None:
    with (
        conversation(says(b"012")) as wire,
        pytest.raises(TransferError, match="ended after 3 of 5 bytes") as caught,
    ):
        wire.read_exact(5)
    assert type(caught.value) is TransferError
    assert has_context(caught.value)


def test_a_peer_that_falls_silent_is_late() -> None:
    over = threading.Event()
    with conversation(says(b"01", until=over), idle_s=0.05) as wire:
        with pytest.raises(
            DeadlineError, match=r"^X1: talking: the device sent nothing more for 0.05 s"
        ):
            wire.read_exact(3)
        over.set()


def test_a_peer_that_trickles_is_late_though_no_single_wait_is() -> None:
    """adbutils' timeouts never end this."""
    over = threading.Event()

    def trickle(sock: socket.socket) -> None:
        while not over.wait(0.02):
            sock.sendall(b"x")

    with conversation(trickle, timeout_s=0.3, idle_s=5) as wire:
        with pytest.raises(DeadlineError, match="the time is over") as caught:
            wire.read_exact(1 << 20)
        over.set()
    assert has_context(caught.value)


def test_a_peer_that_takes_nothing_is_late() -> None:
    over = threading.Event()
    with conversation(says(until=over), idle_s=0.05) as wire:
        with pytest.raises(DeadlineError, match=r"stopped taking data for 0.05 s"):
            wire.write(bytes(64 << 20))
        over.set()


def test_everything_is_written() -> None:
    data = bytes(range(256)) * 8192
    received = []
    with conversation(lambda sock: received.append(read_all(sock)), idle_s=5) as wire:
        wire.write(memoryview(data))
    assert received == [data]


def test_writing_to_a_peer_that_hung_up() -> None:
    with conversation(says()) as wire:
        with pytest.raises(TransferError, match="the connection broke: ") as caught:
            wire.write(bytes(64 << 20))
        assert isinstance(caught.value.__cause__, OSError)
    assert has_context(caught.value)


def test_a_request_is_framed_in_bytes_not_characters() -> None:
    received = []

    def serve(sock: socket.socket) -> None:
        received.append(exactly(sock, 4 + 13))
        sock.sendall(b"OKAY")

    with conversation(serve) as wire:
        wire.request("shell:schöö")
    assert received == [b"000dshell:sch\xc3\xb6\xc3\xb6"]


def answers(answer: bytes, service: str = "host:x") -> Callable[[socket.socket], None]:
    def serve(sock: socket.socket) -> None:
        exactly(sock, 4 + len(service))
        sock.sendall(answer)

    return serve


def test_fail_carries_the_servers_text_on_one_line() -> None:
    text = b"device unauthorized.\nThis \x1b[31madb server's \xff"
    with (
        conversation(answers(b"FAIL%04x" % len(text) + text)) as wire,
        pytest.raises(ServiceFailedError) as caught,
    ):
        wire.request("host:x")
    assert caught.value.seen == "device unauthorized. This \\x1b[31madb server's �"
    assert has_context(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request",
        b"SSH-2.0-OpenSSH",
        b"okay",
        b"FAILxyz!",
        b"FAIL-001",
        b"FAILffff",
    ],
)
def test_a_peer_that_is_no_adb_server(answer: bytes) -> None:
    with conversation(answers(answer)) as wire, pytest.raises(AdbServerError) as caught:
        wire.request("host:x")
    assert "adb server" in (caught.value.hint or "")
    assert has_context(caught.value)


@pytest.mark.parametrize("cut", range(12))
def test_a_cut_anywhere_in_an_answer_is_a_lost_transfer(cut: int) -> None:
    whole = b"FAIL0004oops"
    with conversation(answers(whole[:cut])) as wire, pytest.raises(TransferError) as caught:
        wire.request("host:x")
    assert type(caught.value) is TransferError


def test_blocks_are_bounded() -> None:
    with conversation(says(b"0003abc0000", b"0004abcd")) as wire:
        assert wire.read_block(3) == b"abc"
        assert wire.read_block(3) == b""
        with pytest.raises(AdbServerError, match="announced a block of b'0004' bytes"):
            wire.read_block(3)


@pytest.mark.parametrize("head", [b"-001", b" 1 2", b"0x1z", b"wxyz", b"\xff\xff\xff\xff"])
def test_lengths_that_are_none(head: bytes) -> None:
    with conversation(says(head + b"a")) as wire, pytest.raises(AdbServerError):
        wire.read_block(0xFFFF)


def test_nothing_listens(tmp_path: Path) -> None:
    deadline = Deadline.after(10)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, but not listening: the port is taken and refuses
        tcp = ServerAddress("127.0.0.1", reserved.getsockname()[1])
        for address in (tcp, ServerAddress("", 0, str(tmp_path / "none"))):
            with pytest.raises(ServerRefusedError, match="nothing listens at ") as caught:
                Wire.connect(address, deadline, device=None, step=STEP)
            assert str(address) in caught.value.seen
            assert caught.value.hint


def test_a_server_that_accepts_nobody() -> None:
    """As one that hangs: its queue is full, and the kernel answers no more."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        with pytest.raises(DeadlineError, match="did not accept a connection in time") as caught:
            Wire.connect(ServerAddress(*address), Deadline.after(0.2), device=None, step=STEP)
        for sock in waiting:
            sock.close()
    assert "every adb session" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "address",
    [ServerAddress("a..b"), ServerAddress("x" * 80), ServerAddress("", 0, "/" + "x" * 200)],
    ids=["no DNS name", "label too long", "path too long"],
)
def test_addresses_that_cannot_be(address: ServerAddress) -> None:
    with pytest.raises(AdbServerError, match="cannot reach the adb server at ") as caught:
        Wire.connect(address, Deadline.after(10), device=None, step=STEP)
    assert caught.value.__cause__ is not None


def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "adb"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with Wire.connect(
            ServerAddress("", 0, str(path)), Deadline.after(10), device=None, step=STEP
        ) as wire:
            theirs, _ = listener.accept()
            with theirs:
                wire.write(b"hello")
                assert exactly(theirs, 5) == b"hello"


def test_closing_twice_is_harmless() -> None:
    with conversation(says()) as wire:
        wire.close()
        wire.close()


@generated()
@given(st.text())
def test_printable_text_obeys_nothing(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert one_line(shown) == shown.strip()


def test_printable_text_is_kept() -> None:
    assert one_line(" a\t b\r\nc ") == "a b c"
    assert one_line("größe 日本 \x1b]0;x\x07") == "größe 日本 \\x1b]0;x\\x07"


def test_a_deadline_only_ever_comes_closer() -> None:
    deadline = Deadline.after(100, idle_s=7)
    assert deadline.sooner(1000) == deadline
    nearer = deadline.sooner(10)
    assert nearer.at_s < deadline.at_s
    assert nearer.idle_s == 7
    assert nearer.wait_s == 7
    assert deadline.sooner(3).wait_s <= 3
    over = Deadline(time.monotonic() - 1, 5)
    assert over.expired
    assert (over.remaining_s, over.wait_s) == (0, 0)


@pytest.mark.parametrize(
    ("size_bytes", "closes"),
    [*[(size, True) for size in (0, 1, 0xFFFF, 0x10000, 0x1012F, 0x40A00)], (0x1012F, False)],
)
def test_all_of_a_list_comes(size_bytes: int, closes: bool) -> None:
    listing = (b"0a list of devices\n" * (size_bytes // 19 + 1))[:size_bytes]
    over = threading.Event()
    with conversation(
        says(b"%04x" % size_bytes, listing, until=None if closes else over), timeout_s=20
    ) as wire:
        assert wire.read_listing(0xFFFFF) == listing
        over.set()


@pytest.mark.parametrize(
    ("head", "body"),
    [(b"0004", b"list and more"), (b"1012", b"f" + b"x" * 0x1012E + b"more")],
)
def test_a_length_that_is_not_that_of_what_comes(head: bytes, body: bytes) -> None:
    with conversation(says(head, body)) as wire, pytest.raises(AdbServerError) as caught:
        wire.read_listing(0xFFFFF)
    assert has_context(caught.value)


def test_a_list_that_breaks_off() -> None:
    with (
        conversation(says(b"1012", b"f" + b"x" * 0x10000)) as wire,
        pytest.raises(TransferError, match="ended after"),
    ):
        wire.read_listing(0xFFFFF)


def test_a_list_above_the_limit() -> None:
    with (
        conversation(says(b"1012", b"f" + b"x" * 0x1012F)) as wire,
        pytest.raises(AdbServerError, match="announced a block of b'1012f' bytes"),
    ):
        wire.read_listing(0xFFFF)


def test_an_exchange_is_logged_in_short_once_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    asked = "shell,v2,raw:# \x1b[2J\n" + 1000 * "x"
    with (
        caplog.at_level(logging.DEBUG, "kheaders_adb"),
        conversation(answers(b"OKAYabc", asked)) as wire,
    ):
        wire.request(asked)
        assert wire.read_exact(3) == b"abc"
        assert caplog.records == []
        wire.close()
        wire.close()
    (record,) = caplog.records
    text = record.getMessage()
    assert text.startswith(f"{SERIAL}: shell,v2,raw:# \\x1b[2J xxx")
    assert f"…: OKAY, {4 + len(asked)} bytes sent, 7 received, " in text
    assert len(text) < 250
    fields = vars(record)
    assert (fields["serial"], fields["status"]) == (SERIAL, "OKAY")
    assert (fields["sent_bytes"], fields["received_bytes"]) == (4 + len(asked), 7)
    assert fields["duration_s"] > 0


@pytest.mark.parametrize(
    ("reply", "said"), [(b"FAIL0004\x1bno!", "FAIL \\x1bno!"), (b"OK", "no reply")]
)
def test_a_request_that_fails_is_logged_with_its_reply(
    caplog: pytest.LogCaptureFixture, reply: bytes, said: str
) -> None:
    with (
        caplog.at_level(logging.DEBUG, "kheaders_adb"),
        conversation(answers(reply)) as wire,
        pytest.raises(TransferError),
    ):
        wire.request("host:x")
    assert f"host:x: {said}, 10 bytes sent" in caplog.text


def test_a_list_that_comes_slowly_is_no_short_one() -> None:
    listing = b"0a list of devices\n" * 5000
    head = b"%04x" % len(listing)

    def run(sock: socket.socket) -> None:
        sock.sendall(head + listing[:4096])
        time.sleep(0.1)
        sock.sendall(listing[4096:6000])
        time.sleep(0.6)
        sock.sendall(listing[6000:])

    with conversation(run) as wire:
        assert wire.read_listing(0xFFFFF) == listing


def test_a_list_whose_connection_breaks_is_no_short_one() -> None:
    def run(sock: socket.socket) -> None:
        sock.sendall(b"1012f" + b"x" * 0x1011)
        time.sleep(0.2)  # what is not read by us makes our end a reset

    with conversation(run) as wire:
        wire.write(b"a request")
        with pytest.raises(TransferError, match="Connection reset by peer"):
            wire.read_listing(0xFFFFF)
