"""Options as they are handed to other processes."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

from kheaders_adb.device.su import SuCommand
from kheaders_adb.model import Privilege, Via
from kheaders_adb.pipeline.options import Options, Tolerance
from kheaders_adb.store import Store
from kheaders_adb.untrusted.limits import Limits
from tests.unit.store.helpers import pull


def told(*_: object) -> None:
    """A function of a module, as pickle wants it."""


def test_options_can_be_pickled() -> None:
    options = Options(
        module=Path("kheaders.ko"),
        via=Via.LOAD,
        tolerance=Tolerance.MISMATCHED | Tolerance.REPAIRED,
        refresh=True,
        privilege=Privilege.SU,
        su=SuCommand.parse("kp -c"),
        keep_root=True,
        limits=Limits(),
        on_note=told,
        on_change=told,
        on_progress=told,
        on_step=told,
    )
    defaults = Options()
    same = [
        field.name
        for field in dataclasses.fields(Options)
        if getattr(options, field.name) == getattr(defaults, field.name)
    ]
    assert same == [], "every field has a value of its own here"
    assert pickle.loads(pickle.dumps(options)) == options


def test_a_store_can_be_pickled(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    made = pull(store)
    assert pickle.loads(pickle.dumps(store)).resolve(made.key) == store.resolve(made.key)
