"""Each real kheaders.ko at hand is carved, imported and verified, and its tree is what GNU tar extracts.

    KHEADERS_FIELD=DIR make field

DIR is searched for files named like kheaders.ko, packed ones too.  Nothing is written to it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.archive.carve import carve_module

_DIR = os.environ.get("KHEADERS_FIELD")


def modules() -> list[Any]:
    """A parameter for each module; without a folder, one that says so."""
    if not _DIR:
        reason = "KHEADERS_FIELD names no folder of real kheaders.ko files"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    top = Path(_DIR)
    found = sorted(path for path in top.rglob("*kheaders*.ko*") if path.is_file())
    return [pytest.param(path, id=str(path.relative_to(top))) for path in found]


def test_the_folder_holds_some() -> None:
    """A wrong folder must not look like success."""
    if not _DIR:
        pytest.skip("KHEADERS_FIELD names no folder of real kheaders.ko files")
    assert modules(), f"no file named like kheaders.ko in {_DIR}"


def program(*arguments: str, store: Path) -> dict[str, Any]:
    """What the real program prints with ``--json``."""
    done = subprocess.run(
        [sys.executable, "-m", "kheaders_adb", *arguments, "--store", store, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("module", modules())
def test_a_real_module(module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    carved = carve_module(module)
    archive, store, extracted = (tmp_path / name for name in ("kheaders.tar.xz", "store", "tar"))
    archive.write_bytes(carved.archive)

    started_s = time.perf_counter()
    staged = program("import", str(archive), store=store)
    imported_s = time.perf_counter()
    verified = program("verify", store=store)
    verified_s = time.perf_counter()

    release = staged["kernel"]["release"]
    assert (carved.vermagic or "").split(" ")[0] == release, "the module is of the archive's kernel"
    omitted, count = staged["archive"]["omitted"], staged["archive"]["omitted_count"]
    assert verified["ok"]
    assert verified["problems"] == []
    assert verified["omitted"] == count

    extracted.mkdir()
    subprocess.run(["tar", "-xJf", archive, "-C", extracted], check=True)
    ours, theirs = Path(staged["tree"]), listing(extracted)
    gone = theirs.keys() - listing(ours).keys()
    assert listing(ours) == {path: each for path, each in theirs.items() if path not in gone}
    assert len(gone) == count
    assert {link["path"] for link in omitted} <= gone
    for path in gone:
        assert not leads_to_a_file(extracted, path), f"{path} was left out, but leads to a file"
    assert staged["archive"]["members"] == len(theirs)

    kinds = Counter(kind for kind, _ in theirs.values())
    with capsys.disabled():
        print(
            f"\n{module.name}: {release}, {len(carved.archive)} bytes, {len(theirs)} members "
            f"({kinds['file']} files, {kinds['folder']} folders, {kinds['link']} links), {count} left out "
            f"{[link['path'] for link in omitted]}; import {imported_s - started_s:.1f} s, "
            f"verify {verified_s - imported_s:.1f} s"
        )
    shutil.rmtree(tmp_path)  # a folder of phones would fill the disk


def listing(top: Path) -> dict[str, tuple[str, bytes]]:
    """What lies below a folder: its kind, and its content or where it leads."""
    found: dict[str, tuple[str, bytes]] = {}
    for parent, folders, files in os.walk(top):
        for name in folders + files:
            path = Path(parent, name)
            if path.is_symlink():
                entry = ("link", os.fsencode(path.readlink()))
            elif path.is_dir():
                entry = ("folder", b"")
            else:
                entry = ("file", path.read_bytes())
            found[str(path.relative_to(top))] = entry
    return found


def leads_to_a_file(top: Path, link: str) -> bool:
    """Whether a link of an extracted archive leads straight to one of its files, as the system follows it."""
    target = (top / link).readlink()
    way = (top / link).parent
    if target.is_absolute():
        return False
    for part in target.parts:
        way = way.parent if part == ".." else way / part
        if way.is_symlink() or not way.is_relative_to(top):
            return False
    return way.is_file()
