"""Starting an adb server where that is safe."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import adbutils
import pytest

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.adb.start import adb_binary
from kheaders_adb.adb.wire import ServerRefusedError
from kheaders_adb.errors import AdbServerError, DeadlineError

# An adb that listens where it is told, answers one request as a server of version 41 and ends.
LISTENS = """\
import os, socket, sys
assert sys.argv[1] == "-L" and sys.argv[3:] == ["server", "nodaemon"], sys.argv
def is_open(fd):
    try:
        return bool(os.fstat(fd))
    except OSError:
        return False
fds = ",".join(str(fd) for fd in range(100) if is_open(fd))
with open(os.environ["STARTED"], "a") as log:
    log.write(f"{os.getpid()} {sys.argv[2]} {os.getsid(0) == os.getpid()} {fds}\\n")
print("listening", flush=True)
_, host, port = sys.argv[2].split(":")
with socket.create_server((host.replace("localhost", "127.0.0.1"), int(port))) as listener:
    listener.settimeout(30)
    connection, _ = listener.accept()
    with connection:
        connection.recv(100)
        connection.sendall(b"OKAY00040029")
        connection.recv(1)
"""
ENDS = "import sys; sys.stderr.write('cannot bind\\n\\x1b[31mreally\\n'); sys.exit(1)\n"


@pytest.fixture
def port() -> int:
    """A port of this machine at which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Put this program in the place of adb; gives the file in which it notes that it was started."""
    started = tmp_path / "started"
    monkeypatch.setenv("STARTED", str(started))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def install(program: str) -> Path:
        binary = tmp_path / "adb"
        binary.write_text(f"#!{sys.executable}\n{program}")
        binary.chmod(0o755)
        monkeypatch.setenv("ADBUTILS_ADB_PATH", str(binary))
        return started

    yield install
    if started.exists():
        for line in started.read_text().splitlines():
            pid = int(line.split()[0])
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def test_a_server_is_started_where_it_is_looked_for(adb: Callable[[str], Path], port: int) -> None:
    started = adb(LISTENS)
    server = AdbServer(ServerAddress("127.0.0.1", port))
    assert server.version(Deadline.after(30)) == 41
    ((_, address, own_session, _),) = [line.split() for line in started.read_text().splitlines()]
    assert address == f"tcp:127.0.0.1:{port}"
    assert own_session == "True", "Ctrl-C in the user's shell must not end it"


def test_a_server_that_ends_at_once_is_quoted(adb: Callable[[str], Path], port: int) -> None:
    adb(ENDS)
    with pytest.raises(AdbServerError, match="ended at once: cannot bind") as caught:
        AdbServer(ServerAddress("localhost", port)).version(Deadline.after(30))
    assert "\\x1b[31mreally" in caught.value.seen
    assert f"-L tcp:localhost:{port} server nodaemon" in (caught.value.hint or "")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("case", ["not wanted", "a socket", "another machine"])
def test_no_server_is_started_elsewhere(
    adb: Callable[[str], Path], port: int, tmp_path: Path, case: str
) -> None:
    """Least of all for an address that is not this machine's: the protocol knows no passwords."""
    started = adb(LISTENS)
    server = {
        "not wanted": AdbServer(ServerAddress("127.0.0.1", port), start=False),
        "a socket": AdbServer(ServerAddress("", 0, str(tmp_path / "none"))),
        # 0.0.0.0 is this machine when one connects to it, but to listen there is to listen to all.
        "another machine": AdbServer(ServerAddress("0.0.0.0", port)),
    }[case]
    with pytest.raises(ServerRefusedError):
        server.version(Deadline.after(30))
    assert not started.exists()


def test_the_binary_is_the_one_that_the_user_names(
    adb: Callable[[str], Path], tmp_path: Path
) -> None:
    adb(LISTENS)
    assert adb_binary(Deadline.after(30)) == tmp_path / "adb"


def log_of(folder: Path) -> Path:
    return folder / f"adb.{os.getuid()}.log"


def test_a_server_holds_nothing_of_ours(
    adb: Callable[[str], Path], port: int, tmp_path: Path
) -> None:
    """As in `x=$(kheaders-adb pull)` and `flock 9; kheaders-adb pull`: it lives for days."""
    started = adb(LISTENS)
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    assert AdbServer(ServerAddress("127.0.0.1", port)).version(Deadline.after(30)) == 41
    os.close(writing)
    assert select.select([reading], [], [], 30)[0]
    assert os.read(reading, 1) == b"", "nobody has the other end"
    os.close(reading)
    assert started.read_text().split()[3] == "0,1,2"


def test_a_server_writes_into_the_log_that_adb_has_for_it(
    adb: Callable[[str], Path], port: int, tmp_path: Path
) -> None:
    adb(LISTENS)
    log_of(tmp_path).write_text("of yesterday\n")
    AdbServer(ServerAddress("127.0.0.1", port)).version(Deadline.after(30))
    assert log_of(tmp_path).read_text() == "of yesterday\nlistening\n"


def test_only_what_this_server_said_is_quoted(
    adb: Callable[[str], Path], port: int, tmp_path: Path
) -> None:
    adb(ENDS)
    log_of(tmp_path).write_text("of yesterday\n")
    with pytest.raises(AdbServerError, match="ended at once: cannot bind"):
        AdbServer(ServerAddress("localhost", port)).version(Deadline.after(30))


@pytest.mark.parametrize("kind", ["a link", "a second name", "a FIFO", "a folder"])
def test_a_log_that_somebody_else_has_laid_out_is_not_written(
    adb: Callable[[str], Path], port: int, tmp_path: Path, kind: str
) -> None:
    adb(LISTENS)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    match kind:
        case "a link":
            log_of(tmp_path).symlink_to(victim)
        case "a second name":
            log_of(tmp_path).hardlink_to(victim)
        case "a FIFO":
            os.mkfifo(log_of(tmp_path))
        case _:
            log_of(tmp_path).mkdir()
    assert AdbServer(ServerAddress("127.0.0.1", port)).version(Deadline.after(30)) == 41
    assert victim.read_text() == "precious"


def test_an_adb_that_cannot_be_run(adb: Callable[[str], Path], port: int, tmp_path: Path) -> None:
    adb(ENDS)
    (tmp_path / "adb").write_text("#!/no/such/interpreter\n")
    with pytest.raises(AdbServerError, match="cannot be run: No such file or directory"):
        AdbServer(ServerAddress("localhost", port)).version(Deadline.after(30))


def test_a_server_that_does_not_listen(adb: Callable[[str], Path], port: int) -> None:
    adb(
        "import os, time\nopen(os.environ['STARTED'], 'a').write(f'{os.getpid()}\\n')\n"
        "print('still thinking', flush=True)\ntime.sleep(60)\n"
    )
    with pytest.raises(DeadlineError, match="did not listen in time") as caught:
        AdbServer(ServerAddress("127.0.0.1", port)).version(Deadline.after(0.5))
    assert caught.value.step == "starting an adb server"


def test_a_host_without_adb(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    def none() -> str:
        raise adbutils.AdbError("No adb exe could be found")

    monkeypatch.setattr(adbutils, "adb_path", none)
    with pytest.raises(AdbServerError, match="no adb binary was found: ") as caught:
        AdbServer(ServerAddress("127.0.0.1", port)).version(Deadline.after(10))
    assert "install adb" in (caught.value.hint or "")
