"""Finding a clang, and telling what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from kheaders_adb.ebpf.clang import diagnose, find_clang
from kheaders_adb.errors import CompileError


def fake(directory: Path, name: str, *, version: str = "", targets: str = "bpf") -> Path:
    """A program that answers as a clang of this version and with these targets does."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(
        "#!/bin/sh\n"
        f'case $1 in --version) echo "{version}";; -print-targets) printf "    {targets} - x\\n";; esac\n'
    )
    path.chmod(0o755)
    return path


def test_what_the_user_names_is_taken(tmp_path: Path) -> None:
    fake(tmp_path, "clang")
    mine = fake(tmp_path, "my-clang")
    assert find_clang("my-clang", directories=[tmp_path]) == mine
    assert find_clang(str(mine), directories=[]) == mine
    with pytest.raises(CompileError, match="/no/clang is not an executable file"):
        find_clang("/no/clang", directories=[tmp_path])


def test_plain_clang_comes_before_numbered_ones(tmp_path: Path) -> None:
    fake(tmp_path, "clang-19")
    plain = fake(tmp_path, "clang")
    assert find_clang(directories=[tmp_path]) == plain


def test_the_newest_numbered_clang_of_all_folders(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    fake(first, "clang-9")
    newest = fake(first, "clang-16")
    fake(second, "clang-16")
    fake(second, "clang-cpp-20")
    (second / "clang-21").write_text("not executable")
    assert find_clang(directories=[tmp_path / "missing", first, second]) == newest


def test_no_clang_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no clang on PATH") as caught:
        find_clang(directories=[tmp_path])
    assert "apt install clang" in (caught.value.hint or "")
    fake(tmp_path, "clang-13")
    with pytest.raises(CompileError, match="clang-13 is too old"):
        find_clang(directories=[tmp_path])


@pytest.mark.parametrize(
    ("version", "targets", "message"),
    [
        ("Debian clang version 14.0.6", "bpf", None),
        ("Apple clang version 15.0.0 (clang-1500)", "aarch64", "without the bpf target"),
        ("Ubuntu clang version 13.0.1-2", "bpf", "is version 13, older than 14"),
        ("gcc (Debian 12.2.0-14) 12.2.0", "bpf", "is not clang"),
        ("clang version 19.1.7", "bpfel-only", "without the bpf target"),
    ],
)
def test_diagnosis(version: str, targets: str, message: str | None, tmp_path: Path) -> None:
    wrong = diagnose(fake(tmp_path, "clang", version=version, targets=targets))
    if message is None:
        assert wrong is None
    else:
        assert wrong is not None
        assert message in str(wrong)
        assert "install clang 14 or newer" in (wrong.hint or "")


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    path = tmp_path / "clang"
    path.write_text("")
    wrong = diagnose(path)
    assert wrong is not None
    assert "cannot be run" in str(wrong)
