"""Files of the host that a program names: what no command line could hold, and disks that fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kheaders_adb.archive.pack import require_module
from kheaders_adb.errors import StoreError, UsageError
from kheaders_adb.untrusted.host_file import draft_of, drafted, kind_of, opened, read, writing

STEP = "looking"


@pytest.mark.parametrize("name", ["n\0l", "\ud800"])
def test_what_cannot_be_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a path: it"):
        kind_of(Path(name), step=STEP)


def test_no_more_than_the_cap_and_one_byte_is_read(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(bytes(100))
    assert len(read(tmp_path / "long", 10, step=STEP)) == 11


def test_what_goes_wrong_while_it_is_read_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"file cannot be read: Input/output error"),
        opened(tmp_path / "file", step=STEP),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EACCES, UsageError), (errno.ENAMETOOLONG, UsageError), (errno.ENOSPC, StoreError)],
)
def test_who_is_at_fault_when_it_cannot_be_written(number: int, kind: type[Exception]) -> None:
    """Another path would help, or it would not."""
    with (
        pytest.raises(kind, match="out cannot be written: ") as caught,
        writing(Path("out"), step=STEP),
    ):
        raise OSError(number, os.strerror(number), ".draft")
    assert getattr(caught.value, "hint", None)


def test_a_draft_is_beside_its_file_and_does_not_stay(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 255)
    assert draft_of(long).parent == tmp_path
    with drafted(long) as draft:
        draft.touch()
        assert draft.parent == tmp_path
    assert not any(tmp_path.iterdir())


def test_what_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "trace.c").write_text("int x;\n")
    with pytest.raises(UsageError, match=r"trace\.c is no kernel module"):
        require_module(tmp_path / "trace.c")
    require_module(tmp_path)
