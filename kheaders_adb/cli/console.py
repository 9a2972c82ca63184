"""Where output goes: results to stdout, everything else to stderr.

Whatever is said may hold words of a device, an archive or a file, which may want to act on the terminal.  All
of it is made harmless here, so that no command can forget it; only `Console.value` writes to the letter, for
programs.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from signal import Signals
from typing import IO, TYPE_CHECKING, Any, ClassVar, Protocol

from kheaders_adb.errors import KheadersError, MismatchError, StoreError, UsageError
from kheaders_adb.untrusted.text import harmless

if TYPE_CHECKING:
    from kheaders_adb.cli.status import StatusLine
    from kheaders_adb.steps import StepKind

PROGRAM = "kheaders-adb"
SCHEMA = 1
# Those of clang; others could hide what stands behind them.
_COLOURS = re.compile(r"(\x1b\[(?:[017]|(?:0;)?(?:1;)?3[0-7])?m)")
_RED, _YELLOW, _RESET = "\033[1;31m", "\033[1;33m", "\033[0m"


class Wanted(Protocol):
    """What the user asked for: one JSON object, and nothing but errors and warnings."""

    @property
    def json(self) -> bool:
        """Whether stdout gets one JSON object."""

    @property
    def quiet(self) -> bool:
        """Whether only errors and warnings are said."""


class OutputError(KheadersError):
    """Stdout could not be written; what the command did is done.

    Attributes:
        exit_code: as of the disk that it may be; where the reader has gone, as if by SIGPIPE.
    """

    READER_GONE: ClassVar[int] = 128 + 13

    def __init__(self, error: OSError) -> None:
        gone = error.errno == errno.EPIPE
        super().__init__(
            "whoever read stdout has gone before all was written"
            if gone
            else f"stdout cannot be written: {error.strerror or error}"
        )
        self.exit_code = self.READER_GONE if gone else StoreError.exit_code  # type: ignore[misc]


def let_go(stream: IO[str]) -> None:
    """Have what `stream` could not write forgotten, or Python would try again, and complain, at exit."""
    with contextlib.suppress(OSError, ValueError):
        void = os.open(os.devnull, os.O_WRONLY)
        os.dup2(void, stream.fileno())
        os.close(void)


class _Live:
    """The line about what goes on that stands on the terminal, if one does: who writes has to clear it."""

    line: StatusLine | None = None


class _Documents:
    """How many JSON objects this process has begun to write; a second one would be one too many."""

    begun = 0


@dataclass(frozen=True, slots=True)
class Console:
    """The two streams, and what the user and the terminal allow on them.

    Attributes:
        out, err: stdout and stderr.
        wanted: what the user asked for.
        colour: whether stderr may be coloured.
        live: whether stderr is a terminal that can show a line about what goes on.
        out_colour: whether stdout may be coloured.
        width: how many columns stdout has, if it is a terminal; None where nothing is to be folded.
    """

    out: IO[str]
    err: IO[str]
    wanted: Wanted
    colour: bool = False
    live: bool = False
    out_colour: bool = False
    width: int | None = None

    @classmethod
    def begin(cls, wanted: Wanted) -> Console:
        """As `standard`, for a command that begins: it has written no JSON object yet."""
        _Documents.begun = 0
        return cls.standard(wanted)

    @classmethod
    def standard(cls, wanted: Wanted, environ: Mapping[str, str] = os.environ) -> Console:
        """The process's own streams; ``NO_COLOR``, ``FORCE_COLOR``, ``TERM=dumb``, ``CI`` are respected."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Paths need not be text in the user's encoding, and no locale is a reason to fail.
            utf8 = sys.stdout.encoding.lower() == "utf-8"
            sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
        terminal, out_terminal = (
            stream.isatty() and environ.get("TERM") != "dumb" for stream in (sys.stderr, sys.stdout)
        )
        return cls(
            sys.stdout,
            sys.stderr,
            wanted,
            colour=_may_colour(environ, terminal),
            live=terminal and not environ.get("CI") and not wanted.quiet,
            out_colour=_may_colour(environ, out_terminal),
            # The log of a build is read elsewhere, and by programs.
            width=_width_of(sys.stdout, environ)
            if out_terminal and not environ.get("CI")
            else None,
        )

    def result(self, text: str) -> None:
        """Write a line of the result to stdout: for people."""
        self._put(harmless(text))

    def painted(self, text: str) -> None:
        """Write a line of the result to stdout in which colours of ours are, where stdout may have any."""
        self._put(_harmless_but_colours(text, colour=self.out_colour))

    def value(self, text: str) -> None:
        """Write a line to stdout as it is: for programs, which need a path or a flag to the letter.

        On a terminal there is no program: people are told what is in it, and it cannot act.
        """
        self._put(harmless(text) if self.is_for_people else text)

    @property
    def is_for_people(self) -> bool:
        """Whether stdout is a terminal, at which no program reads."""
        return self.out.isatty()

    def raw(self, content: bytes) -> None:
        """Write bytes to stdout as they are: for a program, never a terminal."""
        try:
            self.out.flush()
            self.out.buffer.write(content)  # type: ignore[attr-defined]
            self.out.buffer.flush()  # type: ignore[attr-defined]
        except OSError as error:
            raise OutputError(error) from error

    def text(self, line: str) -> None:
        """Write a line of a file to stdout: as `value`, but that a terminal gets its tabs."""
        self._put(harmless(line, keep="\t") if self.out.isatty() else line)

    def document(self, content: Mapping[str, Any]) -> None:
        """Write the one JSON object of ``--json`` to stdout.

        It is ASCII, with what a terminal might act on escaped.
        """
        text = to_ascii_json({"schema": SCHEMA, **content}, indent=2)
        _Documents.begun += 1
        self._put(text)

    def say(self, text: str) -> None:
        """Write a line to stderr, unless the user wants quiet."""
        if not self.wanted.quiet:
            self._tell(text)

    def announce(self, text: str) -> None:
        """Write to stderr what is changed on a device, always: who is killed later can tell no more."""
        self._tell(f"{PROGRAM}: {harmless(text)}")

    def warn(self, text: str) -> None:
        """Write a warning to stderr, always."""
        self._tell(text, self._head(_YELLOW, "warning:"))

    def complain(self, error: KheadersError) -> None:
        """Tell of an error and what to do next, on stderr alone."""
        self._tell(str(error), self._head(_RED, "error:"))
        self._notes(error)
        if error.hint:
            self._tell(f"  hint: {error.hint}")

    def error(self, error: KheadersError) -> None:
        """Tell of an error and what to do next; under ``--json`` also on stdout."""
        self.complain(error)
        self._fail(error_to_json(error))

    def interrupted(self, error: BaseException, number: Signals) -> None:
        """Tell that the user, or a signal, ended the program."""
        self._tell(f"{PROGRAM}: interrupted")
        self._notes(error)
        seen = f"ended by {number.name}"
        self._fail(error_fields("interrupted", 128 + number, seen))

    def bug(self, error: Exception, trace: str, plea: str) -> None:
        """Tell of an error that should not have been, with all that helps to find it."""
        self._tell(trace.rstrip("\n"))
        self._tell(f"{PROGRAM}: this is a bug; {plea}")
        seen = "".join(traceback.format_exception_only(error)).strip()
        self._fail(error_fields("bug", KheadersError.exit_code, seen, hint=plea))

    def diagnostics(self, said: bytes) -> None:
        """Pass on what a compiler has said, which quotes headers; its colours stay if the user has any."""
        text = said.decode("utf-8", "backslashreplace").removesuffix("\n")
        self._write(_harmless_but_colours(text, colour=self.colour, keep="\t"))

    @contextlib.contextmanager
    def status(self) -> Iterator[StatusLine]:
        """A line on stderr about what goes on in the block, where there is a terminal to show it."""
        from kheaders_adb.cli.status import StatusLine

        before = _Live.line
        terminal = self.err if self.live else None
        with StatusLine(terminal, lambda: _width_of(self.err, {})) as line:
            _Live.line = line
            try:
                yield line
            finally:
                _Live.line = before

    @contextlib.contextmanager
    def doing(
        self, kind: StepKind, what: object = "", *, serial: str | None = None
    ) -> Iterator[StatusLine]:
        """The same, for a block that is one step."""
        from kheaders_adb.steps import Steps

        with self.status() as line, Steps(line.on_step, serial) as steps:
            steps.begin(kind, what)
            yield line

    def _fail(self, error: Mapping[str, Any]) -> None:
        # An error after the result, as of a signal that came late, is told by the exit code.
        if self.wanted.json and not _Documents.begun:
            self.document({"error": error})

    def _notes(self, error: BaseException) -> None:
        for note in getattr(error, "__notes__", ()):
            self._tell(f"  note: {note}")

    def _put(self, text: str) -> None:
        try:
            with _cleared():
                print(text, file=self.out, flush=True)
        except OSError as error:
            raise OutputError(error) from error

    def _tell(self, text: str, head: str = "") -> None:
        self._write(head + harmless(text))

    def _write(self, text: str) -> None:
        try:
            # As one string: programs that are compiled at once speak from threads of their own.
            with _cleared():
                print(f"{text}\n", end="", file=self.err, flush=True)
        except BrokenPipeError:
            raise
        except OSError:
            # A log on a full disk, a terminal that is gone: no reason to give up what was asked for.
            let_go(self.err)

    def _head(self, colour: str, word: str) -> str:
        return f"{PROGRAM}: {colour}{word}{_RESET} " if self.colour else f"{PROGRAM}: {word} "


