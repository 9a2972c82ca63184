"""Every input that fuzzing found worth keeping, once more."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, run_target

_CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs(target: str) -> None:
    with zipfile.ZipFile(_CORPUS / f"{target}.zip") as corpus:
        names = corpus.namelist()
        assert names
        for name in names:
            run_target(target, corpus.read(name))
