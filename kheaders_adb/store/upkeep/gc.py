"""Removing what is no longer needed: by age, number and size, beside running pulls.

What is removed vanishes in one step: under the store's own lock the records go and the trees move to
``tmp``, where they are then deleted at leisure.  A pull that has found or published a tree but not yet
recorded its kernel has left a time stamp on the tree that is later than all its records' (see
``bookkeeping``); such a tree stays for a grace period.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb.errors import StoreError
from kheaders_adb.store import meanings, paths, scratch, turns
from kheaders_adb.store.faults import wrapped
from kheaders_adb.store.locks import is_locked
from kheaders_adb.store.lookup import BrokenRecord
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.store.upkeep.blocks import Blocks, Freed
from kheaders_adb.store.upkeep.usage import Usage

#: How long a tree that no kernel's record names is left to whoever is about to record it.
GRACE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Which kernels gc removes: those against which a limit is, unless something keeps them.

    Attributes:
        max_age_s: remove kernels that were not used for longer than this many seconds.
        max_kernels: remove the kernels used least recently until only so many are left.
        max_size_bytes: remove the kernels used least recently until the store takes no more than this.
        keep_latest_per_device: keep the kernels staged last for each device, so many of each.
        grace_s: seconds for which a tree without a kernel's record is left alone.

    Kernels that are pinned or in use (``Store.in_use``) are kept in any case.  Without any limit, gc
    removes only litter: unfinished trees of dead processes, and what no kernel's record names.
    """

    max_age_s: float | None = None
    max_kernels: int | None = None
    max_size_bytes: int | None = None
    keep_latest_per_device: int = 0
    grace_s: float = GRACE_S


@dataclass(frozen=True, slots=True)
class Collected:
    """What gc removed, or would remove.

    Attributes:
        removed: the kernels, least recently used first.
        kept: how many kernels are left.
        trees: the names of the trees that went.
        archives: the sha256 of the archives that went.
        configs: the sha256 of the configurations that went.
        broken: files among the records that are no records; they stay, and with them every tree and archive
            that no other record names, because it may be theirs.
        litter: how many unfinished things of dead processes went.
        freed_bytes: how much disk that gave back, or would: what another tree shares is not freed.
    """

    removed: tuple[KernelRecord, ...]
    kept: int
    trees: tuple[str, ...]
    archives: tuple[str, ...]
    broken: tuple[BrokenRecord, ...]
    litter: int
    freed_bytes: int
    configs: tuple[str, ...] = ()


def collect(store: Store, policy: Policy | None = None, *, dry_run: bool = False) -> Collected:
    """Remove the kernels that the policy is against, and everything that nothing refers to.

    Args:
        store: the store.
        policy: what to remove; None removes no kernel.
        dry_run: only say what would be removed.

    Returns:
        What was removed.

    Raises:
        StoreError: the disk failed.

    Guarantees:
        A pull that runs at the same time keeps the tree that it has found or published.
    """
    policy = policy or Policy()
    if not store.exists:
        return Collected((), 0, (), (), (), 0, 0)
    # Only a limit on the size needs to know what all of it takes; what is about to go is not written down.
    usage = None if policy.max_size_bytes is None else Usage.of(store, remember=False)
    freed = Freed()
    litter = 0
    if dry_run:
        # Alone, because looking at locks takes them for a moment.
        may_lock = os.access(store.root / paths.LOCKS, os.W_OK)
        with store.guarded(exclusive=True) if may_lock else nullcontext():
            made = plan(store, policy.grace_s, _choose(store, policy, usage))
        for path in (*made.files, *made.trees):
            freed.add(path)
    else:
        litter = scratch.sweep(store.root, on_removal=freed.add)
        made = _carry_out(
            store, lambda: plan(store, policy.grace_s, _choose(store, policy, usage)), freed
        )
    return made.collected(litter, freed)


def remove(store: Store, key: str) -> Collected:
    """Forget one kernel, with its pin, and remove its tree and archive unless another kernel needs them.

    Args:
        store: the store.
        key: the kernel's whole key.

    Returns:
        What was removed.

    Raises:
        StoreError: there is no such kernel, a running command uses it, or the disk failed.
    """

    def decide() -> Plan:
        record = store.read_kernel(store.kernel_path(key))
        if record is None:
            raise StoreError(
                f"no kernel {key} is staged in {store.root}", step="removing the kernel"
            )
        if is_locked(store.use_lock_path(key)):
            raise StoreError(
                f"kernel {key[:12]} is being used by a running command",
                step="removing the kernel",
                hint="let it finish, then run the same command again",
            )
        return plan(store, GRACE_S, [record])

    freed = Freed()
    return _carry_out(store, decide, freed).collected(0, freed)


