import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment.errors import InputError
from stages.repair import LOCK, RWLOCK, check_parameters, repair
from tests.clone import Clone
from tests.conftest import with_value

ROOT = Path(__file__).resolve().parent.parent
WHOLE = (ROOT / "dvc.lock").read_bytes()
RUN_CACHE = Path(".dvc/cache/runs")
ENTRY = b"cmd: x\ndeps:\n- path: a\n  md5: abcd\n"  # truncated before its outputs


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for other DVC processes; tests with such a process replace `time.sleep`."""
    monkeypatch.setattr("stages.repair.SETTLE_SECONDS", 0)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Create a git repository whose last commit has a valid `dvc.lock`."""
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


def test_valid_files_are_kept(tmp_path: Path) -> None:
    write(tmp_path / LOCK, WHOLE)
    write(tmp_path / RWLOCK, b"{}")
    write(tmp_path / RUN_CACHE / "ab" / "abcd" / "ef", b"cmd: x\n")
    assert repair(tmp_path) == []


def test_an_empty_folder_is_left_alone(tmp_path: Path) -> None:
    assert repair(tmp_path) == []


TRUNCATED = [b"", WHOLE[:10], WHOLE[: WHOLE.index(b"cmd:")], WHOLE[: WHOLE.index(b"hash:") + 4]]
TRUNCATED += [WHOLE[: WHOLE.rindex(b"md5:") + 3], WHOLE[:8192] + bytes(1000)]  # zeros as after a power cut


@pytest.mark.parametrize("content", TRUNCATED, ids=range(len(TRUNCATED)))
def test_a_truncated_lock_that_is_not_in_git_is_removed(tmp_path: Path, content: bytes) -> None:
    lock = write(tmp_path / LOCK, content)
    assert repair(tmp_path) == [lock]
    assert not lock.exists()


@pytest.mark.parametrize("content", TRUNCATED, ids=range(len(TRUNCATED)))
def test_a_truncated_lock_is_replaced_by_the_version_in_git(repository: Path, content: bytes) -> None:
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
def test_a_lock_with_another_fault_is_kept_and_reported(repository: Path, content: bytes, fault: str) -> None:
    lock = write(repository / LOCK, content)
    with pytest.raises(InputError, match=rf"^dvc\.lock: .*{fault}.*git checkout HEAD -- dvc\.lock$"):
        repair(repository)
    assert lock.read_bytes() == content


@pytest.mark.parametrize("command", [["merge"], ["rebase"], ["cherry-pick"]])
def test_a_lock_with_merge_conflicts_is_kept_and_the_advice_resolves_them(repository: Path, command: list[str]) -> None:
    def commit_other(digit: bytes, branch: str) -> None:
        git(repository, "switch", "-q", "-c", branch, "main")
        write(repository / LOCK, WHOLE.replace(b"size: ", b"size: " + digit))
        write(repository / "metrics" / "test.json", digit)
        git(repository, "commit", "-q", "-a", "-m", branch)

    commit_other(b"1", "one")
    commit_other(b"2", "two")
    git(repository, *command, "one", check=False)
    conflicting = (repository / LOCK).read_bytes()
    with pytest.raises(
        InputError, match=r"^dvc\.lock: has merge conflicts; run git checkout --ours dvc\.lock metrics, then"
    ):
        repair(repository)
    assert (repository / LOCK).read_bytes() == conflicting
    git(repository, "checkout", "--ours", "dvc.lock", "metrics")  # the advice works
    assert repair(repository) == []


def test_committed_conflict_markers_are_reported(repository: Path) -> None:
    content = b"<<<<<<< HEAD\n" + WHOLE + b"=======\n>>>>>>> two\n"
    lock = write(repository / LOCK, content)
    with pytest.raises(InputError, match=r"^dvc\.lock: contains merge conflict markers; .* -- dvc\.lock metrics$"):
        repair(repository)
    assert lock.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b'{"write": {', b"{} {}", b"[]"])
def test_a_broken_rwlock_is_removed(tmp_path: Path, content: bytes) -> None:
    rwlock = write(tmp_path / RWLOCK, content)
    assert repair(tmp_path) == [rwlock]
    assert not rwlock.exists()


def test_truncated_run_cache_entries_are_removed_and_valid_ones_kept(tmp_path: Path) -> None:
    run_cache = tmp_path / RUN_CACHE / "ab"
    whole = write(run_cache / "abcd" / "ef", b"cmd: x\n")
    ignored = write(run_cache / "abcd" / ".y.tmp", b"")  # DVC itself removes it, or it is arriving from a remote
    truncated = {write(run_cache / "abcd" / ".x.tmp", ENTRY), write(run_cache / "abef" / ".x.tmp", ENTRY)}
    (run_cache / "abff").mkdir()
    assert {*repair(tmp_path)} == truncated | {run_cache / "abef", run_cache / "abff"}
    assert {*run_cache.rglob("*")} == {whole.parent, whole, ignored}
    assert repair(tmp_path) == []


