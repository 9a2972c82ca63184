"""What is staged already, for programs: no device is asked."""

from __future__ import annotations

import logging
import os

from kheaders_adb import settings
from kheaders_adb.api import arguments
from kheaders_adb.api.result import Staged
from kheaders_adb.kernel.caution import verdict_warning
from kheaders_adb.pipeline.named import judged_today
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.untrusted.text import harmless


def staged(kernel: str = "latest", *, store: str | os.PathLike[str] | None = None) -> Staged:
    """The headers of a kernel that are staged on this host; no device is asked, and nothing is transferred.

    Args:
        kernel: a KERNEL as on the command line: a key prefix, a release or its beginning if unique,
            ``@SERIAL``, or ``latest``.
        store: a `Store`, or the folder of one; None for ``$KHEADERS_ADB_STORE`` or the user's cache.

    Returns:
        The staged tree.  Where it is not simply the kernel's (it was staged with ``allow_mismatch``, its
        configuration was repaired, or it was imported and compared with nothing), its verdict says so, and
        the logger ``kheaders_adb`` warns.

    Raises:
        UsageError: no kernel is meant, or several are.
        MismatchError, ArchiveError: judged by today's rules, the headers do not belong to the kernel or are
            refused.
        StoreError: the tree is not there any more, or the disk failed.

    Guarantees:
        Counts as a use, so that ``gc`` leaves the tree for a while.  No store is made.
    """
    name = arguments.text_of(kernel, "kernel") or ""
    folder = settings.store_path(arguments.path_of(store, "store"))
    opened = Store.open(folder, create=False)
    record = judged_today(opened, opened.resolve(name), to_use=True).record
    with opened.in_use(record):
        pass
    if warning := verdict_warning(record.verdict):
        logging.getLogger("kheaders_adb").warning(
            "%s", harmless(f"{record.identity.release} ({record.key[:12]}): {warning}")
        )
    return Staged(
        serial=_serial(opened, record, name),
        kernel=record.identity,
        source=record.source,
        archive=record.archive,
        verdict=record.verdict,
        tree=opened.tree_path(record.tree),
        cached=True,
        store=opened.root,
    )


def _serial(store: Store, record: KernelRecord, name: str) -> str | None:
    from kheaders_adb.store.choose import last_seen_on

    return name[1:] if name.startswith("@") else last_seen_on(store, record)