def _carry_out(store: Store, decide: Callable[[], Plan], freed: Freed) -> Plan:
    """Decide and act while the store's own lock is held alone: nothing is used or pinned in between.

    What goes is added to `freed`.
    """
    folder, lock_fd = scratch.make_folder(store.root)
    try:
        with wrapped("removing kernels", store.root), store.guarded(exclusive=True):
            made = decide()
            made.carry_out(folder, freed)
            meanings.refresh(store)
        # Nobody need wait for this.
        for tree in made.trees:
            freed.add(folder / tree.name)
    finally:
        scratch.discard(folder, lock_fd)
    return made


def _choose(store: Store, policy: Policy, usage: Usage | None) -> list[KernelRecord]:
    """The kernels to remove, least recently used first."""
    records = sorted(store.records(), key=lambda record: (_last_use(record), record.key))
    protected = set(store.pinned()) | _latest_per_device(store, records, policy)
    now = store.now()
    too_many = len(records) - policy.max_kernels if policy.max_kernels is not None else 0
    size_bytes = 0 if usage is None else usage.total_bytes
    remaining = Counter(record.tree for record in records)
    configs = Counter(record.identity.config_sha256 for record in records)
    doomed = []
    for record in records:
        too_old = policy.max_age_s is not None and now - _last_use(record) > policy.max_age_s
        too_big = policy.max_size_bytes is not None and size_bytes > policy.max_size_bytes
        if not (too_old or too_many > 0 or too_big) or record.key in protected:
            continue
        if is_locked(store.use_lock_path(record.key)):
            continue
        doomed.append(record)
        too_many -= 1
        remaining[record.tree] -= 1
        config = record.identity.config_sha256
        configs[config] -= 1
        if usage is None:
            continue
        files = [store.kernel_path(record.key)]
        if config is not None and paths.SHA256.fullmatch(config) and not configs[config]:
            files.append(store.config_path(config))
        size_bytes -= Blocks.at(*files).size_bytes
        if not remaining[record.tree]:
            size_bytes -= usage.remove(record.tree)
    return doomed


def _latest_per_device(store: Store, records: Iterable[KernelRecord], policy: Policy) -> set[str]:
    count = policy.keep_latest_per_device
    if count <= 0:
        return set()
    present = {record.key for record in records}
    kept: set[str] = set()
    histories = {device.serial: device.history for device in store.devices()}
    known = frozenset(histories)
    for record in sorted(records, key=lambda record: -record.staged_at):
        # A device whose own record is broken has at least what was staged for it.
        if record.serial is not None and record.serial not in known:
            histories[record.serial] = (*histories.get(record.serial, ()), record.key)
    for history in histories.values():
        kept.update([key for key in history if key in present][:count])
    return kept


def _last_use(record: KernelRecord) -> float:
    return record.staged_at if record.last_used_at is None else record.last_used_at


@dataclass(frozen=True, slots=True)
class Plan:
    """One consistent look at the store: what is to go.  To act on it, hold the store's lock alone.

    Attributes:
        removed: the kernels that go, least recently used first.
        kept: how many stay.
        broken: files among the records that are no records; they stay.
        trees: where the trees are that go.
        archives: the sha256 of the archives that go.
        configs: the sha256 of the configurations that go.
        files: all files that go, in the order in which they must: whatever names a tree comes before it.
        restamped: trees that stay, and the time of use that they are given: they must not look as if the
            kernels that go were about to be recorded.
    """

    removed: tuple[KernelRecord, ...]
    kept: int
    broken: tuple[BrokenRecord, ...]
    trees: tuple[Path, ...]
    archives: tuple[str, ...]
    configs: tuple[str, ...]
    files: tuple[Path, ...]
    restamped: tuple[tuple[Path, float], ...]

    def carry_out(self, folder: Path, freed: Freed) -> None:
        """Take it all away; the trees go to a folder, to be deleted at leisure, the files to `freed`."""
        for path in self.files:
            freed.add(path)
            path.unlink(missing_ok=True)
        for tree in self.trees:
            tree.rename(folder / tree.name)
        for path, used_at in self.restamped:
            os.utime(path, (used_at, used_at))

    def collected(self, litter: int, freed: Freed) -> Collected:
        """What was or would be removed."""
        return Collected(
            removed=self.removed,
            kept=self.kept,
            trees=tuple(tree.name for tree in self.trees),
            archives=self.archives,
            broken=self.broken,
            litter=litter,
            freed_bytes=freed.size_bytes,
            configs=self.configs,
        )


