"""Where the program begins: before anything else is imported, a signal must find somebody to tell of it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from kheaders_adb.cli.process import guarded, occupy_descriptors


@dataclass(frozen=True, slots=True)
class Asked:
    """What the words of a command line ask for, before it is known whether they make sense."""

    json: bool
    quiet: bool = False

    @classmethod
    def by(cls, words: Sequence[str]) -> Asked:
        """Read the words up to ``--``."""
        for word in words:
            if word in ("--json", "--"):
                return cls(json=word == "--json")
        return cls(json=False)


def main() -> None:
    """Run the command line; the entry point."""
    occupy_descriptors()
    words = sys.argv[1:]

    def run() -> int:
        from kheaders_adb.cli import app  # most of what a start costs

        return app.run(words)

    try:
        sys.exit(guarded(run, Asked.by(words)))
    finally:
        # All memory is given back at once; looking through it for cycles first takes a tenth of `path`.
        gc.freeze()
