"""The shell scripts of ``scripts/``, made ready to be sent.

They are POSIX shell with comments and indentation, which stay here: adbd before Android 7 takes no more than
4,096 bytes in one request.  What is sent begins with the script's name, so that whoever looks at the device's
processes, or stands in for a device, sees what it is.
"""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).with_name("scripts")
_PLAIN = re.compile(r"[A-Za-z0-9 *:/._-]*")
"""What is the same in quotes of either kind."""


def compose(*names: str, **variables: str | int | PurePosixPath) -> str:
    """The script of the last name, with the functions of those before it.

    Args:
        names: of the files, without ``.sh``.
        variables: what the script is given, as shell variables; any value is one word to it.
    """
    assignments = "".join(f"{name}={quote(str(value))}\n" for name, value in variables.items())
    return name_line(names[-1]) + assignments + "".join(map(_body, names))


def name_line(name: str) -> str:
    """The line with which a script begins."""
    return f"# kheaders-adb {name}\n"


def quote(word: str | PurePosixPath) -> str:
    """`word` as one word of a POSIX shell, whatever it holds."""
    text = str(word)
    quoted = shlex.quote(text)
    if quoted != text and _PLAIN.fullmatch(text):
        # A su, and a shell without protocol, quote it all again, which makes five characters of each '.
        return f'"{text}"'
    return quoted


@functools.cache
def _body(name: str) -> str:
    lines = map(str.strip, (FOLDER / f"{name}.sh").read_text("utf-8").splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#"))
