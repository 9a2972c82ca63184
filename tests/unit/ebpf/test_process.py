"""A process under limits: what it exceeds, and that it is dead then."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kheaders_adb.ebpf.process import Ended, Limits, finish, started

NEEDS_PRLIMIT = pytest.mark.skipif(
    not hasattr(resource, "prlimit"),
    reason="this system has no prlimit; only what is measured here holds",
)

PRLIMIT64 = {"x86_64": 302, "aarch64": 261}
"""The number of the system call, by machine."""


def run(code: str, given: bytes | None = None, **limits: float) -> Ended:
    """Run a text in Python."""
    under = Limits(**limits)  # type: ignore[arg-type]
    with started([sys.executable, "-c", code], under, fed=given is not None) as running:
        ended = finish(running, under, given=given or b"")
        assert running.process.returncode is not None
        with pytest.raises(ProcessLookupError):
            os.kill(running.process.pid, 0)
    return ended


def test_what_it_says_and_its_status() -> None:
    ended = run("import sys; print('code'); print('said', file=sys.stderr); sys.exit(3)")
    assert ended == Ended(3, b"code\n", b"said\n", None)


def test_more_input_and_output_than_pipes_hold_go_through() -> None:
    given = bytes(range(256)) * 20_000
    echo = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.write('x' * 500000)"
    ended = run(echo, given)
    assert ended.code == given
    assert ended.diagnostics == b"x" * 500_000


def test_input_that_nobody_reads_is_no_error() -> None:
    assert run("raise SystemExit(4)", b"x" * 1_000_000) == Ended(4, b"", b"", None)


def test_without_input_it_reads_none() -> None:
    assert run("import sys; print(len(sys.stdin.read()))").code == b"0\n"


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(100)",
        "import os, time; os.close(1); os.close(2); time.sleep(100)",
        "import sys\nwhile True: print('x' * 1000, file=sys.stderr)",
    ],
)
def test_time(code: str) -> None:
    ended = run(code, wall_s=0.3)
    assert ended.limit == "the limit of 0.3 s"
    assert ended.status != 0


def test_time_while_it_does_not_take_its_input() -> None:
    assert (
        run("import time; time.sleep(100)", b"x" * 1_000_000, wall_s=0.3).limit
        == "the limit of 0.3 s"
    )


def test_one_that_ignores_the_signal_is_killed() -> None:
    ended = run(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('on', flush=True)\n"
        "time.sleep(100)",
        wall_s=1,
    )
    assert ended.limit == "the limit of 1 s"


def test_messages_are_kept_from_both_ends_in_whole_lines() -> None:
    code = "import sys\nfor n in range(100000): print('line', n, file=sys.stderr)"
    ended = run(code, diagnostics_bytes=1000)
    assert ended.status == 0
    assert ended.limit is None
    lines = ended.diagnostics.decode().splitlines()
    assert lines[0] == "line 0"
    assert lines[-1] == "line 99999"
    note = next(line for line in lines if "left out" in line)
    whole = sum(len(f"line {n}\n") for n in range(100_000))
    kept = len(ended.diagnostics) - len(note) - 1
    assert note == f"({whole - kept} bytes of clang's messages are left out)"
    assert all(line.startswith("line ") for line in lines if line != note)
    assert kept <= 1000


@NEEDS_PRLIMIT
def test_processor_time() -> None:
    ended = run("while True: pass", cpu_s=1)
    assert ended.limit == "the limit of 1 s of processor time"


@NEEDS_PRLIMIT
def test_a_file(tmp_path: Path) -> None:
    # Python itself ignores the signal; clang does not.
    code = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        f"open({str(tmp_path / 'f')!r}, 'wb').write(bytes(2 << 20))"
    )
    assert run(code, file_bytes=1 << 20).limit == "the limit of 1 MiB for a file"
    code = code.splitlines()[0] + "\nwhile True: print('x' * 1000)"
    ended = run(code, file_bytes=1 << 20)
    assert ended.limit == "the limit of 1 MiB for a file"
    assert len(ended.code) == 1 << 20


@NEEDS_PRLIMIT
def test_memory_core_files_and_limits_that_are_lower_already() -> None:
    code = (
        "import resource as r, sys; sys.stdin.read()\n"
        "print([r.getrlimit(k) for k in (r.RLIMIT_AS, r.RLIMIT_CORE, r.RLIMIT_CPU)])"
    )
    # It is limited before it gets its input.
    ended = run(code, b"", memory_bytes=1 << 30, cpu_s=9)
    assert ended.code.decode().strip() == f"[({1 << 30}, {1 << 30}), (0, 0), (9, 14)]"
    said = run("import sys; sys.stderr.write('LLVM ERROR: out of memory'); sys.exit(134)")
    assert said.limit == "the limit of 4096 MiB of memory"
    lower = "import resource as r; r.setrlimit(r.RLIMIT_CPU, (5, 5))\n"
    inner = (
        "import sys; sys.path[:0] = " + repr(sys.path) + "\n"
        "from kheaders_adb.ebpf.process import *\n"
        "with started([sys.executable, '-c', 'import resource as r, sys; sys.stdin.read();"
        " print(r.getrlimit(r.RLIMIT_CPU))'], Limits(), fed=True) as p: print(finish(p, Limits()).code)"
    )
    assert run(lower + inner).code == b"b'(5, 5)\\n'\n"


@NEEDS_PRLIMIT
@pytest.mark.skipif(
    platform.machine() not in PRLIMIT64, reason="that system call has another number"
)
def test_a_system_that_lets_nothing_be_limited() -> None:
    """As a sandbox may: a filter of system calls (seccomp) refuses prlimit64."""
    code = f"""
import ctypes, struct, sys
sys.path[:0] = {sys.path!r}
from kheaders_adb.ebpf.process import Limits, started
from kheaders_adb.errors import CompileError

# Load the call's number; where it is this one, answer EPERM; else allow it.
number = {PRLIMIT64[platform.machine()]}
steps = (0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
header = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(program)))
libc = ctypes.CDLL(None)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) == 0
try:
    with started(["sleep", "100"], Limits()):
        pass
except CompileError as error:
    print(error.seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.stdout == (
        "this system does not let clang's memory and time be limited (prlimit)\n"
    ), done.stderr


def test_what_is_left_in_the_middle_is_dead() -> None:
    with pytest.raises(KeyboardInterrupt), started(["sleep", "100"], Limits()) as running:
        raise KeyboardInterrupt
    assert running.process.returncode is not None
