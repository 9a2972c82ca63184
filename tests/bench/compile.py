"""``compile`` against clang's own two runs with the same flags, on the headers of a real kernel."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from fixtures.lab import Lab
from kheaders_adb.archive.carve import carve_module
from kheaders_adb.ebpf.clang import find_clang
from kheaders_adb.store import Store
from tests.bench.pairs import Pairs, command, measure
from tests.lab.cli import PROGRAM, environment
from tests.unit.store.helpers import identity, record, stage

_PROGRAMS = Path(__file__).parents[1] / "ebpf_programs"


def bench(pairs: int) -> list[Pairs]:
    """Compile a program that reads kernel structures, and one that only looks at packets."""
    with tempfile.TemporaryDirectory(prefix="kheaders-bench-") as folder:
        root = Path(folder)
        store = Store.open(root / "store")
        module = Lab().kernel("x86_64-stock").kheaders_ko
        assert module is not None
        archive, tree = stage(store, carve_module(module).archive)
        store.record(record(identity(), archive, tree))
        return [
            _measure(_PROGRAMS / f"{name}.bpf.c", root, pairs)
            for name in ("tcpconnect", "xdp_drop")
        ]


def _measure(program: Path, root: Path, pairs: int) -> Pairs:
    clang = find_clang()
    environ = environment(1, root / "store") | {"CLANG": str(clang)}
    front, back = (
        json.loads(
            subprocess.run(
                [PROGRAM, "cflags", "--format", "json", "--stage", name],
                env=environ,
                capture_output=True,
                check=True,
            ).stdout
        )
        for name in ("front", "bpf")
    )
    first = command([clang, *front, "-c", program, "-o", root / "theirs.bc"])
    second = command([clang, *back, "-c", root / "theirs.bc", "-o", root / "theirs.o"])

    def theirs() -> None:
        first()
        second()

    ours = command(
        [PROGRAM, "compile", "--kernel", "latest", "-o", root / "ours.o", program], environ
    )
    name = f"compile {program.name} / clang's own two runs"
    return measure(name, ours, theirs, pairs=pairs, limit=1.15)
