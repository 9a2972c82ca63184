"""One request to an adb server and what came of it, for whoever listens to the log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kheaders_adb.journal import DEBUG, logger
from kheaders_adb.untrusted.text import printable

if TYPE_CHECKING:
    from logging import Logger

_SHOWN = 120
"""How much of a service is logged: a script's name and the first of what it is given, not all of it."""


@dataclass(slots=True)
class Exchange:
    """A service that is asked for, until its connection ends or is asked for another.

    Attributes:
        service: it, as it is asked for; empty before anything is.
        serial: the device that it is for; None for the server itself.
        status: what the server replied: ``OKAY``, or ``FAIL`` with its reason.
        sent_bytes, received_bytes: what has gone each way, the request and the reply included.
    """

    service: str = ""
    serial: str | None = None
    status: str | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    _log: Logger | None = None
    _began_s: float = 0.0

    @classmethod
    def begin(cls, service: str, serial: str | None) -> Exchange:
        """A service that is asked for now."""
        return cls(service, serial, _log=logger("adb", DEBUG), _began_s=time.monotonic())

    def end(self) -> None:
        """It is over: log it, if anybody wants to know; once is enough."""
        if self._log is None:
            return
        log, self._log = self._log, None
        duration_s = time.monotonic() - self._began_s
        service = printable(" ".join(self.service.split()), _SHOWN)
        serial = None if self.serial is None else printable(self.serial)
        status = None if self.status is None else printable(self.status)
        log.debug(
            "%s%s: %s, %d bytes sent, %d received, %.1f ms",
            *(f"{serial}: " if serial else "", service, status or "no reply"),
            *(self.sent_bytes, self.received_bytes, 1000 * duration_s),
            extra={
                "event": "exchange",
                "serial": serial,
                "service": service,
                "status": status,
                "sent_bytes": self.sent_bytes,
                "received_bytes": self.received_bytes,
                "duration_s": round(duration_s, 6),
            },
        )
