from pathlib import Path

import pytest

from stages.mend import LOCK, NOTES, READERS, mend
from tests.clone import Clone

ROOT = Path(__file__).resolve().parent.parent
WHOLE = (ROOT / "dvc.lock").read_bytes()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_is_whole_stays(tmp_path: Path) -> None:
    write(tmp_path / LOCK, WHOLE)
    write(tmp_path / READERS, b"{}")
    write(tmp_path / NOTES / "ab" / "abcd" / "ef", b"cmd: x\n")
    assert mend(tmp_path) == []


def test_there_may_be_nothing(tmp_path: Path) -> None:
    assert mend(tmp_path) == []


@pytest.mark.parametrize("content", [b"", WHOLE[: WHOLE.index(b"cmd:")], WHOLE[: WHOLE.index(b"hash:") + 4], b"\xff"])
def test_half_a_lock_that_dvc_would_refuse_is_removed(tmp_path: Path, content: bytes) -> None:
    lock = write(tmp_path / LOCK, content)
    assert mend(tmp_path) == [lock]
    assert not lock.exists()


def test_half_notes_are_removed_and_whole_ones_stay(tmp_path: Path) -> None:
    notes = tmp_path / NOTES / "ab"
    whole = write(notes / "abcd" / "ef", b"cmd: x\n")
    halves = {
        write(notes / "abcd" / ".x.tmp", b"cmd"),
        write(notes / "abef" / ".x.tmp", b""),
        write(tmp_path / READERS, b""),
    }
    (notes / "abff").mkdir()
    assert {*mend(tmp_path)} == halves | {notes / "abef", notes / "abff"}
    assert not any(half.exists() for half in halves)
    assert [*notes.rglob("*")] == [whole.parent, whole]
    assert mend(tmp_path) == []


def test_dvc_goes_on_where_it_was_killed_before_it_wrote_a_note(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    clone.dvc("repro", "download_corpus")
    (note,) = (path for path in (tmp_path / NOTES).rglob("*") if path.is_file())
    note.unlink()
    (tmp_path / LOCK).unlink()
    clone.dvc("repro", "download_corpus", status=None)  # else DVC no longer needs to be mended
    assert mend(tmp_path) == [note.parent]
    clone.dvc("repro", "download_corpus")
