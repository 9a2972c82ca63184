"""The tools in a device's PATH: some of the host's, and those of ``device_bin`` that lie."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

TOOLS = Path(__file__).parent / "device_bin"
RUNS_AS_UID = 2000 if os.geteuid() == 0 else os.geteuid()
OTHER_UID = 10_123
"""An app's user; only root can make files of another user, so tests of them need it."""

_HOST_TOOLS = """
    awk basename cat chmod cmp cp cut date dd dirname du echo env expr false find grep gzip head kill
    ln ls md5sum mkdir mktemp mv nohup od printf readlink realpath rm rmdir sed seq sh sha256sum sleep sort
    stat sync tail tar tee test timeout touch tr true uniq wc xargs zcat
"""


@functools.cache
def _host_tools() -> tuple[tuple[str, str], ...]:
    """The host's tools that a device has as well: name and path."""
    names = {name: name for name in _HOST_TOOLS.split()} | {"host-base64": "base64"}
    found = ((name, shutil.which(theirs)) for name, theirs in names.items())
    return tuple((name, path) for name, path in found if path is not None)


def toolbox(place: Path, su_name: str, without: tuple[str, ...]) -> Path:
    """The folder of tools below ``place``, shared by all devices that have the same ones."""
    su = [] if "/" in su_name else [su_name]
    folder = place / "-".join(["bin", *su, *without])
    if folder.is_dir():
        return folder
    folder.mkdir()
    for name, found in _host_tools():
        if name not in without:
            (folder / name).symlink_to(found)
    for script in TOOLS.iterdir():
        names = su if script.name == "su" else [script.name]
        for name in names:
            if name not in without:
                # Copied, as the checkout may lie where only its owner can go.
                shutil.copy(script, folder / name)
                (folder / name).chmod(0o755)
    return folder


def shim(place: Path, name: str) -> Path:
    """A library that lets system calls fail, made of ``name``.c once below ``place``."""
    library = place / f"{name}.so"
    if not library.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise RuntimeError("faults of the system need a C compiler (apt install gcc libc6-dev)")
        source = Path(__file__).with_name(f"{name}.c")
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]
        subprocess.run([*command, library, source], check=True)
    return library


def own(path: Path) -> None:
    """Give a file to the user that commands run as, unless it is another one's."""
    if os.geteuid() == 0 and path.lstat().st_uid != OTHER_UID:
        os.chown(path, RUNS_AS_UID, RUNS_AS_UID, follow_symlinks=False)
