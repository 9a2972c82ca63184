"""The lab's parts that need no guest: apt entries, archives, the cache, handed-in images."""

from __future__ import annotations

import hashlib
import logging
import lzma
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from fixtures.lab import Arch, BootOptions, KernelImage, Kind, LabError, Userland
from fixtures.lab.apt import private_sources
from fixtures.lab.bpf import parse
from fixtures.lab.cache import built
from fixtures.lab.cpio import Cpio
from fixtures.lab.guest import boot_archive
from fixtures.lab.headers import without_comments, write_archive
from fixtures.lab.kbuild import write_build_tree
from fixtures.lab.kernels import CATALOGUE, RECIPES, Family, image_of
from fixtures.lab.model import image_release
from fixtures.lab.prebuilt import Prebuilt


def test_one_line_entries_gain_sources_and_lose_their_architecture() -> None:
    text = (
        "# deb http://old.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://deb.debian.org/debian bookworm main contrib\n"
        "deb-src http://deb.debian.org/debian bookworm main\n"
        "deb https://packages.example.com/apt stable main\n"
    )
    assert private_sources({"sources.list": text})["sources.list"].splitlines() == [
        "deb [signed-by=/k.gpg] http://deb.debian.org/debian bookworm main contrib",
        "deb-src [signed-by=/k.gpg] http://deb.debian.org/debian bookworm main contrib",
    ]


def test_deb822_entries_gain_sources_and_lose_their_architecture() -> None:
    text = (
        "Types: deb\n# a comment\nURIs: http://deb.debian.org/debian-security\n"
        "Suites: bookworm-security\nComponents: main\nArchitectures: amd64\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"
        "\n"
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: sid\nEnabled: no\n"
        "\n"
        "Types: deb\nURIs: https://deb.nodesource.com/node_20.x\nSuites: nodistro\n"
    )
    assert private_sources({"debian.sources": text})["debian.sources"] == (
        "Types: deb deb-src\nURIs: http://deb.debian.org/debian-security\n"
        "Suites: bookworm-security\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"
    )


def test_a_system_without_entries_of_its_distribution_says_so() -> None:
    with pytest.raises(LabError, match="no entry for the distribution"):
        private_sources({"other.list": "deb https://packages.example.com/apt stable main\n"})


def test_comments_go_but_licences_stay() -> None:
    text = b"/* SPDX-License-Identifier: GPL-2.0 */\n/* a\n * b */int a; /* c */ int /**/ b;\n"
    kept = b"/* SPDX-License-Identifier: GPL-2.0 */\nint a;  int  b;\n"
    assert without_comments(text) == kept


def test_an_archive_of_two_trees_is_merged_and_the_later_wins(tmp_path: Path) -> None:
    for tree, text in (("one", "1"), ("two", "2")):
        folder = tmp_path / tree / "include" / "generated"
        folder.mkdir(parents=True)
        (folder / "autoconf.h").write_text(text)
        (folder / f"{tree}.h").write_text(text)
        (folder / "utsversion.h").write_text(text)
        (folder / "Makefile").write_text(text)
    target = tmp_path / "kheaders.tar.xz"
    write_archive([tmp_path / "one", tmp_path / "two"], "x86", target)
    with lzma.open(target) as raw, tarfile.open(fileobj=raw) as tar:
        assert tar.getnames() == [
            ".",
            "./include",
            "./include/generated",
            "./include/generated/autoconf.h",
            "./include/generated/one.h",
            "./include/generated/two.h",
        ]
        merged = tar.extractfile("./include/generated/autoconf.h")
        assert merged is not None
        assert merged.read() == b"2"


def test_a_build_tree_is_packed_without_objects_and_without_this_machine(tmp_path: Path) -> None:
    objects, target = tmp_path / "objects", tmp_path / "build.tar.xz"
    for name, text in {
        ".config": "CONFIG_X=y\n",
        "Makefile": "include /some/source/Makefile\n",
        "include/generated/autoconf.h": "#define CONFIG_X 1\n",
        "include/config/X": "",
        "include/generated/.odd.h.cmd": "how it was made",
        "arch/x86/include/generated/asm/odd.h": "",
        "arch/x86/kernel/odd.o": "code",
        "vmlinux": "code",
    }.items():
        (objects / name).parent.mkdir(parents=True, exist_ok=True)
        (objects / name).write_text(text)
    (objects / "source").symlink_to("/some/source")
    write_build_tree(objects, target)
    with lzma.open(target) as raw, tarfile.open(fileobj=raw) as tar:
        makefile = tar.extractfile("./Makefile")
        assert makefile is not None
        assert makefile.read() == b"include @SOURCE@/Makefile\n"
        assert tar.getnames() == [
            "./.config",
            "./Makefile",
            "./arch/x86/include/generated/asm/odd.h",
            "./include/config/X",
            "./include/generated/autoconf.h",
        ]


def test_each_kernel_that_is_not_stock_has_a_recipe() -> None:
    from_source = {name for name, one in CATALOGUE.items() if one.family is not Family.STOCK}
    assert from_source == set(RECIPES)


