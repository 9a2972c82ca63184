"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from kheaders_adb.cli.groups import Output
from kheaders_adb.errors import KheadersError, MismatchError
from kheaders_adb.untrusted.text import harmless

if TYPE_CHECKING:
    from tqdm import tqdm

PROGRAM = "kheaders-adb"
SCHEMA = 1
_RED, _YELLOW, _RESET = "\033[1;31m", "\033[1;33m", "\033[0m"


@dataclass(frozen=True, slots=True)
class Console:
    """The two streams, and what the user and the terminal allow on them.

    Attributes:
        out, err: stdout and stderr.
        output: what the user asked for.
        colour: whether stderr may be coloured.
        live: whether stderr is a terminal that can show a progress bar.
    """

    out: IO[str]
    err: IO[str]
    output: Output
    colour: bool = False
    live: bool = False

    @classmethod
    def standard(cls, output: Output, environ: Mapping[str, str] = os.environ) -> Console:
        """The process's own streams; ``NO_COLOR``, ``TERM=dumb`` and ``CI`` are respected."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Paths need not be text in the user's encoding, and no locale is a reason to fail.
            utf8 = sys.stdout.encoding.lower() == "utf-8"
            sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
        terminal = sys.stderr.isatty() and environ.get("TERM") != "dumb"
        return cls(
            sys.stdout,
            sys.stderr,
            output,
            colour=terminal and not environ.get("NO_COLOR"),
            live=terminal and not environ.get("CI") and not output.quiet,
        )

    def result(self, text: str) -> None:
        """Write a line of the result to stdout."""
        print(text, file=self.out, flush=True)

    def document(self, content: Mapping[str, Any]) -> None:
        """Write the one JSON object of ``--json`` to stdout."""
        print(json.dumps({"schema": SCHEMA, **content}, indent=2), file=self.out, flush=True)

    def say(self, text: str) -> None:
        """Write a line to stderr, unless the user wants quiet."""
        if not self.output.quiet:
            print(harmless(text), file=self.err, flush=True)

    def warn(self, text: str) -> None:
        """Write a warning to stderr, always."""
        print(
            f"{PROGRAM}: {self._paint(_YELLOW, 'warning:')} {harmless(text)}",
            file=self.err,
            flush=True,
        )

    def error(self, error: KheadersError) -> None:
        """Tell of an error and what to do next; under ``--json`` also on stdout."""
        print(f"{PROGRAM}: {self._paint(_RED, 'error:')} {harmless(str(error))}", file=self.err)
        self._notes(error)
        if error.hint:
            print(f"  hint: {harmless(error.hint)}", file=self.err)
        self.err.flush()
        if self.output.json:
            self.document({"error": error_to_json(error)})

    def interrupted(self, error: BaseException) -> None:
        """Tell that the user, or a signal, ended the program."""
        print(f"{PROGRAM}: interrupted", file=self.err)
        self._notes(error)

    def progress(self, label: str) -> Progress:
        """A progress bar on stderr, where there is a terminal to show it."""
        return Progress(self, label)

    def _notes(self, error: BaseException) -> None:
        for note in getattr(error, "__notes__", ()):
            print(f"  note: {harmless(note)}", file=self.err)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self.colour else text


class Progress:
    """A bar for a transfer, drawn only once it takes longer than a moment; a context manager."""

    def __init__(self, console: Console, label: str) -> None:
        self._console = console
        self._label = label
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def on_progress(self) -> Callable[[int, int], None] | None:
        """What to call with bytes done and bytes in all; None where nothing can be shown."""
        return self._update if self._console.live else None

    def begin(self, label: str) -> None:
        """Start anew under another label."""
        self._close()
        self._label = label

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _update(self, done_bytes: int, total_bytes: int) -> None:
        if self._bar is None:
            from tqdm import tqdm  # a tenth of a second, which only a watched transfer has

            self._bar = tqdm(
                desc=harmless(self._label),
                total=total_bytes or None,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                delay=0.3,
                leave=False,
                file=self._console.err,
            )
        self._bar.update(done_bytes - self._bar.n)


def error_to_json(error: KheadersError) -> dict[str, Any]:
    """An error's fields for ``--json``."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__.removesuffix("Error")).lower()
    fields: dict[str, Any] = {
        "kind": kind,
        "exit_code": error.exit_code,
        "retryable": error.retryable,
        "device": error.device,
        "step": error.step,
        "seen": error.seen,
        "hint": error.hint,
    }
    if isinstance(error, MismatchError) and error.verdict is not None:
        from kheaders_adb.cli.render import verdict_to_json

        fields["verdict"] = verdict_to_json(error.verdict)
    return fields
