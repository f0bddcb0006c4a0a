import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment.errors import InputError
from stages.repair import LOCK, RWLOCK, repair
from tests.clone import Clone

ROOT = Path(__file__).resolve().parent.parent
WHOLE = (ROOT / "dvc.lock").read_bytes()
NOTES = Path(".dvc/cache/runs")
NOTE = b"cmd: x\ndeps:\n- path: a\n  md5: abcd\n"  # cut before its outputs


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no other DVC: a test that has one replaces this."""
    monkeypatch.setattr("stages.repair.SETTLE_SECONDS", 0)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository whose last commit holds a whole `dvc.lock`."""
    write(tmp_path / LOCK, WHOLE)
    write(tmp_path / "metrics" / "test.json", b"{}\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "Test")
    git(tmp_path, "config", "user.email", "test@example.org")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Start")
    return tmp_path


def git(folder: Path, *arguments: str, check: bool = True) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=check, capture_output=True)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_whole_files_stay(tmp_path: Path) -> None:
    write(tmp_path / LOCK, WHOLE)
    write(tmp_path / RWLOCK, b"{}")
    write(tmp_path / NOTES / "ab" / "abcd" / "ef", b"cmd: x\n")
    assert repair(tmp_path) == []


def test_an_empty_folder_needs_nothing(tmp_path: Path) -> None:
    assert repair(tmp_path) == []


CUTS = [b"", WHOLE[:10], WHOLE[: WHOLE.index(b"cmd:")], WHOLE[: WHOLE.index(b"hash:") + 4]]
CUTS += [WHOLE[: WHOLE.rindex(b"md5:") + 3], WHOLE[:8192] + bytes(1000)]  # zeros as after a power cut


@pytest.mark.parametrize("content", CUTS, ids=range(len(CUTS)))
def test_a_lock_that_was_cut_off_is_removed_where_git_has_none(tmp_path: Path, content: bytes) -> None:
    lock = write(tmp_path / LOCK, content)
    assert repair(tmp_path) == [lock]
    assert not lock.exists()


@pytest.mark.parametrize("content", CUTS, ids=range(len(CUTS)))
def test_a_lock_that_was_cut_off_is_replaced_by_the_one_in_git(repository: Path, content: bytes) -> None:
    lock = write(repository / LOCK, content)
    assert repair(repository) == [lock]
    assert lock.read_bytes() == WHOLE


FAULTS = {
    "not UTF-8": (b"\xff", "invalid start byte"),
    "a tab": (WHOLE.replace(b"    cmd:", b"\tcmd:", 1), "line 4 is not YAML"),
    "a misspelt key": (WHOLE.replace(b"cmd:", b"cnd:", 1), r"extra keys not allowed @ .*\['cnd'\]"),
    "a key twice": (WHOLE.replace(b"stages:\n", b"stages: {}\nstages:\n"), "line 3 is not YAML"),
    "an old schema": (WHOLE.replace(b"2.0", b"9.0"), "schema"),
    "another file": (b"a shopping list\n", "expected a dictionary"),
}


@pytest.mark.parametrize(("content", "fault"), FAULTS.values(), ids=list(FAULTS))
def test_a_lock_with_a_mistake_in_it_stays_and_is_named(repository: Path, content: bytes, fault: str) -> None:
    lock = write(repository / LOCK, content)
    with pytest.raises(InputError, match=rf"^dvc\.lock: .*{fault}.*git checkout HEAD -- dvc\.lock$"):
        repair(repository)
    assert lock.read_bytes() == content


@pytest.mark.parametrize("command", [["merge"], ["rebase"], ["cherry-pick"]])
def test_a_merge_in_progress_stays_and_its_way_out_is_named(repository: Path, command: list[str]) -> None:
    def commit_other(digit: bytes, branch: str) -> None:
        git(repository, "switch", "-q", "-c", branch, "main")
        write(repository / LOCK, WHOLE.replace(b"size: ", b"size: " + digit))
        write(repository / "metrics" / "test.json", digit)
        git(repository, "commit", "-q", "-a", "-m", branch)

    commit_other(b"1", "one")
    commit_other(b"2", "two")
    git(repository, *command, "one", check=False)
    conflicting = (repository / LOCK).read_bytes()
    with pytest.raises(InputError, match=r"^dvc\.lock: has conflicts; run git checkout --ours dvc\.lock metrics, then"):
        repair(repository)
    assert (repository / LOCK).read_bytes() == conflicting
    git(repository, "checkout", "--ours", "dvc.lock", "metrics")  # the advice works
    assert repair(repository) == []


def test_conflict_markers_that_were_committed_are_named(repository: Path) -> None:
    content = b"<<<<<<< HEAD\n" + WHOLE + b"=======\n>>>>>>> two\n"
    lock = write(repository / LOCK, content)
    with pytest.raises(
        InputError, match=r"^dvc\.lock: holds the markers of a merge conflict; .* -- dvc\.lock metrics$"
    ):
        repair(repository)
    assert lock.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b'{"write": {', b"{} {}", b"[]"])
