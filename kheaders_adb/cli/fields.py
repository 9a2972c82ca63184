"""``show --format``: what is known of a staged kernel, field by field, for scripts.

Fields are looked up by name and nothing else: a format is no Python, has no attributes and no widths.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from kheaders_adb.errors import UsageError

if TYPE_CHECKING:
    from kheaders_adb.store import KernelRecord, Store

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

FIELDS: dict[str, Callable[[Store, KernelRecord], str | None]] = {
    "key": lambda _, record: record.key,
    "release": lambda _, record: record.identity.release,
    "version": lambda _, record: record.identity.version,
    "machine": lambda _, record: record.identity.machine,
    "arch": lambda store, record: _arch(store, record),
    "build_id": lambda _, record: record.identity.build_id,
    "config_sha256": lambda _, record: record.identity.config_sha256,
    "level": lambda _, record: record.verdict.level.value,
    "serial": lambda _, record: record.serial,
    "source": lambda _, record: record.source.kind.value,
    "sha256": lambda _, record: record.archive.sha256,
    "tree": lambda store, record: str(store.tree_path(record.tree)),
}
"""Each field's name, and how it is got; None for what is not known, which is written as nothing."""


def require_format(text: str) -> None:
    """Refuse a format that is none, before anything is looked up.

    Raises:
        UsageError: it names a field that there is not, or has a brace that stands alone.
    """
    for part in _PART.finditer(text):
        if part[0] in ("{", "}"):
            raise UsageError(
                f"--format: {part[0]!r} stands alone",
                hint=f"write {2 * part[0]} for one, or a field",
            )
        if part[1] is not None and part[1] not in FIELDS:
            raise UsageError(
                f"--format: there is no field {part[1]!r}",
                hint=f"the fields are {', '.join(FIELDS)}",
            )


def formatted(text: str, store: Store, record: KernelRecord) -> str:
    """A format that `require_format` has let through, with the fields of a kernel put in.

    Raises:
        StoreError: the disk failed, or the tree that must be looked at is not there.
    """

    def filled(part: re.Match[str]) -> str:
        return part[0][0] if part[1] is None else FIELDS[part[1]](store, record) or ""

    return _PART.sub(filled, text)


def _arch(store: Store, record: KernelRecord) -> str | None:
    from kheaders_adb.ebpf.headers import Arch

    info = store.tree_info(record.tree)
    srcarch = None if info is None else info.facts.srcarch
    return next((arch.name.lower() for arch in Arch if arch.srcarch == srcarch), srcarch)
