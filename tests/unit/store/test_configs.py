"""Kernels' configurations: kept beside the records, shared, checked, gone with the last that names them."""

from __future__ import annotations

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.store import KernelRecord, Store
from kheaders_adb.store.upkeep import gc
from kheaders_adb.store.upkeep.export import export_config
from kheaders_adb.store.upkeep.problems import ProblemKind
from kheaders_adb.store.upkeep.usage import Usage
from kheaders_adb.store.upkeep.verify import verify
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS
from tests.unit.store.helpers import identity, packed, record, stage

CONFIG = b"CONFIG_SMP=y\nCONFIG_HZ=250\n"
DIGEST = sha256(CONFIG).hexdigest()


def pull(
    store: Store,
    number: int = 0,
    *,
    text: bytes | None = CONFIG,
    digest: str | None = DIGEST,
    staged_at: float = 1000.0,
) -> KernelRecord:
    """Record a kernel of this configuration, all of one tree."""
    archive, tree = stage(store, packed())
    kernel = replace(identity(number), config_sha256=digest)
    made = record(kernel, archive, tree, staged_at=staged_at)
    store.record(made, text)
    return made


def kept(store: Store) -> list[str]:
    folder = store.root / "configs"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_what_is_kept_is_the_text_under_its_digest(store: Store) -> None:
    for number in range(3):
        pull(store, number)
    assert kept(store) == [f"{DIGEST}.gz"], "kernels of one configuration share it"
    path = store.config_path(DIGEST)
    assert gzip.decompress(path.read_bytes()) == CONFIG
    assert path.stat().st_mode & 0o222 == 0
    assert store.read_config(DIGEST) == CONFIG
    assert store.read_config(None) is None
    assert store.read_config("0" * 64) is None
    assert store.read_config("../records") is None, "a record may hold anything"


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (None, DIGEST),
        (CONFIG, None),
        (CONFIG + b"#", DIGEST),
        (CONFIG, "../../x"),
        pytest.param(
            b"#" * (DEFAULT_LIMITS.config_bytes + 1),
            sha256(b"#" * (DEFAULT_LIMITS.config_bytes + 1)).hexdigest(),
            id="too large",
        ),
    ],
)
def test_nothing_else_is_kept(store: Store, text: bytes | None, digest: str | None) -> None:
    pull(store, text=text, digest=digest)
    assert kept(store) == []
    assert len(store.records()) == 1


def test_what_is_found_again_keeps_what_older_versions_did_not(store: Store) -> None:
    made = pull(store, text=None)
    assert store.find(made.identity, "device-1", config=CONFIG + b"#") is not None
    assert kept(store) == []
    assert store.find(made.identity, "device-1", config=CONFIG) is not None
    assert store.read_config(DIGEST) == CONFIG


def test_where_it_cannot_be_kept_nothing_fails(store: Store) -> None:
    (store.root / "configs").write_text("in the way")
    made = pull(store)
    assert store.find(made.identity, "device-1", config=CONFIG) is not None
    (note,) = store.take_notes()
    assert note.startswith("the kernel's configuration is not kept: ")


def test_what_one_run_could_not_note_is_not_told_by_another(store: Store) -> None:
    """As threads of one program have them, which share the store."""
    (store.root / "configs").write_text("in the way")
    made = pull(store)
    store.take_notes()
    one, other = (store.within(lambda: 1.0) for _ in range(2))
    assert one.find(made.identity, "device-1", config=CONFIG) is not None
    assert other.take_notes() == ()
    assert len(one.take_notes()) == 1


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x1f\x8b",
        gzip.compress(CONFIG, mtime=0)[:-1],
        gzip.compress(CONFIG + b"#", mtime=0),
        CONFIG,
        gzip.compress(CONFIG, mtime=0) + b"more",
    ],
    ids=["empty", "begun", "cut", "another", "plain", "longer"],
)
def test_a_damaged_one_is_nobodys_and_found_by_verify(store: Store, damaged: bytes) -> None:
    made = pull(store)
    assert verify(store).problems == verify(store, [made]).problems == ()
    path = store.config_path(DIGEST)
    path.chmod(0o644)
    path.write_bytes(damaged)
    assert store.read_config(DIGEST) is None
    for records in (None, [made]):
        (problem,) = verify(store, records).problems
        assert (problem.path, problem.kind) == (f"configs/{DIGEST}.gz", ProblemKind.CONFIG)
    assert verify(store, repair_with=read_archive).is_sound
    assert kept(store) == []
    store.find(made.identity, "device-1", config=CONFIG)
    assert store.read_config(DIGEST) == CONFIG


