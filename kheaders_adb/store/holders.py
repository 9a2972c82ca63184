"""Who holds a lock: what Linux tells of it, for messages."""

from __future__ import annotations

import os
import re

_PROC_LOCKS = "/proc/locks"


def holders(fd: int) -> tuple[int, ...]:
    """The ids of the processes that hold a ``flock`` on an open file, as far as they can be known.

    Empty where the system does not tell: on macOS, in another container, over NFS.
    """
    try:
        found = os.fstat(fd)
        with open(_PROC_LOCKS, encoding="ascii", errors="replace") as file:  # noqa: PTH123
            lines = file.readlines()
    except OSError:
        return ()
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    # "12: FLOCK  ADVISORY  WRITE 4711 00:1a:42 0 EOF"; a waiting one has an arrow before its kind.
    pattern = rf"\d+: FLOCK +\S+ +\S+ (\d+) {re.escape(device)} "
    pids = {int(match[1]) for line in lines if (match := re.match(pattern, line))}
    return tuple(sorted(pids - {0}))


def named(pids: tuple[int, ...]) -> str:
    """These processes at the beginning of a sentence whose verb is "has" or "have"."""
    match pids:
        case ():
            return "another process has"
        case (pid,):
            return f"process {pid} has"
        case (*others, last):
            return f"processes {', '.join(map(str, others))} and {last} have"
    raise AssertionError(pids)
