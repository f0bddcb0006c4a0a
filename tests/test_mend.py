from pathlib import Path

import pytest

from stages.mend import LOCK, NOTES, READERS, mend

ROOT = Path(__file__).resolve().parent.parent
WHOLE = (ROOT / "dvc.lock").read_bytes()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_is_whole_stays(tmp_path: Path) -> None:
    write(tmp_path / LOCK, WHOLE)
    write(tmp_path / READERS, b"{}")
    write(tmp_path / NOTES / "ab" / "cd", b"cmd: x\n")
    assert mend(tmp_path) == []


def test_there_may_be_nothing(tmp_path: Path) -> None:
    assert mend(tmp_path) == []


@pytest.mark.parametrize("content", [b"", WHOLE[: WHOLE.index(b"cmd:")], WHOLE[: WHOLE.index(b"hash:") + 4], b"\xff"])
def test_half_a_lock_that_dvc_would_refuse_is_removed(tmp_path: Path, content: bytes) -> None:
    lock = write(tmp_path / LOCK, content)
    assert mend(tmp_path) == [lock]
    assert not lock.exists()


def test_half_notes_are_removed(tmp_path: Path) -> None:
    halves = [write(tmp_path / NOTES / "ab" / ".x.tmp", b"cmd"), write(tmp_path / READERS, b"")]
    assert mend(tmp_path) == halves
    assert not any(half.exists() for half in halves)