def _may_colour(environ: Mapping[str, str], terminal: bool) -> bool:
    """As pytest, rich and Python itself: who wants no colour gets none, and who insists gets it in a pipe."""
    return not environ.get("NO_COLOR") and (terminal or bool(environ.get("FORCE_COLOR")))


def _width_of(stream: IO[str], environ: Mapping[str, str]) -> int:
    """How many columns a terminal has, by its own word: ``COLUMNS`` may be another's, or of yesterday."""
    with contextlib.suppress(OSError, ValueError):
        if (columns := os.get_terminal_size(stream.fileno()).columns) > 0:
            return columns
    with contextlib.suppress(ValueError):
        if (columns := int(environ.get("COLUMNS", ""))) > 0:
            return columns
    return 80


def _harmless_but_colours(text: str, *, colour: bool, keep: str = "") -> str:
    parts = _COLOURS.split(text) if colour else [text]
    # Every second one is a colour.
    return "".join(part if at % 2 else harmless(part, keep=keep) for at, part in enumerate(parts))


def _cleared() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if _Live.line is None else _Live.line.aside()


def to_ascii_json(content: Mapping[str, Any], *, indent: int | None = None) -> str:
    """A JSON object in ASCII, with what a terminal might act on escaped."""
    return json.dumps(content, indent=indent).replace("\x7f", "\\u007f")


def error_to_json(error: KheadersError) -> dict[str, Any]:
    """An error's fields for ``--json``."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__.removesuffix("Error")).lower()
    fields = error_fields(kind, error.exit_code, error.seen, hint=error.hint)
    fields |= {"retryable": error.retryable, "device": error.device, "step": error.step}
    if isinstance(error, UsageError) and error.candidates:
        fields["candidates"] = [asdict(candidate) for candidate in error.candidates]
    if isinstance(error, MismatchError) and error.verdict is not None:
        from kheaders_adb.cli.render import verdict_to_json

        fields["verdict"] = verdict_to_json(error.verdict)
    return fields


def error_fields(
    kind: str, exit_code: int, seen: str, *, hint: str | None = None
) -> dict[str, Any]:
    """The fields that every error has for ``--json``."""
    return {
        "kind": kind,
        "exit_code": exit_code,
        "retryable": False,
        "device": None,
        "step": None,
        "seen": seen,
        "hint": hint,
    }
