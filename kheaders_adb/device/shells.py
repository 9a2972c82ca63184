"""How a device runs commands: by shell protocol 2, or else in what way its adbd does.

Asked by trying, never by version.  A bridge (DeviceFarmer's remote connect) forgets what the adbd behind it
can; Android 5's adbd (Yocto's) knows ``exec:``, Android 4.2's (Buildroot's) only ``shell:``, on a terminal.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kheaders_adb.adb.beginning import TRY_SHELL, BegunStream, beginning_with, new_mark
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.marked import ENCODERS, MarkedStream, RawStream, marked
from kheaders_adb.adb.shell import ShellResult, ShellStream, Stream, collect
from kheaders_adb.adb.wire import ServiceFailedError, Wire
from kheaders_adb.device.su import Su
from kheaders_adb.errors import NoHeadersError, TransferError

_MAX_REQUEST_BYTES = 4096
"""MAX_PAYLOAD_V1 of adb.h, the final NUL among them.  At a longer one an adb server may end."""
_MAX_ANSWER_BYTES = 4096
_PROOF = 7
_NAMED = "|".join(map(re.escape, ENCODERS))

FIND_ENCODER = (
    "for b in "
    + " ".join(f'"{encoder}"' for encoder in ENCODERS)
    + f"; do $b </dev/null >/dev/null 2>&1 && echo $b && break; done; exit {_PROOF}"
)
"""A script that names the first of `ENCODERS` that the device has."""

_TRY_S = 5.0
"""How long each way of running commands is tried; some bridges never answer what they do not know."""

Open = Callable[[str], Wire]


class OpenUntil(Protocol):
    """Opens a service on a device, with a deadline for all that is said there."""

    def __call__(self, service: str, *, deadline: Deadline) -> Wire: ...


@dataclass(frozen=True, slots=True)
class Shell:
    """How a device runs commands.

    Attributes:
        service: adbd's service for it.
        on_terminal: whether a terminal alters what commands write.
        encoder: what binary output is then written through; empty if the device has nothing for it.
    """

    service: str = "shell,v2,raw:"
    on_terminal: bool = False
    encoder: str = ""

    @property
    def is_v2(self) -> bool:
        """Whether it is shell protocol 2, in which commands have an input, and an end that can be seen."""
        return self.service == "shell,v2,raw:"

    @property
    def carries_binary(self) -> bool:
        """Whether binary output comes through in some way."""
        return not self.on_terminal or self.encoder != ""

    @property
    def note(self) -> str:
        """What the user should know of it; empty for shell protocol 2."""
        if self.is_v2:
            return ""
        binary = f", binary content by {self.encoder}" if self.encoder else ""
        return f"without shell protocol 2: output through {self.service}, completeness by a mark{binary}"

    def require_binary(self) -> None:
        """Make sure that binary output comes through.

        Raises:
            NoHeadersError: it does not.
        """
        if not self.carries_binary:
            raise NoHeadersError(
                "its shell is a terminal, which alters what is read through it, and it has no base64",
                step="starting a command on the device",
                hint="put a base64 there (busybox has one); what adbd itself may read needs none",
            )

    def start(
        self, open_service: Open, command: str, su: Su | None, *, binary: bool, held: bool
    ) -> Stream:
        """Start `command` and return it running.

        Args:
            open_service: opens a service on the device.
            command: a POSIX shell script.
            su: the su that is to run it, or None.
            binary: whether its output is more than text.
            held: whether it runs until its stdin is closed; without shell protocol 2 it has none otherwise.

        Raises:
            NoHeadersError: this shell cannot do that.
        """
        begin = inner = outer = ""
        if su is not None and su.encoder:
            inner = new_mark()
            command = marked(command, inner, encoder=su.encoder if binary else "")
        elif self.is_v2 or su is not None:
            # A su and its linker may say something of their own, too.
            begin = new_mark()
            command = beginning_with(begin, command)
        if su is not None:
            command = su.run(command)
        encoder = self.encoder if binary else ""
        if binary:
            self.require_binary()
        if not self.is_v2:
            outer = new_mark()
            command = marked(command, outer, encoder=encoder, held=held)
        service = self.service + command
        if not self.is_v2 and len(service.encode()) >= _MAX_REQUEST_BYTES:
            raise NoHeadersError(
                f"a request of {len(service.encode())} bytes is longer than an old adbd takes",
                step="starting a command on the device",
                hint="a shorter --su-command or path of the module makes it fit; so does reading the headers "
                "out of the module: --via carve",
            )
        wire = open_service(service)
        stream: Stream
        if self.is_v2:
            stream = ShellStream(wire)
        else:
            # A terminal echoes a line, but not its own end of input (^D), which ends a `read` as well.
            end = (b"\x04" if self.on_terminal else b"\n") if held else b""
            stream = MarkedStream(RawStream(wire, end), outer, is_encoded=encoder != "")
        if begin:
            return BegunStream(stream, begin)
        return MarkedStream(stream, inner, is_encoded=binary) if inner else stream


_CANDIDATES = (Shell(), Shell("exec:"), Shell("shell:"))


def find_shell(open_until: OpenUntil, deadline: Deadline, *, step: str, device: str) -> Shell:
    """The best way in which a device runs commands whose end can be seen, found by trying.

    Args:
        open_until: opens a service on the device.
        deadline: bounds all attempts.
        step, device: for messages.

    Raises:
        NoHeadersError: there is none.
        TransferError, DeadlineError: the device is gone, or does not answer.
    """
    failed: list[str] = []
    broken: TransferError | None = None
    for shell in _CANDIDATES:
        soon = deadline.sooner(min(_TRY_S, deadline.remaining_s / 4))
        try:
            return _try(shell, functools.partial(open_until, deadline=soon))
        except ServiceFailedError as error:
            if "closed" not in error.seen:
                raise  # the device is not there; adbd says nothing else of a service that it does not know
            failed.append(f"{shell.service} {error.seen}")
        except TransferError as error:
            if deadline.expired:
                raise
            broken = error
            failed.append(f"{shell.service} {error.seen}")
    seen = f"it runs no command whose end can be seen ({'; '.join(failed)})"
    if broken is not None:
        raise TransferError(seen, step=step, device=device, hint=TRY_SHELL) from broken
    raise NoHeadersError(
        seen, step=step, device=device, hint="see whether `adb shell id` works on it at all"
    )


def _try(shell: Shell, open_service: Open) -> Shell:
    stream = shell.start(open_service, FIND_ENCODER, None, binary=False, held=False)
    result: ShellResult = collect(stream, limit_bytes=_MAX_ANSWER_BYTES)
    if result.exit_code != _PROOF:
        raise stream.lost(f"exit code {result.exit_code} came instead of {_PROOF}")
    if not isinstance(stream, MarkedStream) or not stream.on_terminal:
        return shell
    return Shell(shell.service, on_terminal=True, encoder=parse_encoder(result.stdout))


def parse_encoder(said: bytes) -> str:
    """The encoder in what `FIND_ENCODER` said; empty if there is none."""
    found = re.search(rf"^({_NAMED})\s*$".encode(), said, re.MULTILINE)
    return found[1].decode() if found else ""
