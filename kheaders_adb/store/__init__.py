"""The content-addressed store on the host: a tree in it is complete and right, or it is not there.

``store.Store`` finds, records and names kernels; ``staging.Staging`` writes a new tree; the package
``upkeep`` looks after what is there.  ``paths`` says where things lie.
"""

from kheaders_adb.store.lookup import BrokenRecord, Scan
from kheaders_adb.store.records import DeviceRecord, KernelRecord
from kheaders_adb.store.store import Store

__all__ = ["BrokenRecord", "DeviceRecord", "KernelRecord", "Scan", "Store"]
