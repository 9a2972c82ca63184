"""What the package writes to Python's own ``logging``: its loggers, for whoever listens.

``kheaders_adb.steps`` has what takes a while: with its time at INFO, as it begins at DEBUG.
``kheaders_adb.adb`` has every exchange with an adb server, at DEBUG.

Nothing is configured here.  There is no NullHandler either: Python shows these levels to nobody who has not
asked, and the warning of ``kheaders_adb`` that something is changed on a device is to be seen by everybody.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

DEBUG, INFO = 10, 20
"""The levels of `logging`."""


def logger(part: str, level: int) -> Logger | None:
    """The logger of a part of the package, if anybody wants to know what is of this level.

    Whoever does has imported `logging`; to import it for nobody would cost each command 4 ms.
    """
    if "logging" not in sys.modules:
        return None
    import logging

    found = logging.getLogger(f"kheaders_adb.{part}")
    return found if found.isEnabledFor(level) else None