def plan(store: Store, grace_s: float, doomed: Iterable[KernelRecord]) -> Plan:
    """What goes with the kernels that are doomed, and whatever nothing refers to any more.

    Args:
        store: the store.
        grace_s: seconds for which a tree without a kernel's record is left alone.
        doomed: kernels of the store.

    Raises:
        StoreError: the disk failed.  What cannot be read may be needed, so that nothing goes then.
    """
    removed = tuple(doomed)
    gone = {record.key for record in removed}
    scan = store.scan()
    kept = [record for record in scan.records if record.key not in gone]
    unknown = {found.key for found in scan.broken if found.key is not None}
    kernels = {record.key for record in kept} | unknown
    needed = {record.tree for record in kept}
    # Nobody can tell whose trees the broken records name.
    trees = [] if unknown else sorted(_unneeded(store, grace_s, needed, removed))
    left = {path.name for path in store.listing(paths.TREES)}.difference(trees)
    # With its archive, a tree that somebody deleted by hand can be put back.
    needed_archives = {tree.partition("-")[0] for tree in left | needed}
    needed_configs = {record.identity.config_sha256 for record in kept}
    archives, configs = (
        tuple(
            sha256
            for path in store.listing(folder)
            if paths.SHA256.fullmatch(sha256 := path.name.removesuffix(suffix))
            and sha256 not in still
            and not unknown
        )
        for folder, suffix, still in (
            (paths.ARCHIVES, ".tar.xz", needed_archives),
            (paths.CONFIGS, ".gz", needed_configs),
        )
    )
    files = (
        *(store.kernel_path(key) for key in gone),
        *(store.use_lock_path(key) for key in gone),
        *(
            store.device_path(device.serial)
            for device in store.devices()
            if not kernels & {device.kernel, *device.history}
        ),
        *turns.without(store, kernels),
        # A pin without a record was set by somebody, and is obeyed again once its kernel is.
        *(path for path in store.listing(paths.PINS) if path.name in gone),
        *(
            path
            for path in store.listing(paths.MANIFESTS)
            if paths.TREE.fullmatch(tree := path.name.removesuffix(".manifest"))
            and tree not in left | needed
            and not unknown
        ),
        *(store.archive_path(sha256) for sha256 in archives),
        *(store.config_path(sha256) for sha256 in configs),
        *(store.tree_lock_path(tree) for tree in trees),
        *(
            path
            for path in store.listing(paths.SIZES)
            if paths.TREE.fullmatch(path.name) and path.name not in left
        ),
    )
    return Plan(
        removed=removed,
        kept=len(kept),
        broken=scan.broken,
        trees=tuple(map(store.tree_path, trees)),
        archives=archives,
        configs=configs,
        files=files,
        restamped=tuple(_restamps(store, removed, kept, trees)),
    )


def _unneeded(
    store: Store,
    grace_s: float,
    needed: set[str],
    removed: tuple[KernelRecord, ...],
) -> Iterator[str]:
    """The trees that no record names, that nobody is about to record, and that nobody uses."""
    for path in store.listing(paths.TREES):
        tree = path.name
        if paths.TREE.fullmatch(tree) is None or tree in needed:
            continue
        stamp, last_use = _stamp(path), _last_use_of(tree, removed)
        if stamp is None:
            continue  # it went just now
        is_recorded_next = last_use is None or stamp > last_use
        if is_recorded_next and store.now() - stamp < grace_s:
            continue
        if not is_locked(store.tree_lock_path(tree)):
            yield tree


def _restamps(
    store: Store,
    removed: Iterable[KernelRecord],
    kept: Iterable[KernelRecord],
    trees: Iterable[str],
) -> Iterator[tuple[Path, float]]:
    for tree in {record.tree for record in removed}.difference(trees):
        path = store.tree_path(tree)
        stamp, last_use = _stamp(path), _last_use_of(tree, removed)
        still = _last_use_of(tree, kept)
        if stamp is None or last_use is None or still is None or stamp > last_use:
            continue
        yield path, still


def _last_use_of(tree: str, records: Iterable[KernelRecord]) -> float | None:
    return max((_last_use(record) for record in records if record.tree == tree), default=None)


def _stamp(path: Path) -> float | None:
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return None
