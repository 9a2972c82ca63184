"""libbpf's headers, without the rest of the folder they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from kheaders_adb.ebpf.libbpf import find_libbpf
from kheaders_adb.errors import StoreError, UsageError


def install(directory: Path) -> Path:
    directory.mkdir(parents=True)
    for name in ("bpf_helpers.h", "bpf_helper_defs.h"):
        (directory / name).touch()
    return directory


@pytest.mark.parametrize("where", ["bpf", "include/bpf", "usr/include/bpf"])
def test_alone_in_their_folder_they_are_used_from_there(where: str, tmp_path: Path) -> None:
    headers = install(tmp_path / where)
    assert find_libbpf(tmp_path, lambda: tmp_path / "cache") == headers.parent
    assert not (tmp_path / "cache").exists()


def test_among_others_they_are_linked(tmp_path: Path) -> None:
    headers = install(tmp_path / "include/bpf")
    (tmp_path / "include/stdio.h").touch()
    cache = tmp_path / "cache"
    found = find_libbpf(tmp_path / "include", lambda: cache)
    assert found is not None
    assert [entry.name for entry in found.iterdir()] == ["bpf"]
    assert (found / "bpf").samefile(headers)
    assert find_libbpf(tmp_path / "include", lambda: cache) == found


def test_a_link_that_leads_elsewhere_is_replaced(tmp_path: Path) -> None:
    install(tmp_path / "include/bpf")
    (tmp_path / "include/stdio.h").touch()
    found = find_libbpf(tmp_path / "include", lambda: tmp_path / "cache")
    assert found is not None
    (found / "bpf").unlink()
    (found / "bpf").symlink_to("/nowhere")
    assert find_libbpf(tmp_path / "include", lambda: tmp_path / "cache") == found
    assert (found / "bpf/bpf_helpers.h").exists()


def test_the_folder_itself_and_a_source_tree(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    headers = install(tmp_path / "one/bpf")
    assert find_libbpf(headers, lambda: cache) == headers.parent
    source = install(tmp_path / "libbpf/src")
    found = find_libbpf(tmp_path / "libbpf", lambda: cache)
    assert found is not None
    assert (found / "bpf").samefile(source)


def test_a_folder_without_them_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf/bpf_helpers.h").touch()
    with pytest.raises(UsageError, match="neither") as caught:
        find_libbpf(tmp_path, lambda: tmp_path / "cache")
    assert "libbpf-dev" in (caught.value.hint or "")


def test_a_cache_that_cannot_be_written_is_an_error_of_the_store(tmp_path: Path) -> None:
    install(tmp_path / "include/bpf")
    (tmp_path / "include/stdio.h").touch()
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        find_libbpf(tmp_path / "include", lambda: tmp_path / "cache")
