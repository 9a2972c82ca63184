"""What other tools take of a staged kernel, got as the documentation says."""

from __future__ import annotations

import gzip
import tarfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from kheaders_adb.store import Store
from tests.unit.cli.conftest import Run
from tests.unit.ebpf.trees import tree_files
from tests.unit.store.helpers import identity, pack, record, stage

CONFIG = b"CONFIG_64BIT=y\nCONFIG_X86_64=y\n"


def test_lisa_gets_an_archive_and_a_configuration_to_lay_over_a_source_tree(
    run: Run, store_path: Path, tmp_path: Path
) -> None:
    """Its overlays: a tar archive, known by its sha256, and a packed file that becomes .config."""
    store = Store.open(store_path)
    data = pack({name: text.encode() for name, text in tree_files().items()})
    kernel = replace(identity(), config_sha256=sha256(CONFIG).hexdigest())
    archive, tree = stage(store, data)
    store.record(record(kernel, archive, tree), CONFIG)
    headers, config = tmp_path / "kheaders.tar.xz", tmp_path / "config.gz"
    assert run("export", "-o", headers).code == 0
    done = run("export", "--config", "-o", config, "--json")
    assert done.document == {
        "schema": 1,
        "kernel": {"key": kernel.key},
        "output": str(config),
    }
    assert sha256(headers.read_bytes()).hexdigest() == archive.sha256
    source = tmp_path / "linux"
    with tarfile.open(headers) as opened:
        opened.extractall(source, filter="tar")
    (source / ".config").write_bytes(gzip.decompress(config.read_bytes()))
    assert (source / "include/linux/kconfig.h").is_file()
    assert sha256((source / ".config").read_bytes()).hexdigest() == kernel.config_sha256


def test_one_thing_is_exported_at_a_time(run: Run) -> None:
    done = run("export", "--tree", "--config", "-o", "x")
    assert done.code == 2
    assert "--tree and --config exclude each other" in done.err
