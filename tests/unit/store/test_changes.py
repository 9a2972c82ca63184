"""What is changed on devices is known as long as it is, and is undone by the last run that relies on it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from kheaders_adb.errors import StoreError
from kheaders_adb.store.changes import Change, ChangeKind, Changes

BOOT = "11111111-2222-3333-4444-555555555555"
ROOT = ("PHONE", BOOT, ChangeKind.ADBD_ROOT)


@pytest.fixture
def changes(tmp_path: Path) -> Changes:
    return Changes(tmp_path)


def names(changes: Changes) -> list[str]:
    return [change.file_name for change in changes.left()]


def test_while_it_lives_nothing_is_left_and_afterwards_nothing_remains(changes: Changes) -> None:
    claim = changes.begin(*ROOT)
    assert changes.left() == ()
    assert claim.is_last()
    claim.settle()
    claim.close()
    assert changes.left() == ()


def test_a_run_that_is_killed_leaves_its_note(changes: Changes) -> None:
    before = int(time.time())
    changes.begin(*ROOT).close()  # as the operating system does
    (left,) = changes.left()
    assert (left.serial, left.boot_id, left.kind) == ROOT
    assert before <= left.since <= time.time()
    assert changes.left("OTHER") == ()
    assert changes.left("PHONE") == (left,)


@pytest.mark.parametrize("first", [0, 1])
def test_the_last_one_undoes_it_whoever_began(changes: Changes, first: int) -> None:
    began = changes.begin(*ROOT)
    joined = changes.join(*ROOT)
    assert joined is not None
    order = [began, joined] if first == 0 else [joined, began]
    assert not order[0].is_last()
    order[0].close()
    assert order[1].is_last()


def test_two_that_end_at_once_do_not_both_leave_it_to_the_other(changes: Changes) -> None:
    for _ in range(20):
        claims = [changes.begin(*ROOT) for _ in range(4)]
        last: list[bool] = []

        def end(number: int, claims: list = claims, last: list[bool] = last) -> None:  # type: ignore[type-arg]
            last.append(claims[number].is_last())
            claims[number].close()

        threads = [threading.Thread(target=end, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert any(last)


def test_nobody_joins_what_a_dead_run_has_left(changes: Changes) -> None:
    assert changes.join(*ROOT) is None
    changes.begin(*ROOT).close()
    assert changes.join(*ROOT) is None
    assert len(changes.left()) == 1


def test_who_joins_while_it_is_undone_waits_and_then_has_nothing(changes: Changes) -> None:
    began = changes.begin(*ROOT)
    assert began.is_last()
    joined = []
    thread = threading.Thread(target=lambda: joined.append(changes.join(*ROOT)))
    thread.start()
    time.sleep(0.1)
    assert not joined
    began.settle()
    began.close()
    thread.join()
    (claim,) = joined
    assert claim is not None
    assert claim.is_void
    assert not claim.is_last()


def test_what_is_to_stay_is_undone_by_nobody(changes: Changes) -> None:
    claim = changes.begin(*ROOT)
    changes.forget(*ROOT)
    assert not claim.is_last()
    claim.close()
    assert changes.left() == ()


def test_undoing_is_done_by_one_and_not_while_a_run_lives(changes: Changes) -> None:
    claim = changes.begin(*ROOT)
    change = Change(*ROOT)
    with changes.undoing(change) as nobody:
        assert nobody is None
    claim.close()
    with changes.undoing(change) as mine, changes.undoing(change) as second:
        assert mine is not None
        assert second is None
        mine.settle()
    assert changes.left() == ()


def test_one_that_undoes_for_too_long_is_named(tmp_path: Path) -> None:
    began = Changes(tmp_path).begin(*ROOT)
    assert began.is_last()
    with pytest.raises(StoreError, match="another run is undoing a change"):
        Changes(tmp_path, lambda: 0.05).join(*ROOT)


@pytest.mark.parametrize("content", [b"", b"{", b'{"serial": "PHONE"}'])
def test_a_note_cut_short_tells_of_nothing(
    changes: Changes, tmp_path: Path, content: bytes
) -> None:
    changes.begin(*ROOT).close()
    (path,) = (tmp_path / "changes").iterdir()
    path.write_bytes(content)
    assert changes.left() == ()
    assert not path.exists()


def test_names_of_devices_cannot_lead_out_of_the_store(changes: Changes, tmp_path: Path) -> None:
    changes.begin("../../x\n", "../y", ChangeKind.MODULE).close()
    (path,) = (tmp_path / "changes").iterdir()
    assert "/" not in path.name
    assert changes.left()[0].serial == "../../x\n"


def test_a_store_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "changes").write_text("a file")
    with pytest.raises(StoreError, match="changes"):
        Changes(tmp_path).begin(*ROOT)


def test_a_note_of_a_version_to_come_stays(changes: Changes, tmp_path: Path) -> None:
    changes.begin(*ROOT).close()
    (path,) = (tmp_path / "changes").iterdir()
    path.write_bytes(b'{"serial": "PHONE", "kind": "selinux"}\n')
    assert changes.left() == ()
    assert path.exists()


def test_the_longest_serial_is_told_of(changes: Changes) -> None:
    changes.begin("\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 700, BOOT, ChangeKind.MODULE).close()
    assert len(changes.left()) == 1
