"""The client under test, driven as its users drive it, and a look at its store with other eyes."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import stat
import tarfile
from pathlib import Path
from typing import Any

from kheaders_adb.adb.address import ServerAddress
from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device
from kheaders_adb.model import Staged
from kheaders_adb.pipeline.ensure import ensure
from kheaders_adb.pipeline.options import Options
from kheaders_adb.store import Store


def pull(
    port: int,
    store: Path,
    *,
    serial: str | None,
    timeout_s: float,
    **options: Any,
) -> Staged:
    """Pull from a fake server's device as ``kheaders-adb pull`` does; raises the library's errors.

    Args:
        options: those of `pipeline.Options`.
    """
    server = AdbServer(ServerAddress("127.0.0.1", port), start=False)
    device = Device.select(server, Selection(serial=serial), Deadline.after(timeout_s))
    return ensure(device, Store.open(store), Options(**options))


def store_problems(store: Path, archives: dict[str, bytes]) -> list[str]:
    """What is wrong with a store in which nothing but these archives (by sha256) may be staged.

    Reads the layout that docs/store.md describes with the standard library alone, so that an error in the
    store's own `verify` cannot hide one in its staging.
    """
    if not store.exists():
        return []
    problems = [f"litter: {path}" for path in (store / "tmp").rglob("*")]
    for path in (store / "archives").iterdir():
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.name != f"{sha256}.tar.xz" or sha256 not in archives:
            problems.append(f"a foreign archive: {path}")
    for tree in (store / "trees").iterdir():
        if tree.name not in archives:
            problems.append(f"a foreign tree: {tree}")
        else:
            problems += _tree_problems(tree, archives[tree.name])
    for path in (store / "kernels").glob("*.json"):
        tree_name = json.loads(path.read_text())["tree"]
        if not (store / "trees" / tree_name).is_dir():
            problems.append(f"{path.name} names a tree that is not there: {tree_name}")
    return problems


def _tree_problems(tree: Path, archive: bytes) -> list[str]:
    expected: dict[str, bytes | None] = {}
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(archive))) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            expected[member.name.removeprefix("./")] = file.read() if file else None
    expected.pop(".", None)
    found: dict[str, bytes | None] = {}
    for path in tree.rglob("*"):
        content = path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None
        found[str(path.relative_to(tree))] = content
    wrong = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    wrong += sorted(expected.keys() ^ found.keys())
    return [f"{tree.name}: {name} is not as in the archive" for name in wrong[:3]]