def test_a_half_list_of_readers_is_removed(tmp_path: Path, content: bytes) -> None:
    readers = write(tmp_path / RWLOCK, content)
    assert repair(tmp_path) == [readers]
    assert not readers.exists()


def test_half_notes_are_removed_and_whole_ones_stay(tmp_path: Path) -> None:
    notes = tmp_path / NOTES / "ab"
    whole = write(notes / "abcd" / "ef", b"cmd: x\n")
    ignored = write(notes / "abcd" / ".y.tmp", b"")  # which DVC itself removes, and which may be arriving from a remote
    truncated = {write(notes / "abcd" / ".x.tmp", NOTE), write(notes / "abef" / ".x.tmp", NOTE)}
    (notes / "abff").mkdir()
    assert {*repair(tmp_path)} == truncated | {notes / "abef", notes / "abff"}
    assert {*notes.rglob("*")} == {whole.parent, whole, ignored}
    assert repair(tmp_path) == []


@pytest.mark.parametrize("level", ["repo", "local", "global", "system"])
@pytest.mark.parametrize("is_relative", [True, False])
def test_notes_are_found_where_any_level_of_the_configuration_puts_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, is_relative: bool
) -> None:
    folder, elsewhere = tmp_path / "clone", tmp_path / "elsewhere"
    files = {"repo": folder / ".dvc" / "config", "local": folder / ".dvc" / "config.local"}
    for name in ("global", "system"):
        files[name] = tmp_path / name / "config"
        monkeypatch.setenv(f"DVC_{name.upper()}_CONFIG_DIR", str(tmp_path / name))
    cache = os.path.relpath(elsewhere, files[level].parent) if is_relative else str(elsewhere)
    write(files[level], f"[cache]\n    dir = {cache}\n".encode())
    half = write(elsewhere / "runs" / "ab" / "abcd" / ".x.tmp", NOTE)
    assert repair(folder) == [half, half.parent]
    assert not half.parent.exists()


def change(half: Path) -> None:
    half.write_bytes(NOTE + b"outs: []\n")


def finish(half: Path) -> None:
    half.rename(half.with_name("ef"))


@pytest.mark.parametrize("go_on", [change, finish])
def test_a_note_that_somebody_is_writing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go_on: Callable[[Path], None]
) -> None:
    half = write(tmp_path / NOTES / "ab" / "abcd" / ".x.tmp", NOTE)
    monkeypatch.setattr("time.sleep", lambda _: go_on(half))
    repair(tmp_path)
    assert len([*half.parent.iterdir()]) == 1


def test_a_folder_to_which_somebody_adds_a_note_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / NOTES / "ab" / "abcd"
    folder.mkdir(parents=True)
    monkeypatch.setattr("time.sleep", lambda _: write(folder / "ef", b"cmd: x\n"))
    assert repair(tmp_path) == []
    assert (folder / "ef").exists()


@pytest.mark.slow
@pytest.mark.parametrize("is_shared", [pytest.param(False, marks=pytest.mark.campaign), True])
def test_dvc_goes_on_where_it_was_killed_before_it_wrote_a_note(tmp_path: Path, is_shared: bool) -> None:
    (tmp_path / "clone").mkdir()
    clone = Clone(tmp_path / "clone")
    cache = tmp_path / "shared" if is_shared else clone.folder / ".dvc" / "cache"
    if is_shared:
        clone.dvc("config", "--local", "cache.dir", str(cache))
    clone.dvc("repro", "download_corpus")
    (note,) = (path for path in (cache / "runs").rglob("*") if path.is_file())
    content = note.read_bytes()
    note.unlink()
    (clone.folder / LOCK).unlink()
    clone.dvc("repro", "download_corpus", status=None)  # else DVC has got better, and this module has no use
    assert repair(clone.folder) == [note.parent]
    clone.dvc("repro", "download_corpus")
    note.rename(note.with_name(".x.tmp")).write_bytes(content[: content.index(b"outs:")])
    (clone.folder / LOCK).unlink()
    clone.dvc("repro", "download_corpus", status=None)
    clone.run(sys.executable, "-m", "stages.repair")
    clone.dvc("repro", "download_corpus")


@pytest.mark.slow
def test_a_download_without_git_is_told_what_to_do(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    command = [sys.executable, "-m", "stages.repair"]
    (tmp_path / ".git").rename(tmp_path / "git")
    said = clone.run(*command, status=1)
    assert said == (
        "error: DVC needs a git repository, and this folder is in none; run git init && git add . && "
        "git commit -m Start, or git clone the project instead of downloading it\n"
    )
    clone.dvc("config", "--local", "core.no_scm", "true")
    assert clone.run(*command) == ""
