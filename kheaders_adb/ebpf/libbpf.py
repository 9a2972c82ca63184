"""Finding libbpf's headers, and giving them to clang without the rest of /usr/include."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.untrusted.host_file import Kind, kind_of, require

# Where libbpf's `make install` and the distributions put it: spares pkg-config's process on most hosts.
_USUAL = (Path("/usr/local/include"), Path("/usr/include"), Path("/opt/homebrew/include"))

_MARK = "bpf_helpers.h"
_PKG_CONFIG_TIMEOUT_S = 20

INSTALL_HINT = (
    "install libbpf's headers (Debian and Ubuntu: apt install libbpf-dev; Fedora: dnf install "
    "libbpf-devel), or name their directory with --libbpf"
)


def find_libbpf(given: Path | None, links: Callable[[], Path]) -> Path | None:
    """Return a directory to put on the include path that holds libbpf's ``bpf/`` and nothing else.

    Args:
        given: what the user chose: an include directory, an installation prefix, a source tree whose
            headers were generated, or the directory of the headers itself.
        links: tells where a folder with a link in it may be kept, when the headers stand among others:
            /usr/include on the path would hide what the kernel's headers lack and mix the two.

    Without ``given``: what pkg-config says, or else the usual places; None when they have none.

    Raises:
        UsageError: the directory given holds no such headers.
        StoreError: the link cannot be made.
    """
    headers = _given(given) if given is not None else _installed()
    if headers is None:
        return None
    if headers.name == "bpf" and _stands_alone(headers):
        return headers.parent
    return _linked(headers, links())


def _given(directory: Path) -> Path:
    step = "looking for libbpf's headers"
    require(directory, Kind.FOLDER, step=step)
    tries = ("bpf", "include/bpf", "usr/include/bpf", ".", "src")
    for name in tries:
        headers = (directory / name).absolute()
        wanted = (headers / _MARK, headers / "bpf_helper_defs.h")
        if all(kind_of(path, step=step) is Kind.FILE for path in wanted):
            return headers.resolve() if name == "." else headers
    raise UsageError(
        f"{directory} holds neither bpf/{_MARK} nor bpf_helper_defs.h beside it",
        step=step,
        hint=INSTALL_HINT,
    )


def _installed() -> Path | None:
    pkg_config = shutil.which("pkg-config")
    if pkg_config is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(
                [pkg_config, "--variable=includedir", "libbpf"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PKG_CONFIG_TIMEOUT_S,
                check=True,
            )
            headers = Path(os.fsdecode(answer.stdout.strip())) / "bpf"
            if (headers / _MARK).is_file():
                return headers
    return next((path / "bpf" for path in _USUAL if (path / "bpf" / _MARK).is_file()), None)


def _stands_alone(headers: Path) -> bool:
    try:
        return [entry.name for entry in headers.parent.iterdir()] == ["bpf"]
    except OSError:  # it may be entered and not listed
        return False


def _linked(headers: Path, links: Path) -> Path:
    name = hashlib.sha256(os.fsencode(headers)).hexdigest()[:16]
    directory = links / "libbpf" / name
    link = directory / "bpf"
    if link.is_symlink() and link.readlink() == headers:
        return directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fresh = directory / f".{os.urandom(6).hex()}"
        fresh.symlink_to(headers)
        fresh.replace(link)
    except OSError as error:
        raise StoreError(
            f"{directory} cannot be written: {error.strerror}",
            step="linking libbpf's headers",
            hint="name a directory that holds only libbpf's bpf/ with --libbpf",
        ) from error
    return directory
