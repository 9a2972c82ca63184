"""One connection to an adb server: exact reads and writes under one deadline.

adbutils has a codec for this too, but its timeouts count per ``recv`` (a peer that trickles never times
out), its writes may be short, and importing it costs more than a whole warm pull; ARCHITECTURE.md has
the figures.  The protocol is that of AOSP's ``docs/dev/services.md`` and ``overview.md``.
"""

from __future__ import annotations

import contextlib
import re
import socket

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.endpoint import NameTimeoutError, connect_tcp
from kheaders_adb.adb.exchange import Exchange
from kheaders_adb.errors import AdbServerError, DeadlineError, TransferError
from kheaders_adb.untrusted.text import one_line

_RECV_BYTES = 256 * 1024
_MAX_FAIL_TEXT = 4096
_END_S = 3.0
_HEX = re.compile(rb"[0-9A-Fa-f]{4,5}")
_NO_SERVER = "check that the address given is an adb server's"


class ServerRefusedError(AdbServerError):
    """Nothing listens at the server's address."""


class ServiceFailedError(TransferError):
    """The server answered FAIL; `seen` is its text."""


class Wire:
    """A connected socket with a deadline, and the context that its errors name.

    Args:
        sock: a connected stream socket; owned from here on.
        deadline: bounds every wait.
        device: the serial for error messages, or None while talking to the server itself.
        step: what is being done, for error messages.
    """

    def __init__(
        self, sock: socket.socket, deadline: Deadline, *, device: str | None, step: str
    ) -> None:
        self._sock = sock
        self._buffer = memoryview(b"")
        self._exchange = Exchange()
        self.deadline = deadline
        self.device = device
        self.step = step

    @classmethod
    def connect(
        cls, address: ServerAddress, deadline: Deadline, *, device: str | None, step: str
    ) -> Wire:
        """Connect to the server at `address`.

        Raises:
            ServerRefusedError: nothing listens there.
            AdbServerError: the address cannot be reached for another reason.
            DeadlineError: no connection in time.
        """
        try:
            if address.path is not None:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    sock.settimeout(_positive(deadline))
                    sock.connect(address.path)
                except BaseException:
                    sock.close()
                    raise
            else:
                sock = connect_tcp(address.host, address.port, deadline)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except NameTimeoutError as error:
            raise DeadlineError(
                f"nobody said in time which address {address.host} has",
                step=step,
                device=device,
                hint="check the name given with -H, -L or the environment, and this host's DNS; an address "
                "needs none",
            ) from error
        except TimeoutError as error:
            raise DeadlineError(
                f"the adb server at {address} did not accept a connection in time",
                step=step,
                device=device,
                hint="check the address; if it is right, the server hangs: `adb kill-server` ends it, and "
                "every adb session on this host with it",
            ) from error
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise ServerRefusedError(
                f"nothing listens at {address}",
                step=step,
                device=device,
                hint="start a server with `adb start-server`, or name another with -H, -P or -L",
            ) from error
        except (OSError, UnicodeError) as error:
            # UnicodeError: a host that cannot be written as a DNS name, such as "a..b".
            raise AdbServerError(
                f"cannot reach the adb server at {address}: {getattr(error, 'strerror', None) or error}",
                step=step,
                device=device,
                hint="check the address given with -H, -P, -L or the environment",
            ) from error
        return cls(sock, deadline, device=device, step=step)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        with contextlib.suppress(OSError):
            self._sock.close()
        self._exchange.end()

    def write(self, data: bytes | memoryview) -> None:
        """Send all of `data`.

        Raises:
            DeadlineError: not all was taken in time.
            TransferError: the connection broke.
        """
        rest = memoryview(data)
        while rest:
            try:
                self._sock.settimeout(_positive(self.deadline))
                sent_bytes = self._sock.send(rest)
            except TimeoutError as error:
                raise self._late("stopped taking data") from error
            except OSError as error:
                raise self.lost(f"the connection broke: {error.strerror or error}") from error
            rest = rest[sent_bytes:]
            self._exchange.sent_bytes += sent_bytes

    def read_some(self, limit_bytes: int = _RECV_BYTES) -> bytes:
        """The next bytes, at least one and at most `limit_bytes`; empty at the end of the stream.

        Raises:
            DeadlineError: nothing came in time.
            TransferError: the connection broke.
        """
        if not self._buffer and not self._fill():
            return b""
        taken = bytes(self._buffer[:limit_bytes])
        self._buffer = self._buffer[limit_bytes:]
        return taken

    def read_exact(self, size_bytes: int) -> bytes:
        """Exactly `size_bytes` bytes.

        Raises:
            DeadlineError: they did not all come in time.
            TransferError: the stream ended before that.
        """
        if len(self._buffer) >= size_bytes:
            taken = bytes(self._buffer[:size_bytes])
            self._buffer = self._buffer[size_bytes:]
            return taken
        parts = []
        missing = size_bytes
        while missing:
            part = self.read_some(missing)
            if not part:
                raise self.lost(
                    f"the connection ended after {size_bytes - missing} of {size_bytes} bytes"
                )
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def request(self, service: str) -> None:
        """Ask for `service` and wait for the server's OKAY.

        Raises:
            ServiceFailedError: the server answered FAIL; its text is in `seen`.
            TransferError, DeadlineError: as for reading and writing.
        """
        # Serials, and what a device names, need not be UTF-8: see `adb.listing`.
        payload = service.encode("utf-8", "surrogateescape")
        self._exchange.end()
        self._exchange = Exchange.begin(service, self.device)
        self.write(b"%04x" % len(payload) + payload)
        self.okay()

    def okay(self) -> None:
        """Read one status word.

        Raises:
            ServiceFailedError: it was FAIL.
            AdbServerError: it was neither OKAY nor FAIL: the peer is no adb server.
            TransferError, DeadlineError: as for reading.
        """
        status = self.read_exact(4)
        self._exchange.status = status.decode("ascii", "backslashreplace")
        if status == b"OKAY":
            return
        if status == b"FAIL":
            text = self.read_block(_MAX_FAIL_TEXT).decode("utf-8", "replace")
            self._exchange.status = f"FAIL {text}"
            raise ServiceFailedError(one_line(text), step=self.step, device=self.device)
        raise self._strange(f"the peer answered {status!r}, which is not the adb protocol")

    def read_block(self, limit_bytes: int) -> bytes:
        """A block: four hexadecimal digits of length, then that many bytes.

        Raises:
            AdbServerError: the length is no number or above `limit_bytes`.
            TransferError, DeadlineError: as for reading.
        """
        return self.read_exact(self._size(self.read_exact(4), limit_bytes))

    def read_listing(self, limit_bytes: int) -> bytes:
        """A block that ends the connection, of any length up to `limit_bytes`.

        adb writes the length with ``%04x``, which makes five digits from 65,536 bytes on, as a list of some
        600 devices has.  Only what comes behind the block of four tells.

        Raises:
            AdbServerError: the length is no number, above `limit_bytes`, or not that of what comes.
            TransferError, DeadlineError: as for reading.
        """
        head = self.read_exact(4)
        block = self.read_exact(self._size(head, limit_bytes))
        if self._is_over():
            return block
        head += block[:1]
        block = block[1:]
        size_bytes = self._size(head, limit_bytes)
        block += self.read_exact(max(0, size_bytes - len(block)))
        if len(block) != size_bytes or not self._is_over():
            raise self._strange(
                f"the peer announced a list of {head.decode()} (hexadecimal) bytes, and more came"
            )
        return block

    def _size(self, digits: bytes, limit_bytes: int) -> int:
        size_bytes = int(digits, 16) if _HEX.fullmatch(digits) else -1
        if not 0 <= size_bytes <= limit_bytes:
            raise self._strange(f"the peer announced a block of {digits!r} bytes")
        return size_bytes

    def _strange(self, seen: str) -> AdbServerError:
        return AdbServerError(seen, step=self.step, device=self.device, hint=_NO_SERVER)

    def _is_over(self) -> bool:
        """Whether nothing more comes.

        adb's server hangs up at once; a peer that keeps the connection open is given a while, or a slow one's
        list would be a short one.
        """
        if self._buffer:
            return False
        try:
            self._sock.settimeout(min(_END_S, _positive(self.deadline)))
            self._take(self._sock.recv(_RECV_BYTES))
        except TimeoutError:
            return True
        except OSError as error:
            raise self.lost(f"the connection broke: {error.strerror or error}") from error
        return not self._buffer

    def _take(self, data: bytes) -> None:
        self._buffer = memoryview(data)
        self._exchange.received_bytes += len(data)

    def lost(self, seen: str) -> TransferError:
        """A TransferError with this connection's context."""
        return TransferError(seen, step=self.step, device=self.device)

    def _fill(self) -> bool:
        try:
            self._sock.settimeout(_positive(self.deadline))
            data = self._sock.recv(_RECV_BYTES)
        except TimeoutError as error:
            raise self._late("sent nothing more") from error
        except OSError as error:
            raise self.lost(f"the connection broke: {error.strerror or error}") from error
        if self.deadline.expired:
            # A peer that trickles never lets a single wait run out; the total still holds.
            raise self._late("is too slow")
        self._take(data)
        return bool(data)

    def _late(self, what: str) -> DeadlineError:
        peer = "the device" if self.device else "the adb server"
        if self.deadline.expired:
            return DeadlineError(
                f"{peer} {what} and the time is over", step=self.step, device=self.device
            )
        return DeadlineError(
            f"{peer} {what} for {self.deadline.idle_s:g} s", step=self.step, device=self.device
        )


def _positive(deadline: Deadline) -> float:
    # A timeout of 0 would make the socket non-blocking instead of late.
    return max(deadline.wait_s, 0.001)
