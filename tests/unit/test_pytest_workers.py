"""What the workers of a run share: only what is surely theirs, and each does without it."""

from __future__ import annotations

import pickle
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.pytest_workers import Shared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shared"
    made.mkdir(mode=0o700)
    return made


class Trap:
    """What is done when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)


def file_of(folder: Path, name: str) -> Path:
    return folder / sha256(name.encode()).hexdigest()


def test_one_finds_and_the_others_are_told(folder: Path) -> None:
    assert Shared(str(folder)).once("x", lambda: 1) == 1
    assert Shared(str(folder)).once("x", lambda: 2) == 1
    assert Shared(str(folder)).is_first("y")
    assert not Shared(str(folder)).is_first("y")


@pytest.mark.parametrize("way", ["mode", "link", "owner"])
def test_a_folder_that_may_be_somebody_elses_is_not_read(
    way: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprung = tmp_path / "sprung"
    file_of(folder, "x").write_bytes(pickle.dumps(Trap(sprung)))
    if way == "mode":
        folder.chmod(0o770)
    elif way == "link":
        (tmp_path / "link").symlink_to(folder)
        folder = tmp_path / "link"
    else:
        monkeypatch.setattr("os.geteuid", lambda: folder.stat().st_uid + 1)
    before = sorted(folder.iterdir())
    shared = Shared(str(folder))
    assert shared.once("x", lambda: "mine") == "mine"
    assert shared.is_first("x")
    assert not sprung.exists()
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_was_swept(folder: Path) -> None:
    shared = Shared(str(folder))
    folder.rmdir()
    assert shared.once("x", lambda: 1) == 1
    assert shared.is_first("y")


def test_a_folder_that_is_swept_meanwhile(folder: Path) -> None:
    def find() -> int:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        return 1

    assert Shared(str(folder)).once("x", find) == 1


@pytest.mark.parametrize("content", [b"", b"torn", pickle.dumps("whole")[:-2]])
def test_a_torn_file_is_no_answer(content: bytes, folder: Path) -> None:
    file_of(folder, "x").write_bytes(content)
    assert Shared(str(folder)).once("x", lambda: 1) == 1


def test_what_goes_wrong_while_it_is_found_is_told(folder: Path) -> None:
    def find() -> int:
        raise OSError("the device")

    with pytest.raises(OSError, match="the device"):
        Shared(str(folder)).once("x", find)
