"""Coverage-guided fuzzing of everything that reads an archive, a configuration or a module.

Not part of the tests: it needs atheris (``pip install -e '.[fuzz]'``) and runs as long as it is let::

    python -m tests.fuzz.fuzz_archive --target=members -max_total_time=600 CORPUS

CORPUS is a directory for new inputs; those kept in ``tests/fuzz/corpus/members.zip`` are read as well.
To keep what was found: ``python -m zipfile -c tests/fuzz/corpus/members.zip CORPUS/*``.  Each target
has its own corpus: in a common one, the short inputs of one displace the long ones of another.

An input fails if it raises anything but an error of ours with a named rule, breaks a promise of
read_archive(), takes more than two seconds of processor time, or more memory than
``-rss_limit_mb=256`` allows.  libFuzzer's own ``-timeout`` counts wall time: on a busy machine it stops
at innocent inputs, so give it minutes; it is there for inputs that never end.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kheaders_adb", "elftools"]):
    from tests.fuzz.targets import TARGETS, run_target

    # The package imports this only when it carves, which would be too late to instrument it.
    importlib.import_module("elftools.elf.elffile")

_CORPUS = Path(__file__).parent / "corpus"
_OPTION = "--target="


def main() -> None:
    """Hand over to libFuzzer."""
    names = [arg.removeprefix(_OPTION) for arg in sys.argv if arg.startswith(_OPTION)]
    if len(names) != 1 or names[0] not in TARGETS:
        sys.exit(f"give one of {', '.join(_OPTION + name for name in TARGETS)}")
    arguments = [arg for arg in sys.argv if not arg.startswith(_OPTION)]
    with tempfile.TemporaryDirectory() as kept:
        with zipfile.ZipFile(_CORPUS / f"{names[0]}.zip") as corpus:
            corpus.extractall(kept)
        atheris.Setup([*arguments, kept], partial(run_target, names[0]))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
