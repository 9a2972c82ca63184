"""Golden files: what users read, word for word, in tests/golden.

``KHEADERS_UPDATE_GOLDEN=1`` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

UPDATE = bool(os.environ.get("KHEADERS_UPDATE_GOLDEN"))
FOLDER = Path(__file__).parents[1] / "golden"


def check_golden(name: str, text: str) -> None:
    """Compare `text` with the golden file `name`, or write that."""
    path = FOLDER / name
    if UPDATE:
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no {path}: run this test with KHEADERS_UPDATE_GOLDEN=1"
    assert text == path.read_text(encoding="utf-8"), f"{path} says otherwise"
