"""The content-addressed store on the host: a tree in it is complete and right, or it is not there.

``store.Store`` finds, records and names kernels; ``staging.Staging`` writes a new tree; ``gc``, ``verify``
and ``export`` look after what is there.  ``layout`` says where things lie.
"""

from kheaders_adb.store.records import DeviceRecord, KernelRecord
from kheaders_adb.store.shelf import BrokenRecord, Scan
from kheaders_adb.store.store import Store

__all__ = ["BrokenRecord", "DeviceRecord", "KernelRecord", "Scan", "Store"]
