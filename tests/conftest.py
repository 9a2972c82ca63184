"""What all tests share: the seed of what is drawn at random."""

from __future__ import annotations

import os
import random
import signal

SEED = int(os.environ.setdefault("KHEADERS_SEED", str(random.randrange(1 << 32))))
"""Draws offsets and pauses; set KHEADERS_SEED to draw the same ones again.

It goes into the environment for the processes that pytest-xdist starts, which must draw the same.
"""

LONG = os.environ.get("KHEADERS_LONG") == "1"
SCALE = 10 if LONG else 1
"""How many times as many cases are wanted: ten under ``make test-long``."""
KILLS = [
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM),
    *[signal.SIGKILL] * 3,
]
"""Signals to end a run by: three are caught, three are not, and one cannot be."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So does a shell start what runs in the background, and what tests start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # The same of nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_report_header() -> str:
    """Name the seed, so that a failure can be repeated."""
    return f"KHEADERS_SEED={SEED}"
