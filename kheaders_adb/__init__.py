"""Pull a running kernel's headers over adb, prove that they belong to it, stage them for eBPF.

>>> import kheaders_adb
>>> staged = kheaders_adb.ensure("emulator-5554")  # doctest: +SKIP
>>> staged.tree, staged.verdict.level  # doctest: +SKIP

The names below are imported when they are first used: ``import kheaders_adb`` by itself costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kheaders_adb import errors
    from kheaders_adb.api import (
        Collected,
        Outcome,
        Part,
        Staged,
        StagedKernel,
        Store,
        ensure,
        ensure_all,
        staged,
    )
    from kheaders_adb.device.device import Device
    from kheaders_adb.errors import KheadersError
    from kheaders_adb.model import Level, Privilege, Verdict, Via
    from kheaders_adb.store.upkeep.verify import Verified

__version__ = "0.1.0"

__all__ = [
    "Collected",
    "Device",
    "KheadersError",
    "Level",
    "Outcome",
    "Part",
    "Privilege",
    "Staged",
    "StagedKernel",
    "Store",
    "Verdict",
    "Verified",
    "Via",
    "__version__",
    "ensure",
    "ensure_all",
    "errors",
    "staged",
]

_HOMES = {
    "Collected": "kheaders_adb.api",
    "Device": "kheaders_adb.device.device",
    "KheadersError": "kheaders_adb.errors",
    "Level": "kheaders_adb.model",
    "Outcome": "kheaders_adb.api",
    "Part": "kheaders_adb.api",
    "Privilege": "kheaders_adb.model",
    "Staged": "kheaders_adb.api",
    "StagedKernel": "kheaders_adb.api",
    "Store": "kheaders_adb.api",
    "Verdict": "kheaders_adb.model",
    "Verified": "kheaders_adb.store.upkeep.verify",
    "Via": "kheaders_adb.model",
    "ensure": "kheaders_adb.api",
    "ensure_all": "kheaders_adb.api",
    "staged": "kheaders_adb.api",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("kheaders_adb.errors")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
