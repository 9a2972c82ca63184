"""Who listens to the library's log while a command runs: ``-v``, ``-vv`` and ``--log-json``."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import typer

from kheaders_adb._version import __version__
from kheaders_adb.cli.console import PROGRAM, SCHEMA, Console, error_to_json, to_ascii_json
from kheaders_adb.cli.groups import Output
from kheaders_adb.cli.process import exit_code_of
from kheaders_adb.errors import KheadersError, StoreError, UsageError
from kheaders_adb.untrusted import host_file

_LIBRARY = "kheaders_adb"
_STEP = "opening the log"
_COMMANDS = f"{_LIBRARY}.cli"
_EVERY_RECORDS = {*vars(logging.makeLogRecord({})), "message"}


@contextlib.contextmanager
def listening(output: Output, console: Console) -> Iterator[None]:
    """Tell of steps, and of exchanges, while in the block, as the user wants.

    Raises:
        UsageError: the file named is none to be written.
        StoreError: it cannot be opened.
    """
    handlers: list[logging.Handler] = []
    if output.log_json is not None:
        handlers.append(_JsonLines(output.log_json, console))
    if output.verbose:
        handlers.append(_Lines(console, logging.INFO if output.verbose == 1 else logging.DEBUG))
    library = logging.getLogger(_LIBRARY)
    before = library.level
    library.setLevel(min(handler.level or logging.DEBUG for handler in handlers))
    for handler in handlers:
        library.addHandler(handler)
    try:
        with _told():
            yield
    finally:
        library.setLevel(before)
        for handler in handlers:
            library.removeHandler(handler)
            handler.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Log how the program begins and ends; on stderr that is told anyway."""
    log = logging.getLogger(_COMMANDS)
    began_s = time.monotonic()

    def ended(exit_code: int, text: str, **fields: object) -> None:
        fields |= {"exit_code": exit_code, "duration_s": round(time.monotonic() - began_s, 6)}
        level = logging.ERROR if exit_code else logging.INFO
        log.log(level, "%s", text, extra={"event": "ended", **fields})

    log.info("%s %s", PROGRAM, __version__, extra={"event": "begun", "version": __version__})
    try:
        yield
    except typer.Exit as done:
        ended(done.exit_code, f"exit code {done.exit_code}" if done.exit_code else "done")
        raise
    except KheadersError as error:
        ended(exit_code_of(error), str(error), error=error_to_json(error))
        raise
    except BaseException as error:
        text = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else "interrupted"
        ended(exit_code_of(error), text)
        raise


class _Lines(logging.Handler):
    """Each record as a line on stderr."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != _COMMANDS:
            # Where nobody reads any more, that ends the program at its own words, not amid a conversation.
            with contextlib.suppress(BrokenPipeError):
                self._console.say(f"{PROGRAM}: {record.getMessage()}")


class _JsonLines(logging.Handler):
    """Each record as one JSON object on a line of a file."""

    def __init__(self, path: Path, console: Console) -> None:
        super().__init__(logging.DEBUG)
        self._path, self._console = path, console
        self._file: FileIO | None = _opened(path)

    def emit(self, record: logging.LogRecord) -> None:
        if self._file is None:
            return
        seconds, fraction = divmod(record.created, 1)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        fields: dict[str, Any] = {
            "schema": SCHEMA,
            "time": f"{moment}.{int(fraction * 1000):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {key: value for key, value in vars(record).items() if key not in _EVERY_RECORDS}
        line = memoryview(f"{to_ascii_json(fields)}\n".encode("ascii"))
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except OSError as error:
            self.close()
            self._console.warn(
                f"--log-json: {self._path} is not written any more: {error.strerror or error}"
            )

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
        super().close()


def _opened(path: Path) -> FileIO:
    if str(path) == "-":
        raise UsageError(
            "--log-json: - would be stdout, which is for the command's result",
            hint="name a file",
        )
    kind = host_file.kind_of(path, step=_STEP)
    if kind in (host_file.Kind.PIPE, host_file.Kind.SOCKET):
        raise UsageError(
            f"--log-json: {path} is {kind.value}, at which the program might wait for ever",
            step=_STEP,
            hint="name a file",
        )
    try:
        file = FileIO(path, "w", opener=_open_without_waiting)
        os.set_blocking(file.fileno(), True)
        return file
    except OSError as error:
        raise StoreError(
            f"--log-json: {path} cannot be written: {error.strerror or error}",
            hint="name a file in a folder that is there and that you may write to",
        ) from error


def _open_without_waiting(path: str, flags: int) -> int:
    # It may have become a pipe meanwhile.
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