def test_one_that_goes_while_verify_looks_is_not_called_damaged(store: Store) -> None:
    made = pull(store)
    path = store.config_path(DIGEST)
    content = path.read_bytes()
    done = threading.Event()

    def others() -> None:  # gc and a pull, in turn
        draft = path.with_name("draft")
        while not done.is_set():
            draft.write_bytes(content)
            draft.rename(path)
            path.unlink()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(others)
        try:
            found = [verify(store, [made]).problems for _ in range(300)]
        finally:
            done.set()
        running.result()
    assert not any(found)


def test_a_bomb_is_not_unpacked(store: Store) -> None:
    pull(store)
    path = store.config_path(DIGEST)
    path.chmod(0o644)
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    assert store.read_config(DIGEST) is None


def test_it_goes_with_the_last_kernel_that_names_it(store: Store) -> None:
    first, second = pull(store, 0), pull(store, 1)
    assert gc.remove(store, first.key).configs == ()
    assert kept(store) == [f"{DIGEST}.gz"]
    before = Usage.of(store).total_bytes
    done = gc.remove(store, second.key)
    assert (done.configs, kept(store)) == ((DIGEST,), [])
    assert done.freed_bytes == before - Usage.of(store).total_bytes, "its block is counted, too"


def test_gc_removes_what_no_record_names(store: Store) -> None:
    made = pull(store)
    (store.root / "configs" / f"{'0' * 64}.gz").write_bytes(b"")
    (store.root / "configs" / "README").write_text("mine")
    assert gc.collect(store, dry_run=True).configs == ("0" * 64,)
    assert gc.collect(store).configs == ("0" * 64,)
    assert kept(store) == [f"{DIGEST}.gz", "README"]
    # Nobody can tell what a record that cannot be read names.
    store.kernel_path(made.key).write_text("{")
    assert gc.collect(store).configs == ()


def test_its_size_counts_against_the_limit(store: Store) -> None:
    pull(store, 0, staged_at=1.0)
    other = b"CONFIG_SMP=n\n"
    pull(store, 1, text=other, digest=sha256(other).hexdigest(), staged_at=2.0)
    size_bytes = Usage.of(store).total_bytes
    done = gc.collect(store, gc.Policy(max_size_bytes=size_bytes - 8192))
    assert len(done.removed) == len(done.configs) == 1, (
        "its record and its configuration are enough"
    )
    assert done.freed_bytes == size_bytes - Usage.of(store).total_bytes


class TestAmending:
    def test_a_record_is_replaced_and_not_used(self, store: Store) -> None:
        pull(store)
        (old,) = store.records()
        before = store.device("device-1")
        assert store.amend(old, replace(old, tool_version="9"))
        (new,) = store.records()
        assert new == replace(old, tool_version="9")
        assert new.last_used_at == old.last_used_at
        assert store.device("device-1") == before

    def test_one_that_has_changed_meanwhile_stays(self, store: Store) -> None:
        pull(store)
        (old,) = store.records()
        path = store.kernel_path(old.key)
        newer = json.loads(path.read_text()) | {"tool_version": "newer"}
        path.write_text(json.dumps(newer))
        assert not store.amend(old, replace(old, tool_version="9"))
        assert store.records()[0].tool_version == "newer"
        path.unlink()
        assert not store.amend(old, replace(old, tool_version="9"))
        assert store.records() == []

    def test_where_it_cannot_be_written_it_is_told(self, store: Store, tmp_path: Path) -> None:
        pull(store)
        (old,) = store.records()
        (store.root / "tmp").rename(tmp_path / "away")
        assert not store.amend(old, replace(old, tool_version="9"))
        (note,) = store.take_notes()
        assert note.startswith("that this kernel was judged again is not noted")


def test_no_name_but_a_digest_becomes_a_path(store: Store) -> None:
    with pytest.raises(StoreError):
        store.config_path("../x")


def test_a_configuration_is_exported_byte_for_byte(store: Store, tmp_path: Path) -> None:
    made = pull(store)
    output = tmp_path / "config.gz"
    data = store.config_path(DIGEST).read_bytes()
    assert export_config(store, made, output) == len(data)
    assert output.read_bytes() == data
    assert gzip.decompress(data) == CONFIG
    with pytest.raises(UsageError, match="is there already"):
        export_config(store, made, output)
    with pytest.raises(UsageError, match="cannot be written"):
        export_config(store, made, tmp_path / "absent" / "config.gz")


def test_what_is_not_kept_or_damaged_is_not_exported(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "config.gz"
    with pytest.raises(StoreError, match="the kernel did not show it"):
        export_config(store, pull(store, 1, text=None, digest=None), output)
    made = pull(store, 2, text=None)
    with pytest.raises(StoreError, match="is not kept in"):
        export_config(store, made, output)
    store.record(made, CONFIG)
    path = store.config_path(DIGEST)
    path.chmod(0o644)
    path.write_bytes(gzip.compress(CONFIG + b"#"))
    with pytest.raises(StoreError, match="is damaged"):
        export_config(store, made, output)
    assert list(tmp_path.glob("*config*")) == []
