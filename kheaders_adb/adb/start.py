"""Starting an adb server.

This is the only module that imports adbutils, and only to find an adb binary when no server runs.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline, call_within
from kheaders_adb.adb.wire import ServerRefusedError, Wire
from kheaders_adb.errors import AdbServerError, DeadlineError
from kheaders_adb.untrusted.text import one_line

_TIMEOUT_S = 15.0
_STEP = "starting an adb server"


def adb_binary(deadline: Deadline) -> Path:
    """The adb binary that would start a server: ``$ADBUTILS_ADB_PATH``, PATH, or the one adbutils bundles.

    Raises:
        AdbServerError: there is none.
        DeadlineError: one that was tried did not even say its version in time.
    """
    import adbutils  # costs about 0.2 s, so only where a server has to be started

    try:
        return Path(call_within(deadline, adbutils.adb_path))
    except TimeoutError as error:
        raise DeadlineError(
            "the adb that was found did not say its version in time",
            step=_STEP,
            hint="see by hand whether the adb on PATH answers; $ADBUTILS_ADB_PATH names another adb",
        ) from error
    except (RuntimeError, OSError, adbutils.AdbError) as error:
        raise AdbServerError(
            f"no adb binary was found: {error}",
            step=_STEP,
            hint="install adb (Debian: apt install adb) or start a server yourself",
        ) from error


def start_server(
    address: ServerAddress,
    deadline: Deadline,
    *,
    device: str | None,
    step: str,
    say: Callable[[str], None] | None = None,
) -> Wire:
    """Start a server at an address of this machine, and return a connection to it.

    Args:
        device, step: for messages.
        say: told, in a sentence, that it is started, as adb tells of its own.

    Raises:
        AdbServerError: there is no adb, it cannot be run, or it ended at once.
        DeadlineError: it did not listen in time.

    Guarantees:
        The server has no descriptor of ours but its log.
    """
    # Not `adb start-server`: a client that finds a server of another version at the port kills it, even
    # one that came up a moment ago.  A server started directly only fails to bind.
    deadline = deadline.sooner(_TIMEOUT_S)
    binary = adb_binary(deadline)
    if say is not None:
        say(f"no adb server listens at {address}; starting {binary} there")
    argv = [str(binary), "-L", str(address), "server", "nodaemon"]
    with _open_log() as log:
        before_bytes = os.fstat(log.fileno()).st_size
        server = _spawn(argv, log)
        try:
            while True:
                ended = server.poll() is not None
                try:
                    return Wire.connect(address, deadline, device=device, step=step)
                except (ServerRefusedError, DeadlineError) as refused:
                    if ended:
                        said = _read_from(log, before_bytes) or "it said nothing"
                        raise AdbServerError(
                            f"the adb server at {address} ended at once: {said}",
                            step=_STEP,
                            hint=f"try `{shlex.join(argv)}` by hand",
                        ) from refused
                    if deadline.expired:
                        said = _read_from(log, before_bytes)
                        raise DeadlineError(
                            f"the adb server started at {address} did not listen in time: {said}",
                            step=_STEP,
                        ) from refused
                time.sleep(0.02)
        finally:
            # It is to outlive this process; without this, Python would complain that it does.
            server.returncode = server.returncode or 0


def _spawn(argv: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A server that has nothing of ours but the log: neither our terminal nor any descriptor.

    A pipe or a lock that it inherited would be held for days: ``x=$(kheaders-adb path)`` would not end.
    """
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            close_fds=True,
            start_new_session=True,
            restore_signals=False,  # SIGPIPE stays ignored
        )
    except OSError as error:
        raise AdbServerError(
            f"{argv[0]} cannot be run: {error.strerror}",
            step=_STEP,
            hint="install adb (Debian: apt install adb) or start a server yourself",
        ) from error


def _open_log() -> IO[bytes]:
    """Where adb's own servers write to, so that it can be found, read and removed; else nowhere.

    As GetLogFilePath() in adb_utils.cpp has it.
    """
    path = Path(tempfile.gettempdir()) / f"adb.{os.getuid()}.log"
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        log = os.fdopen(os.open(path, flags, 0o640), "r+b", buffering=0)
    except OSError:
        return Path(os.devnull).open("r+b", buffering=0)
    about = os.fstat(log.fileno())
    if stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and about.st_nlink == 1:
        return log
    # Somebody else has put it into the folder that everybody may write to.
    log.close()
    return Path(os.devnull).open("r+b", buffering=0)


def _read_from(log: IO[bytes], offset_bytes: int) -> str:
    log.seek(offset_bytes)
    return one_line(log.read(4096).decode("utf-8", "replace"))
