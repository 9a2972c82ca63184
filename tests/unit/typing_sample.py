"""A program and a test of a user's, for `test_typing`: never run, only looked at by mypy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import assert_type

import adbutils
import pytest

import kheaders_adb
from kheaders_adb import (
    Collected,
    Device,
    KheadersError,
    Level,
    Outcome,
    Privilege,
    Staged,
    StagedKernel,
    Store,
    Verified,
    Via,
    ensure,
    ensure_all,
    staged,
)


def program(device: Device, phone: adbutils.AdbDevice, store: Store) -> None:
    """What can be handed in, and what comes back."""
    assert_type(ensure(), Staged)
    ensure("1A2B3C4D", server=("localhost", 5037), store="store", module=Path("kheaders.ko"))
    ensure(phone, store=store, via=Via.LOAD, privilege="none", wait_s=30, timeout_s=60.5)
    one = ensure(device, on_note=print, on_progress=lambda done, size: print(done / size))
    assert_type(one.tree, Path)
    assert_type(one.verdict.level, Level)
    assert_type(one.cflags(), list[str])
    assert_type(one.compile("trace.bpf.c"), Path)
    one.compile(
        Path("trace.bpf.c"), "out.o", libbpf="libbpf", include_dirs=["include", Path("more")]
    )
    assert_type(staged("@1A2B3C4D", store=store), Staged)
    assert_type(staged().cflags(stage="bpf", cpu="v3"), list[str])
    assert_type(staged().environment(), dict[str, str])
    found = ensure_all(at_once=4, privilege=Privilege.SU, on_note=lambda serial, text: None)
    assert_type(found, list[Outcome])
    assert_type(found[0].staged, Staged | None)
    assert_type(found[0].error, KheadersError | None)
    try:
        ensure(server="tcp:localhost:5037")
    except kheaders_adb.KheadersError as error:
        assert_type(error.hint, str | None)


def keeping(phone: adbutils.AdbDevice) -> None:
    """The store, and what it tells."""
    store = Store()
    assert_type(Store("store").folder, Path)
    assert_type(store.list(), tuple[StagedKernel, ...])
    found = store.find("@1A2B3C4D")
    assert_type(found.verdict.level, Level)
    assert_type(found.kernel.build_id, str | None)
    assert_type(store.path(found.key), Path)
    assert_type(store.verify(repair=True), Verified)
    assert_type([problem.path for problem in store.verify(found.key).problems], list[str])
    assert_type(store.gc(max_age_s=86400.0, max_size_bytes=1 << 30, keep_latest=2), Collected)
    assert_type(store.export("6.1", "kheaders.tar.xz", what="archive"), Path)
    assert_type(store.import_(Path("kheaders.tar.xz"), device=phone), StagedKernel)
    store.import_("kheaders.tar.xz", device="1A2B3C4D", server=("localhost", 5037), on_note=print)
    ensure(store=Store(store))


def mistakes(store: Store) -> None:
    """Each must be one: `warn_unused_ignores` is part of strict."""
    ensure(7)  # type: ignore[arg-type]
    ensure(server=5037)  # type: ignore[arg-type]
    ensure(store=b"bytes")  # type: ignore[arg-type]
    ensure(realease="6.1")  # type: ignore[call-arg]
    ensure_all("1A2B3C4D")  # type: ignore[call-arg]
    staged(Path("tree"))  # type: ignore[arg-type]
    ensure().compile("trace.bpf.c", libbpf=7)  # type: ignore[arg-type]
    ensure().tree = Path()  # type: ignore[misc]
    store.folder = Path()  # type: ignore[misc]
    store.find(7)  # type: ignore[arg-type]
    store.export("latest")  # type: ignore[call-arg]
    store.gc(max_age="30d")  # type: ignore[call-arg]


@pytest.mark.kheaders(release=">=6.1", arch="arm64", level="exact")
def test_mine(kheaders: Staged, bpf_compile: Callable[..., Path]) -> None:
    """With the plugin's fixtures and its mark."""
    assert kheaders.verdict.level is Level.EXACT
    assert bpf_compile("trace.bpf.c", defines=["DEBUG=1"]).exists()
