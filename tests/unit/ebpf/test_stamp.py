"""The file of flags: what clang and a shell read in it, and when it changes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kheaders_adb.ebpf.stamp import format_arguments, write_stamp
from kheaders_adb.errors import UsageError

NASTY = ["-Ia b", "-I'c\"d", "-DE=\\\\f$HOME`id`#;", "-I\tg*~{h,i}", "-DJ=(k|l&m)<>!", "-In\u00e9"]


def test_clang_and_a_shell_read_the_flags(each_clang: Path, tmp_path: Path) -> None:
    stamp = tmp_path / "flags"
    assert write_stamp(stamp, NASTY)
    said = subprocess.run(
        [each_clang, "-###", "@flags", "-c", "-x", "c", "/dev/null"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    quoted = [flag.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") for flag in NASTY]
    for flag in quoted:
        # clang gives the value of -I and -D as a word of its own.
        assert f'"{flag[:2]}" "{flag[2:]}"' in said, said
    told = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {format_arguments(NASTY)}"], capture_output=True, check=True
    ).stdout
    assert told == os.fsencode("\n".join(NASTY) + "\n")


def test_it_is_touched_only_if_the_flags_change(tmp_path: Path) -> None:
    stamp, real = tmp_path / "flags", tmp_path / "real"
    stamp.symlink_to(real)
    assert write_stamp(stamp, ["-O2"])
    before = real.stat()
    assert not write_stamp(stamp, ["-O2"])
    assert real.stat() == before
    assert write_stamp(stamp, ["-O"])
    assert stamp.is_symlink()
    assert real.read_text() == "-O\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flags", "real"]


@pytest.mark.parametrize("name", [".", "absent/flags", "pipe"])
def test_what_can_hold_no_flags_is_refused(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="writing the flags"):
        write_stamp(tmp_path / name, ["-O2"])


def test_a_changed_file_keeps_its_mode_and_a_new_one_has_the_usual(tmp_path: Path) -> None:
    stamp = tmp_path / "flags"
    before = os.umask(0o027)
    try:
        assert write_stamp(stamp, ["-O2"])
        assert stamp.stat().st_mode & 0o7777 == 0o640
        stamp.chmod(0o604)
        assert write_stamp(stamp, ["-O1"])
    finally:
        os.umask(before)
    assert stamp.stat().st_mode & 0o7777 == 0o604


@pytest.mark.parametrize("flag", ["-Ia\nb", "-Ia\rb"])
def test_a_line_break_is_refused_by_name(flag: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line break") as caught:
        write_stamp(tmp_path / "flags", ["-O2", flag])
    assert repr(flag) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_name_is_not_written_anew(tmp_path: Path) -> None:
    with (tmp_path / "gone").open("w") as file:
        (tmp_path / "gone").unlink()
        with pytest.raises(UsageError, match="leads nowhere"):
            write_stamp(Path(f"/proc/self/fd/{file.fileno()}"), ["-O2"])
    assert list(tmp_path.iterdir()) == []