@pytest.mark.parametrize("level", ["repo", "local", "global", "system"])
@pytest.mark.parametrize("is_relative", [True, False])
def test_the_run_cache_is_found_wherever_the_configuration_puts_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, is_relative: bool
) -> None:
    folder, elsewhere = tmp_path / "clone", tmp_path / "elsewhere"
    files = {"repo": folder / ".dvc" / "config", "local": folder / ".dvc" / "config.local"}
    for name in ("global", "system"):
        files[name] = tmp_path / name / "config"
        monkeypatch.setenv(f"DVC_{name.upper()}_CONFIG_DIR", str(tmp_path / name))
    cache = os.path.relpath(elsewhere, files[level].parent) if is_relative else str(elsewhere)
    write(files[level], f"[cache]\n    dir = {cache}\n".encode())
    entry = write(elsewhere / "runs" / "ab" / "abcd" / ".x.tmp", ENTRY)
    assert repair(folder) == [entry, entry.parent]
    assert not entry.parent.exists()


def change(entry: Path) -> None:
    entry.write_bytes(ENTRY + b"outs: []\n")


def finish(entry: Path) -> None:
    entry.rename(entry.with_name("ef"))


@pytest.mark.parametrize("go_on", [change, finish])
def test_an_entry_that_another_dvc_is_writing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go_on: Callable[[Path], None]
) -> None:
    entry = write(tmp_path / RUN_CACHE / "ab" / "abcd" / ".x.tmp", ENTRY)
    monkeypatch.setattr("time.sleep", lambda _: go_on(entry))
    repair(tmp_path)
    assert len([*entry.parent.iterdir()]) == 1


def test_a_folder_to_which_another_dvc_adds_an_entry_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / RUN_CACHE / "ab" / "abcd"
    folder.mkdir(parents=True)
    monkeypatch.setattr("time.sleep", lambda _: write(folder / "ef", b"cmd: x\n"))
    assert repair(tmp_path) == []
    assert (folder / "ef").exists()


@pytest.mark.slow
@pytest.mark.parametrize("is_shared", [pytest.param(False, marks=pytest.mark.campaign), True])
def test_dvc_runs_again_after_a_kill_during_a_write_to_its_run_cache(tmp_path: Path, is_shared: bool) -> None:
    (tmp_path / "clone").mkdir()
    clone = Clone(tmp_path / "clone")
    cache = tmp_path / "shared" if is_shared else clone.folder / ".dvc" / "cache"
    if is_shared:
        clone.dvc("config", "--local", "cache.dir", str(cache))
    clone.dvc("repro", "download_corpus")
    (entry,) = (path for path in (cache / "runs").rglob("*") if path.is_file())
    content = entry.read_bytes()
    entry.unlink()
    (clone.folder / LOCK).unlink()
    clone.dvc("repro", "download_corpus", status=None)  # if this fails, DVC has improved and this module can go
    assert repair(clone.folder) == [entry.parent]
    clone.dvc("repro", "download_corpus")
    entry.rename(entry.with_name(".x.tmp")).write_bytes(content[: content.index(b"outs:")])
    (clone.folder / LOCK).unlink()
    clone.dvc("repro", "download_corpus", status=None)
    clone.run(sys.executable, "-m", "stages.repair")
    clone.dvc("repro", "download_corpus")


@pytest.mark.slow
def test_outside_a_git_repository_the_message_says_what_to_do(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    command = [sys.executable, "-m", "stages.repair"]
    (tmp_path / ".git").rename(tmp_path / "git")
    said = clone.run(*command, status=1)
    assert said == (
        "error: DVC needs a git repository, and this folder is not in one; run git init && git add . && "
        "git commit -m Start, or clone the project with git instead of downloading it\n"
    )
    clone.dvc("config", "--local", "core.no_scm", "true")
    assert clone.run(*command) == ""


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("download.custom.path", "mine.csv", r"^mine\.csv: does not exist \(download\.custom\.path\); DVC"),
        ("evaluate.behaviour", "mine/behaviour.csv", r"^mine/behaviour\.csv: does not exist \(evaluate\.behaviour\)"),
        ("model.cell", "ltsm", r"^params\.yaml: model\.cell must be one of rnn, lstm, gru; got 'ltsm'$"),
    ],
)
def test_a_mistake_in_the_parameters_is_found_before_dvc_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, value: str, message: str
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text, encoding="utf-8")
    check_parameters()
    Path("params.yaml").write_text(with_value(text, place, value), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        check_parameters()
