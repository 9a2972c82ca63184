"""Output without the shell protocol: whole only with the last mark, whatever shell and terminal do."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from kheaders_adb.adb.beginning import new_mark
from kheaders_adb.adb.marked import ENCODERS, MarkedStream, RawStream, marked
from kheaders_adb.adb.shell import ShellResult, collect
from kheaders_adb.errors import TransferError
from tests.unit.device.peer import conversation, says

MARK = "@0123456789ab"
LIMIT_BYTES = 1 << 20
SHELLS = {"dash": ["dash"], "mksh": ["mksh"], "bash": ["bash"], "busybox": ["busybox", "sh"]}
SCRIPT = r"""# kheaders-adb name
printf 'it is \001\r\n%s' '@0123456789abc @'
case $- in *) echo "an error
of two lines" >&2 ;; esac
cat
exit 9
"""
RESULT = ShellResult(b"it is \1\r\n@0123456789abc @", b"an error\nof two lines", 9)


def collected(*parts: bytes, is_encoded: bool = False) -> ShellResult:
    with conversation(says(*parts)) as wire:
        return collect(
            MarkedStream(RawStream(wire), MARK, is_encoded=is_encoded), limit_bytes=LIMIT_BYTES
        )


def singly(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def on_terminal(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")


INSIDE = b"one\r\n\xff@0123456789abc\n" + b"@0123456789ab 7\noops\n@0123456789ab."
PLAIN = b"noise\n@0123456789ab\n" + INSIDE
ENCODED = b"noise\n@0123456789ab\n" + base64.encodebytes(INSIDE)
WANTED = ShellResult(b"one\r\n\xff@0123456789abc\n", b"oops", 7)


@pytest.mark.parametrize(
    ("sent", "is_encoded"),
    [
        (PLAIN, False),
        (ENCODED, True),
        (on_terminal(ENCODED), True),
        (on_terminal(on_terminal(ENCODED)), True),
    ],
)
def test_output_errors_and_exit_code_apart(sent: bytes, is_encoded: bool) -> None:
    for parts in ((sent,), tuple(singly(sent))):
        assert collected(*parts, is_encoded=is_encoded) == WANTED


def test_text_on_a_terminal() -> None:
    sent = on_terminal(b"@0123456789ab\none\n\ntwo\r@0123456789ab 0\n\n@0123456789ab.")
    for parts in ((sent,), tuple(singly(sent))):
        assert collected(*parts) == ShellResult(b"one\n\ntwo\r", b"", 0)


@pytest.mark.parametrize(("whole", "is_encoded"), [(PLAIN, False), (on_terminal(ENCODED), True)])
def test_a_stream_cut_anywhere_is_lost(whole: bytes, is_encoded: bool) -> None:
    # What a terminal adds behind the last character says nothing.
    for cut in range(len(whole.rstrip())):
        with pytest.raises(TransferError) as caught:
            collected(whole[:cut], is_encoded=is_encoded)
        assert caught.value.device == "X1"


@pytest.mark.parametrize(
    ("sent", "is_encoded", "seen"),
    [
        (b"su: not found\r\n", False, r"did not begin \(su: not found\)"),
        (bytes(100_000), False, "too much before"),
        (b"@0123456789ab\n@0123456789ab 0\n" + bytes(300_000), False, "too much behind"),
        (b"@0123456789ab\nsh: broken pipe\n", True, "was altered on its way"),
        (b"@0123456789ab\nQQ==\nQQ=\n=QQ==\n", True, "was altered on its way"),
        (b"@0123456789ab\n@0123456789ab x\n\n@0123456789ab.", False, "before the command's exit"),
    ],
)
def test_what_no_device_should_send(sent: bytes, is_encoded: bool, seen: str) -> None:
    with pytest.raises(TransferError, match=seen):
        collected(sent, is_encoded=is_encoded)


def test_output_is_handed_on_at_once() -> None:
    """The reader of a line answers it before the command goes on."""

    def parts() -> Iterator[bytes]:
        yield b"@0123456789ab\na line\n"
        raise AssertionError("nothing more was to be read for that")

    class Carrier(RawStream):
        def __iter__(self) -> Iterator[bytes]:
            return parts()

    with conversation(says()) as wire:
        assert next(iter(MarkedStream(Carrier(wire), MARK, is_encoded=False))) == b"a line\n"


def test_marks_differ() -> None:
    assert len({new_mark() for _ in range(100)}) == 100


@pytest.mark.parametrize("encoder", ["", "base64"])
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("shell", SHELLS)
def test_shells_say_where_the_output_ends(shell: str, held: bool, encoder: str) -> None:
    argv = SHELLS[shell]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    command = marked(SCRIPT, MARK, encoder=encoder, held=held)
    assert command.startswith("# kheaders-adb name\n")
    # Held until a line comes; what follows that is not for the command.
    done = subprocess.run(
        [*argv, "-c", command], input=b"\nmore", capture_output=True, timeout=60, check=False
    )
    assert done.stderr == b""
    assert collected(done.stdout, is_encoded=bool(encoder)) == RESULT


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders(encoder: str) -> None:
    argv = encoder.split()
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    done = subprocess.run(argv, input=INSIDE, capture_output=True, timeout=60, check=True)
    assert base64.b64decode(done.stdout) == INSIDE
