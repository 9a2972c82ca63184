"""``.kheaders.toml``: what it may say, where it is looked for, and whose word counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.errors import UsageError
from kheaders_adb.project import NAME, Project, find_project, parse_project

PATH = Path("/work shop", NAME)


def test_all_that_it_may_say() -> None:
    content = b"""
        kernel = "@1A2B"
        defines = ["DEBUG", 'NAME="a b"', "EMPTY="]
        include_dirs = ["inc", "../shared", "/opt/inc"]
    """
    assert parse_project(content, PATH) == Project(
        PATH,
        "@1A2B",
        ("DEBUG", 'NAME="a b"', "EMPTY="),
        (Path("/work shop/inc"), Path("/work shop/../shared"), Path("/opt/inc")),
    )
    assert parse_project(b"", PATH) == Project(PATH)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"kernel = ", "it is not TOML: "),
        (b"defines = ['\xff']", "it is not TOML: "),
        (b"a = " + b"[" * 20_000, "it is not TOML: "),
        (b"#" * 70_000, "it is longer than 65536 bytes"),
        *(
            (f"{key} = 'x'".encode(), f"it may not set {key!r}")
            for key in ("clang", "flags", "cflags", "store", "privilege", "su_command", "url", "Kernel")
        ),
        (b"[compile]\ndefines = []", "it may not set 'compile'"),
        (b"kernel = 6.1", "kernel does not name one"),
        (b"kernel = ''", "kernel does not name one"),
        (b"defines = 'A'", "defines is not an array of strings"),
        (b"include_dirs = [1]", "include_dirs is not an array of strings"),
        (b"defines = ['A -fplugin=x.so']", "is neither NAME nor NAME=VALUE"),
        (b"defines = ['-fplugin=x.so']", "is neither NAME nor NAME=VALUE"),
        (b'defines = ["A=\\n#include </etc/passwd>"]', "is neither NAME nor NAME=VALUE"),
        (b"include_dirs = ['']", "'' names no folder"),
        (b'include_dirs = ["a\\u0000"]', "names no folder"),
    ],
)  # fmt: skip
def test_all_else_is_an_error_that_names_the_file(content: bytes, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_project(content, PATH)
    assert caught.value.seen.startswith(f"{PATH}: ")
    assert said in caught.value.seen


@given(st.binary() | st.text().map(str.encode))
def test_anything(content: bytes) -> None:
    try:
        found = parse_project(content, PATH)
    except UsageError:
        return
    assert found.path == PATH


def test_a_macro_that_is_given_replaces_the_files() -> None:
    project = Project(defines=("A=1", "B", "C=3"))
    assert project.defines_besides(("B=2", "D", "A")) == ("C=3", "B=2", "D", "A")


def test_the_nearest_one_counts_and_the_search_ends_at_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    deep = home / "project/src/deep"
    deep.mkdir(parents=True)

    def found(start: Path = deep) -> Path | None:
        return find_project(start, home, os.geteuid(), pytest.fail).path

    (tmp_path / NAME).touch()
    assert found() is None
    assert found(tmp_path) == tmp_path / NAME
    for folder in (home, home / "project", deep):
        (folder / NAME).touch()
        assert found() == folder / NAME


def distrusted(path: Path, user_id: int) -> str:
    said: list[str] = []
    above = path.parents[1] / NAME
    above.touch()
    assert find_project(path.parent, None, user_id, said.append).path == above, "the search goes on"
    (text,) = said
    assert text.startswith(f"{path} is ignored: ")
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "project" / NAME
    path.parent.mkdir()
    path.write_text("kernel = 'latest'")
    return path


@pytest.mark.parametrize("mode", [0o646, 0o602])
def test_what_others_may_write_is_ignored(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert "others may write to it" in distrusted(file, os.geteuid())


def test_what_a_group_may_write_is_ignored_unless_it_is_the_users_own(file: Path) -> None:
    file.chmod(0o664)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to any group")
    assert find_project(file.parent, None, 0, pytest.fail).kernel == "latest", "root's own group"
    for group in (1, 54321):  # one that is there, and one that is not
        os.chown(file, -1, group)
        assert "others may write to it" in distrusted(file, 0)


@pytest.mark.parametrize("is_link", [False, True])
def test_what_belongs_to_another_user_is_ignored(file: Path, is_link: bool) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away, and root's files are everybody's")
    if is_link:
        target = file.with_name("mine.toml")
        file.rename(target)
        file.symlink_to(target)
    os.chown(file, 54321, -1, follow_symlinks=False)
    assert "it belongs to another user" in distrusted(file, 0)
    assert find_project(file.parent, None, 54321, pytest.fail).kernel == "latest"


def test_a_link_to_what_belongs_to_another_user_is_ignored(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    target = file.with_name("theirs.toml")
    file.rename(target)
    os.chown(target, 54321, -1)
    file.symlink_to(target)
    assert "it belongs to another user" in distrusted(file, 0)


def test_what_is_no_file_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(UsageError, match="is a pipe, not a file"):
        find_project(tmp_path, None, os.geteuid(), pytest.fail)
