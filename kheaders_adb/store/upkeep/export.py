"""Taking an archive, a configuration or a tree out of the store."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from pathlib import Path

from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.store import configs, durable
from kheaders_adb.store.faults import store_error
from kheaders_adb.store.manifest import EntryKind
from kheaders_adb.store.records import KernelRecord
from kheaders_adb.store.store import Store
from kheaders_adb.untrusted.host_file import draft_of, drafted, writing

_STEP = "exporting"
_CHUNK_BYTES = 1 << 20
_DAMAGED = "run `kheaders-adb verify --all --repair`, and what that says"


def export_archive(store: Store, record: KernelRecord, output: Path) -> int:
    """Copy the archive's original bytes, checked against its sha256, to a file.

    Args:
        store: the store.
        record: the kernel.
        output: the file on the host.

    Returns:
        The number of bytes.

    Raises:
        UsageError: there is such a file already, or it cannot be one.
        StoreError: the archive is missing or damaged, or a disk failed; ``output`` is as before.
    """
    _refuse_existing(output)
    source = store.archive_path(record.archive.sha256)
    with drafted(output) as draft:
        with writing(output, step=_STEP), draft.open("xb") as target:
            try:
                file = source.open("rb")
            except FileNotFoundError as error:
                raise StoreError(f"{source} is not there", step=_STEP, hint=_DAMAGED) from error
            except OSError as error:
                raise store_error(error, step=_STEP, path=source) from error
            hashed, size_bytes = sha256(), 0
            with file:
                while chunk := file.read(_CHUNK_BYTES):
                    hashed.update(chunk)
                    size_bytes += len(chunk)
                    target.write(chunk)
            if hashed.hexdigest() != record.archive.sha256:
                raise StoreError(f"{source} is damaged", step=_STEP, hint=_DAMAGED)
            target.flush()
            os.fsync(target.fileno())
        with writing(output, step=_STEP):
            draft.rename(output)
    return size_bytes


def export_config(store: Store, record: KernelRecord, output: Path) -> int:
    """Copy the kernel's configuration, packed as the store has it and checked against its sha256, to a file.

    Args:
        store: the store.
        record: the kernel.
        output: the file on the host, as ``/proc/config.gz`` is on the device.

    Returns:
        The number of bytes.

    Raises:
        UsageError: there is such a file already, or it cannot be one.
        StoreError: none is kept, it is damaged, or a disk failed; ``output`` is as before.
    """
    _refuse_existing(output)
    digest = record.identity.config_sha256
    release = record.identity.release
    if digest is None:
        raise StoreError(
            f"no configuration of {release} is known: the kernel did not show it",
            step=_STEP,
            hint="kernels with CONFIG_IKCONFIG_PROC show it to a pull; `import --config` is told it",
        )
    path = store.config_path(digest)
    data = store.read_if_there(path)
    if data is None:
        raise StoreError(
            f"the configuration of {release} is not kept in {store.root}",
            step=_STEP,
            hint="`kheaders-adb pull` of that kernel keeps it",
        )
    if configs.unpack(data, digest) is None:
        raise StoreError(f"{path} is damaged", step=_STEP, hint=_DAMAGED)
    with drafted(output) as draft, writing(output, step=_STEP):
        with draft.open("xb") as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())
        draft.rename(output)
    return len(data)


def export_tree(store: Store, record: KernelRecord, output: Path) -> int:
    """Copy the tree, every file checked against its digest, to a new folder of ordinary writable files.

    Args:
        store: the store.
        record: the kernel.
        output: the folder on the host; it must not be there, or be empty.

    Returns:
        The number of files.

    Raises:
        UsageError: ``output`` is there and not empty, or cannot be written.
        StoreError: the tree is missing or damaged, or a disk failed; ``output`` is as before.
    """
    with writing(output, step=_STEP):
        if output.is_symlink() or (
            output.exists() and not (output.is_dir() and not any(output.iterdir()))
        ):
            raise UsageError(
                f"{output} is there already", step=_STEP, hint="give a new or an empty folder"
            )
    entries = store.tree_entries(record.tree)
    top = store.tree_path(record.tree)
    draft = draft_of(output)
    try:
        with writing(output, step=_STEP):
            draft.mkdir()
            files = 0
            for entry in entries:
                target = draft / entry.path
                if entry.kind is EntryKind.COLLIDED:
                    continue
                if entry.kind is EntryKind.DIRECTORY:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                if entry.target is not None:
                    target.symlink_to(entry.target)
                    continue
                try:
                    content = (top / entry.path).read_bytes()
                except FileNotFoundError:
                    content = b""
                if sha256(content).hexdigest() != entry.sha256:
                    raise StoreError(f"{top / entry.path} is damaged", step=_STEP, hint=_DAMAGED)
                target.write_bytes(content)
                files += 1
            draft.rename(output)
            durable.fsync_path(output.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return files


def _refuse_existing(output: Path) -> None:
    with writing(output, step=_STEP):
        if os.path.lexists(output):
            raise UsageError(
                f"{output} is there already",
                step=_STEP,
                hint="give another file with -o, or remove that one first",
            )
