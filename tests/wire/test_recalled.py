"""A kheaders.ko whose archive is stored is not read again: the device's own sha256 of it is proof enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.errors import MismatchError
from kheaders_adb.model import CheckStatus, Grounds, Level, SourceKind, Staged
from kheaders_adb.store import Store

from .client import pull
from .devices import Device, Headers
from .kernel import Kernel
from .server import Server

KERNEL = Kernel()
# Other source under the same configuration, release and builder.
REBUILT = replace(KERNEL, seed=2)
PLACE = "/vendor/lib/modules/kheaders.ko"


class Shop:
    """A store, and devices without root whose headers are in a kheaders.ko that the shell may read."""

    def __init__(self, server: Server, tmp_path: Path) -> None:
        self.server = server
        self.store = tmp_path / "store"
        server.plan.sent = []

    def add(self, serial: str, **options: Any) -> Device:
        return self.server.add_device(
            serial,
            **{"kernel": KERNEL, "headers": Headers.MODULE, "uid": 2000, "debuggable": False}
            | options,
        )

    def pull(self, serial: str, **options: Any) -> Staged:
        self.server.plan.sent = []
        return pull(self.server.port, self.store, serial=serial, timeout_s=20, **options)

    @property
    def sent_bytes(self) -> int:
        assert self.server.plan.sent is not None
        return sum(len(sent) for _, sent in self.server.plan.sent)


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> Shop:
    return Shop(server, tmp_path)


SMALL = len(KERNEL.archive) // 4


def grounds(staged: Staged) -> Grounds:
    assert staged.reuse is not None
    return staged.reuse.grounds


def test_on_another_device_and_in_another_boot(shop: Shop) -> None:
    first, _ = shop.add("FIRST"), shop.add("SECOND")
    cold = shop.pull("FIRST")
    assert (grounds(cold), shop.sent_bytes > len(KERNEL.archive)) == (Grounds.NONE, True)
    assert cold.kernel.build_id is None, "else it would be found by that"
    first.reboot()
    for serial in ("FIRST", "SECOND"):
        warm = shop.pull(serial)
        assert shop.sent_bytes < SMALL
        assert (grounds(warm), warm.cached) == (Grounds.DIGEST, False)
        assert warm.reuse is not None
        assert f"sha256 of {PLACE}" in warm.reuse.reason
        assert (warm.source.kind, warm.source.path) == (SourceKind.MODULE_CARVED, PLACE)
        assert warm.verdict == replace(cold.verdict, checks=warm.verdict.checks)
        assert {
            check.name: check.status for check in warm.verdict.checks if check.name != "version"
        } == dict.fromkeys(
            ("release", "machine", "config", "builder", "vermagic", "continuity"), CheckStatus.AGREE
        )
        assert grounds(shop.pull(serial)) is Grounds.BOOT


def test_it_is_matched_with_this_device_and_no_other(shop: Shop) -> None:
    """The bytes are proved, not that they belong to the kernel."""
    shop.add("FIRST")
    other = shop.add("SECOND", kernel=replace(KERNEL, extra=(("KASAN", "y"),)))
    other.put(PLACE, KERNEL.module)
    shop.pull("FIRST")
    with pytest.raises(MismatchError, match="KASAN"):
        shop.pull("SECOND")
    assert shop.sent_bytes < SMALL
    (record,) = Store.open(shop.store).records()
    assert record.serial == "FIRST"


def test_another_file_is_read(shop: Shop) -> None:
    shop.add("FIRST")
    shop.add("SECOND").put(PLACE, REBUILT.module)
    shop.pull("FIRST")
    staged = shop.pull("SECOND")
    assert (grounds(staged), staged.archive.sha256) == (Grounds.NONE, REBUILT.archive_sha256)


def test_a_module_that_was_given_is_known_again(shop: Shop, tmp_path: Path) -> None:
    module = tmp_path / "kheaders.ko"
    module.write_bytes(KERNEL.module)
    shop.add("FIRST", headers=Headers.ABSENT)
    shop.add("SECOND")
    shop.pull("FIRST", module=module)
    assert grounds(shop.pull("SECOND")) is Grounds.DIGEST
    assert shop.sent_bytes < SMALL


def test_one_of_several_is_loaded_as_if_it_had_been_read(shop: Shop) -> None:
    """As root: the kernel's own acceptance is one more check."""
    kernels = KERNEL, replace(KERNEL, version="#2 SMP PREEMPT Fri Feb  2 12:00:00 UTC 2024")
    for serial, kernel in zip(("FIRST", "SECOND"), kernels, strict=True):
        device = shop.add(serial, uid=0, kernel=kernel)
        for place in (PLACE, "/lib/modules/kheaders.ko"):
            device.put(place, KERNEL.module)
    cold, warm = shop.pull("FIRST"), shop.pull("SECOND")
    assert shop.sent_bytes < SMALL
    assert (grounds(cold), grounds(warm)) == (Grounds.NONE, Grounds.DIGEST)
    assert cold.source == warm.source
    assert warm.source.kind is SourceKind.MODULE_LOADED
    assert "kheaders" not in device.loaded_modules


@pytest.mark.parametrize("why", ["refresh", "no sha256sum", "archive damaged"])
def test_it_is_read_where_it_must_be(shop: Shop, why: str) -> None:
    shop.add("FIRST")
    shop.add("SECOND", without=("sha256sum",) if why == "no sha256sum" else ())
    cold = shop.pull("FIRST")
    if why == "archive damaged":
        path = Store.open(shop.store).archive_path(cold.archive.sha256)
        path.chmod(0o644)
        path.write_bytes(b"damaged")
    staged = shop.pull("SECOND", refresh=why == "refresh")
    assert (grounds(staged), staged.verdict.level) == (Grounds.NONE, Level.EXACT)
    assert shop.sent_bytes > len(KERNEL.archive)


def test_beside_a_build_id_it_is_asked_too(shop: Shop) -> None:
    for serial in ("FIRST", "SECOND", "WITHOUT"):
        shop.add(
            serial,
            shell_reads_archive=True,
            without=("sha256sum",) if serial == "WITHOUT" else (),
        )
    shop.pull("FIRST")
    for _ in range(2):
        staged = shop.pull("SECOND")
        assert (staged.cached, grounds(staged)) == (True, Grounds.DIGEST)
    assert staged.device_round_trips == 1
    staged = shop.pull("WITHOUT")
    assert staged.reuse is not None
    assert (staged.cached, grounds(staged)) == (True, Grounds.BUILD_ID)
    assert (staged.reuse.is_unproven, "is not to be had" in staged.reuse.reason) == (True, True)


def test_a_device_that_copies_a_build_id_does_not_give_its_module(shop: Shop) -> None:
    shop.add("LIAR", shell_reads_archive=True).put(PLACE, REBUILT.module)
    shop.add("HONEST", shell_reads_archive=True)
    theirs = shop.pull("LIAR")
    assert theirs.archive.sha256 == REBUILT.archive_sha256
    staged = shop.pull("HONEST")
    assert theirs.kernel.key == staged.kernel.key
    assert (grounds(staged), staged.archive.sha256) == (Grounds.NONE, KERNEL.archive_sha256)
