"""What a larger archive costs: 20,000 members beside 6,400, as ``python -m tests.bench.members``.

Both archives are made up, of the same kinds of members in the same proportions: folders of some thirty
headers, the empty stamps under include/config that kernels before 5.x pack, and links, some of which lead
nowhere.  What is done with an archive may take 3.5 times as long for 3.125 times the members.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fixtures.archives import writer
from fixtures.archives.rewrite import rewritten
from kheaders_adb.archive.reader import read_archive
from kheaders_adb.importing.from_archive import import_archive
from kheaders_adb.store import Store
from kheaders_adb.store.upkeep.gc import remove
from kheaders_adb.store.upkeep.verify import verify
from tests.bench.pairs import Pairs, measure

MANY, FEW = 20_000, 6_400
LIMIT = 3.5


def made_up(members: int) -> bytes:
    """An archive of so many members, the root not counted."""
    dice = random.Random(1)
    words = [f"{dice.getrandbits(40):010x}" for _ in range(3000)]
    parts = [
        writer.directory(b"./"),
        writer.directory(b"./include/"),
        writer.directory(b"./include/generated/"),
        writer.file(b"./include/generated/utsrelease.h", b'#define UTS_RELEASE "4.19.0"\n'),
        writer.file(b"./include/generated/autoconf.h", b"#define CONFIG_SMP 1\n"),
        writer.directory(b"./include/config/"),
    ]
    folder = b"./include/config"
    for number in range(len(parts) - 1, members):
        if number % 33 == 0:
            above = folder if folder.count(b"/") < 6 and number % 2 else b"./include"
            folder = b"%s/part%d" % (above, number)
            parts.append(writer.directory(folder + b"/"))
        elif number % 500 == 1:
            target = b"absent.h" if number % 1000 == 1 else b"header%d.h" % (number + 1)
            parts.append(writer.symlink(b"%s/link%d.h" % (folder, number), target))
        elif number % 3 == 1:
            parts.append(writer.file(b"./include/config/stamp%d.h" % number, b""))
        else:
            text = " ".join(dice.choices(words, k=dice.randrange(40, 900))).encode()
            parts.append(writer.file(b"%s/header%d.h" % (folder, number), text))
    return writer.xz(writer.tar(*parts))


def bench(pairs: int) -> Iterator[Pairs]:
    """Read, stage, verify and remove both."""
    place = Path(tempfile.mkdtemp(prefix="members-"))
    try:
        files = {}
        for count in (MANY, FEW):
            files[count] = place / f"{count}.tar.xz"
            files[count].write_bytes(made_up(count))

        def read(count: int) -> Callable[[], object]:
            data = files[count].read_bytes()
            return lambda: sum(1 for _ in read_archive([data]))

        numbers = itertools.count()

        def staged(count: int) -> Callable[[], object]:
            def run() -> None:
                store = place / f"store{next(numbers)}"
                import_archive(files[count], Store.open(store))
                shutil.rmtree(store)

            return run

        def shared(count: int) -> Callable[[], object]:
            """Staged anew beside a tree with the same contents, so that each file becomes a hard link."""
            store = Store.open(place / f"shared{count}")
            import_archive(files[count], store)
            other = place / f"{count}-again.tar.xz"
            other.write_bytes(_other(files[count]))

            def run() -> None:
                made = import_archive(other, store)
                remove(store, made.key)

            return run

        def verified(count: int) -> Callable[[], object]:
            store = Store.open(place / f"kept{count}")
            import_archive(files[count], store)
            return lambda: verify(store)

        def gone(count: int) -> Callable[[], object]:
            """Where somebody has removed all of a tree but its top."""
            store = Store.open(place / f"gone{count}")
            tree = store.tree_path(import_archive(files[count], store).tree)
            shutil.rmtree(tree / "include")
            return lambda: verify(store)

        for name, make in {
            "reading": read,
            "importing": staged,
            "importing beside its like": shared,
            "verifying": verified,
            "verifying what is gone": gone,
        }.items():
            yield measure(
                f"{name}, {MANY} / {FEW} members",
                make(MANY),
                make(FEW),
                pairs=pairs,
                limit=LIMIT,
            )
    finally:
        shutil.rmtree(place)


def _other(path: Path) -> bytes:
    """The same members under another digest, as of another release."""

    def renamed(name: str, content: bytes) -> bytes:
        return content.replace(b"4.19.0", b"4.19.1") if name.endswith("utsrelease.h") else content

    return rewritten(path.read_bytes(), renamed)


def main() -> None:
    """Measure, and print a row per comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9, help="counted pairs of runs (default 9)")
    arguments = parser.parse_args()
    print(f"{'':48} {'many':>9}  {'few':>9}  ratio")
    for pairs in bench(arguments.pairs):
        print(pairs.row, flush=True)


if __name__ == "__main__":
    main()
