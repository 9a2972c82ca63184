"""The API as a type checker of a user's sees it, who has a configuration of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kheaders_adb

SAMPLE = Path(__file__).with_name("typing_sample.py")


def test_a_program_and_a_test_are_strictly_typed(tmp_path: Path) -> None:
    package = Path(kheaders_adb.__file__).parent
    assert (package / "py.typed").is_file()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file="),
            # Its packages without types are not the user's affair.
            *("--ignore-missing-imports", f"--cache-dir={tmp_path}", str(SAMPLE)),
        ],
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
