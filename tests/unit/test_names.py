"""What `import kheaders_adb` promises, and what it must not cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kheaders_adb
from kheaders_adb.api.keeping import Store

# What a command that only looks into the store has no use for.
NEEDLESS = {
    "adbutils",
    "logging",
    "requests",
    "PIL",
    "pydantic",
    "rich",
    "tqdm",
    "elftools",
    "tarfile",
}


def run(code: str, **environ: str) -> str:
    """Run `code` in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_exported_names() -> None:
    assert kheaders_adb.__all__ == [
        "Collected",
        "Device",
        "KheadersError",
        "Level",
        "Outcome",
        "Part",
        "Privilege",
        "Staged",
        "StagedKernel",
        "Store",
        "Verdict",
        "Verified",
        "Via",
        "__version__",
        "ensure",
        "ensure_all",
        "errors",
        "staged",
    ]
    assert dir(kheaders_adb) == kheaders_adb.__all__


def test_every_exported_name_is_there_and_is_the_real_one() -> None:
    for name in kheaders_adb.__all__:
        assert getattr(kheaders_adb, name) is not None
    assert kheaders_adb.Store is Store
    namespace: dict[str, object] = {}
    exec("from kheaders_adb import *", namespace)
    assert set(kheaders_adb.__all__) - {"__version__"} <= namespace.keys()


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="'kheaders_adb' has no attribute 'esnure'"):
        _ = kheaders_adb.esnure


def test_importing_the_package_imports_none_of_its_parts() -> None:
    code = (
        "import sys, json; before = set(sys.modules); import kheaders_adb;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = set(json.loads(run(code)))
    assert "kheaders_adb" in loaded
    assert not {name for name in loaded if name.startswith("kheaders_adb.")}
    assert not loaded & {*NEEDLESS, "typer", "click", "socket"}


def test_path_neither_opens_a_socket_nor_imports_what_a_device_needs(tmp_path: Path) -> None:
    """`path` runs in Makefiles, once for each object: it must cost no more than it has to."""
    code = (
        "import sys, json\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, _: opened.append(event) if event[:7] == 'socket.' else None)\n"
        "from kheaders_adb.cli.main import main\n"
        "sys.argv[1:] = ['path']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as ended:\n"
        "    print(json.dumps([ended.code, opened, sorted(sys.modules)]))\n"
    )
    code_given, opened, loaded = json.loads(run(code, KHEADERS_ADB_STORE=str(tmp_path / "store")))
    assert code_given == 2, "an empty store has no kernel"
    assert opened == []
    roots = {name.split(".")[0] for name in loaded}
    assert "kheaders_adb.store.store" in loaded
    assert not roots & NEEDLESS
    assert not {name for name in loaded if name.startswith("kheaders_adb.device.")}
    assert not {*loaded} & {f"kheaders_adb.cli.{name}" for name in ("help", "page", "examples")}
