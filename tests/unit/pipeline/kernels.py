"""Kernels in a store whose trees a compiler would take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from kheaders_adb.model import ArchiveFacts, Level, Verdict
from kheaders_adb.store import KernelRecord, Store
from tests.unit.ebpf.trees import tree_files
from tests.unit.store.helpers import FACTS, identity, pack, record, stage


def add(
    store: Store,
    number: int,
    *,
    files: Mapping[str, str | None] | None = None,
    links: Mapping[str, str] | None = None,
    symbols: Mapping[str, str] | None = None,
    config: bytes | None = None,
    level: Level = Level.EXACT,
    regenerated: Mapping[str, bytes] | None = None,
    facts: ArchiveFacts = FACTS,
) -> KernelRecord:
    """Stage a small tree; a file of None is left out."""
    texts = tree_files(config=symbols) | dict(files or {})
    content: dict[str, bytes | str] = {
        path: text.encode() for path, text in texts.items() if text is not None
    }
    archive, tree = stage(
        store, pack(content | dict(links or {})), replace=dict(regenerated or {}), facts=facts
    )
    kernel = identity(number)
    if config is not None:
        kernel = replace(kernel, config_sha256=sha256(config).hexdigest())
    made = replace(record(kernel, archive, tree), verdict=Verdict(level))
    store.record(made, config)
    return made