def test_a_kernel_folder_is_known_by_its_files(tmp_path: Path) -> None:
    files = {
        name: tmp_path / name
        for name in ("kernel", "kheaders.ko", "kheaders-unsigned.ko", "build.tar.xz")
    }
    image = image_of(CATALOGUE["x86_64-signed"], files)
    assert (image.kheaders_ko, image.unsigned_ko, image.build_tree) == tuple(
        files[name] for name in ("kheaders.ko", "kheaders-unsigned.ko", "build.tar.xz")
    )


@pytest.mark.parametrize(
    ("config", "userland", "reason"),
    [
        ("# CONFIG_SECURITY_SELINUX is not set\n", Userland.ANDROID, "x has no SELinux"),
        ("CONFIG_SECURITY_SELINUX=y\n", Userland.BUSYBOX, "SELinux is for Android's userland"),
    ],
)
def test_where_selinux_cannot_be_enforced_no_guest_is_made(
    config: str, userland: Userland, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(config)
    kernel = KernelImage("x", Arch.X86_64, None, config=tmp_path / "config")
    options = BootOptions(selinux=True, userland=userland)
    with pytest.raises(LabError, match=reason):
        boot_archive(kernel, Kind.USER, options, tmp_path / "config", set())


def test_an_initramfs_is_what_cpio_reads(tmp_path: Path) -> None:
    archive = Cpio()
    archive.directory("tmp", 0o1777)
    archive.file("lab/bin/tool", b"odd", 0o755)
    archive.link("bin", "/lab/bin")
    (tmp_path / "a.cpio").write_bytes(archive.finished())
    listing = _list_cpio(tmp_path / "a.cpio")
    assert listing == {"tmp", "lab", "lab/bin", "lab/bin/tool", "bin"}


def _list_cpio(archive: Path) -> set[str]:
    """Read names as Documentation/driver-api/early-userspace/buffer-format.rst has them."""
    names: set[str] = set()
    data, at = archive.read_bytes(), 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        if name == "TRAILER!!!":
            return names
        names.add(name)
        at += (110 + fields[11] + 3) // 4 * 4
        at += (fields[6] + 3) // 4 * 4


def test_releases_are_read_from_images_of_both_architectures() -> None:
    bzimage = bytearray(0x300)
    bzimage[0x202:0x206] = b"HdrS"
    bzimage[0x20E:0x210] = (0x80).to_bytes(2, "little")
    bzimage[0x280:0x2A0] = b"6.1.1-lab (lab@lab) #1".ljust(0x20, b"\0")
    assert image_release(bytes(bzimage)) == "6.1.1-lab"
    assert image_release(b"\0MZ..Linux version 6.1.2-lab (lab@lab) (gcc") == "6.1.2-lab"
    assert image_release(b"neither") == ""


def test_a_handed_in_file_that_differs_is_an_error(tmp_path: Path) -> None:
    kernel = tmp_path / "kernels" / "x" / "kernel"
    kernel.parent.mkdir(parents=True)
    kernel.write_bytes(b"image")
    digest = hashlib.sha256(b"image").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  kernels/x/kernel\n")
    assert Prebuilt.open(tmp_path).kernel_files("x") == {"kernel": kernel}
    assert Prebuilt.open(tmp_path).kernel_files("y") == {}
    kernel.write_bytes(b"other")
    with pytest.raises(LabError, match="SHA256SUMS says"):
        Prebuilt.open(tmp_path).kernel_files("x")


def test_a_build_that_fails_leaves_nothing_and_the_next_succeeds(tmp_path: Path) -> None:
    def fails(directory: Path) -> None:
        (directory / "half").write_text("done")
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError):
        built("kernels/one", fails, tmp_path)
    assert list((tmp_path / "kernels").iterdir()) == []
    made = built("kernels/one", lambda target: (target / "whole").touch(), tmp_path)
    assert [path.name for path in made.iterdir()] == ["whole"]


def test_two_processes_build_a_thing_once(tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from pathlib import Path; from fixtures.lab.cache import built\n"
        "root = Path(sys.argv[1])\n"
        "def build(target):\n"
        "    time.sleep(0.2); (root / f'by-{os.getpid()}').touch(); (target / 'made').touch()\n"
        "print(built('a/thing', build, root))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert outputs == [str(tmp_path / "a" / "thing")] * 3
    assert len(list(tmp_path.glob("by-*"))) == 1


def test_what_the_bpf_loader_prints_is_read() -> None:
    run = parse(
        "pid 7\nprogram p attached\nmap out 00000000 0700000000000000\nmap out 01000000 ff\n"
    )
    assert (run.pid, run.programs) == (7, {"p": "attached"})
    assert run.maps["out"][b"\x01\0\0\0"] == b"\xff"


def test_what_takes_a_while_is_told_as_it_begins_and_with_its_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fixtures.lab")
    at_start: list[str] = []
    for _ in range(2):  # what is there already is not told of
        built("thing", lambda _: at_start.extend(caplog.messages), tmp_path)
    assert at_start == ["building thing ..."]
    began, done = caplog.messages
    assert began == "building thing ..."
    assert re.fullmatch(r"building thing: done, \d+\.\d s", done)
