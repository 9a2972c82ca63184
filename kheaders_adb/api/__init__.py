"""The Python API's front door: what ``pull`` and ``compile`` do, as functions.

Like the command line, and unlike everything below, it takes adb's and the store's variables from the
environment, so that a program finds the same device, server and store as its user's shell.

Nothing but `KheadersError` is raised on purpose, whatever values are handed in; what a callback raises, and
what stops the program, passes through.  All of it may be called from several threads at once, for different
devices and into one store.
"""

from kheaders_adb.api.ensuring import ensure, ensure_all, usable_serials
from kheaders_adb.api.finding import staged
from kheaders_adb.api.keeping import Store
from kheaders_adb.api.kept import Collected, Part, StagedKernel
from kheaders_adb.api.result import Outcome, Staged

__all__ = [
    "Collected",
    "Outcome",
    "Part",
    "Staged",
    "StagedKernel",
    "Store",
    "ensure",
    "ensure_all",
    "staged",
    "usable_serials",
]
