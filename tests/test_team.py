"""Several people who share a repository and a remote, as docs/sharing.md says: they merge, share a cache, and clean up.

`pytest -s tests/test_team.py` prints what they see.
"""

import fcntl
import hashlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.clone import Clone
from tests.recipes import Printed, follow, run_stages

pytestmark = pytest.mark.slow

BOB = {"model.cell=gru": "evaluate.calibration_bins=10", "A GRU in place of the LSTM": "Ten bins", "gru": "bins"}


@dataclass(frozen=True)
class Team:
    """What people share: a bare repository, with branches `main` and `faster`, and a remote with the files of both."""

    place: Path

    def new_clone(self, name: str) -> Clone:
        folder = self.place / name
        user = ("-c", f"user.name={name}", "-c", f"user.email={name}@example.org")
        Clone.at(self.place).run("git", "clone", "-q", *user, "origin.git", str(folder))
        return Clone.at(folder)

    def stored(self) -> set[str]:
        """Return the md5s of the files on the remote."""
        return names_in(self.place / "remote")


@pytest.fixture(scope="module")
def team(small_run: Clone, tmp_path_factory: pytest.TempPathFactory) -> Team:
    team = Team(tmp_path_factory.mktemp("team"))
    first = small_run.copy_to(team.place / "first")
    first.dvc("remote", "add", "--default", "shared", str(team.place / "remote"))
    first.run("git", "commit", "-q", "-m", "Share", ".dvc/config")
    first.run("git", "rebase", "-q", "main", "faster")
    first.run("git", "switch", "-q", "main")
    first.dvc("push", "--all-branches")
    first.run("git", "clone", "-q", "--bare", ".", str(team.place / "origin.git"))
    return team


@pytest.fixture(scope="module")
def bob(team: Team) -> Clone:
    """Somebody whose clone has `main` as it was before Alice changed it."""
    bob = team.new_clone("bob")
    bob.dvc("pull")
    return bob


@pytest.fixture(scope="module")
def alice(team: Team, bob: Clone) -> Clone:
    """Somebody whose branch `gru` went into `main` on the server after Bob had cloned it."""
    alice = team.new_clone("alice")
    alice.dvc("pull")
    print("\nAlice:")
    assert run_stages("".join(follow("A branch for each change", alice).values()))[:2] == ["pretrain", "train"]
    alice.run("git", "push", "-q", "origin", "gru:main")
    return alice


@pytest.fixture(scope="module")
def merge(bob: Clone, alice: Clone) -> Printed:
    print("\nBob:")
    printed = follow("A branch for each change", bob, BOB)
    assert run_stages("".join(printed.values())) == ["evaluate", "report", "package"]
    return follow("Two people at once", bob)


@pytest.fixture(scope="module")
def shared_cache(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that is already used by one clone."""
    cache = tmp_path_factory.mktemp("shared") / "dvc-cache"
    print("\nThe first user of the cache:")
    follow("One cache for the users of a machine", team.new_clone("carol"), {"/srv/dvc-cache": str(cache)})
    return cache


@pytest.fixture(scope="module")
def second(team: Team, shared_cache: Path) -> Clone:
    """A second clone that uses the cache, set up while the remote could not be reached."""
    clone, remote = team.new_clone("dan"), team.place / "remote"
    before = states(shared_cache)
    remote.rename(remote.with_suffix(".away"))
    try:
        print("\nThe second user of the cache:")
        printed = follow("One cache for the users of a machine", clone, {"/srv/dvc-cache": str(shared_cache)})
    finally:
        remote.with_suffix(".away").rename(remote)
    assert run_stages(printed["dvc repro"]) == []
    assert "up to date" in printed["dvc repro"]
    assert states(shared_cache) == before
    return clone


def names_in(cache: Path) -> set[str]:
    return {"".join(path.parts[-2:]) for path in (cache / "files" / "md5").glob("*/*")}


def states(cache: Path) -> dict[Path, tuple[int, int, int]]:
    """Return the inode, mode and time of change of each object in a cache."""
    files = [path for path in (cache / "files").rglob("*") if path.is_file()]
    return {path: (path.stat().st_ino, path.stat().st_mode, path.stat().st_mtime_ns) for path in files}


def outputs(clone: Clone, revision: str) -> dict[str, str]:
    """Return the md5 of each output that DVC caches, by path."""
    stages = yaml.safe_load(clone.run("git", "show", f"{revision}:dvc.lock"))["stages"].values()
    in_git = re.compile(r"metrics/\w+\.json")
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"] if not in_git.fullmatch(out["path"])}


def output_files(clone: Clone) -> list[Path]:
    """Return the files of all outputs that DVC caches."""
    places = [clone.folder / path for path in outputs(clone, "HEAD")]
    return [
        file
        for place in places
        for file in ([place] if place.is_file() else sorted(place.rglob("*")))
        if file.is_file()
    ]


def test_a_pushed_branch_has_its_files_on_the_remote(team: Team, alice: Clone) -> None:
    assert "refs/heads/gru" in alice.run("git", "ls-remote", "origin")
    assert set(outputs(alice, "origin/gru").values()) <= team.stored()


def test_two_branches_conflict_and_become_one(bob: Clone, merge: Printed) -> None:
    said = merge["git merge origin/main"]
    assert {"dvc.lock", "metrics/test.json"} <= set(re.findall(r"conflict in (\S+)", said))
    assert run_stages(merge["dvc repro --pull"]) == ["evaluate", "report", "package"]
    assert bob.run("git", "status", "--porcelain") == ""


def test_a_third_clone_of_main_runs_nothing(team: Team, bob: Clone, merge: Printed) -> None:
    third = team.new_clone("third")
    third.dvc("pull")
    said = third.dvc("repro")
    print(f"\nA third person:\n\n$ dvc repro\n{said}", end="")
    assert run_stages(said) == []
    assert "up to date" in said
    assert third.digests() == bob.digests()
    params = third.run("git", "show", "main:params.yaml")
    assert re.search("cell: gru", params)
    assert re.search("calibration_bins: 10", params)


def test_a_second_clone_with_the_same_cache_copies_no_bytes(second: Clone, shared_cache: Path) -> None:
    objects = {state[0] for state in states(shared_cache).values()}
    files = output_files(second)
    assert len(files) > 20
    assert [file for file in files if file.stat().st_ino not in objects] == []
    assert {state[1] & 0o777 for state in states(shared_cache).values()} == {0o444}
    folders = {path for path in (shared_cache / "files" / "md5").iterdir() if path.is_dir()}
    assert {folder.stat().st_mode & 0o7777 for folder in folders} == {0o2775}


def test_a_linked_file_is_read_only_until_it_is_unprotected(second: Clone, shared_cache: Path) -> None:
    before, corpus = states(shared_cache), second.folder / "data" / "corpus.parquet"
    assert corpus.stat().st_mode & 0o222 == 0
    second.dvc("unprotect", "data/corpus.parquet")
    with corpus.open("ab") as file:
        file.write(b"changed by hand")
    assert states(shared_cache) == before
    second.dvc("checkout", "--force", "data/corpus.parquet")
    assert corpus.stat().st_mode & 0o222 == 0


def test_stages_do_not_write_through_links_into_the_cache(second: Clone, shared_cache: Path) -> None:
    before = states(shared_cache)
    second.dvc("config", "--local", "cache.type", "symlink")
    second.dvc("checkout", "--relink")
    assert all(file.is_symlink() for file in output_files(second))
    said = second.dvc("exp", "run", "-S", "evaluate.length_bins=5", "evaluate")
    assert run_stages(said) == ["evaluate"]
    after = states(shared_cache)
    assert before.items() < after.items()
    for path in after:
        assert hashlib.md5(path.read_bytes()).hexdigest() == "".join(path.parts[-2:]).removesuffix(".dir")


def test_garbage_collection_keeps_what_open_branches_need(team: Team, merge: Printed) -> None:
    """Branch `faster` is deleted on the server, `gru` and `bins` are not."""
    cleaner = team.new_clone("cleaner")
    open_branches = ("main", "gru", "bins")
    needed = {md5 for branch in open_branches for md5 in outputs(cleaner, f"origin/{branch}").values()}
    unneeded = set(outputs(cleaner, "origin/faster").values()) - needed
    assert unneeded <= team.stored()
    assert len(unneeded) > 5
    cleaner.run("git", "push", "-q", "origin", "--delete", "faster")
    printed = follow("Removing what nobody needs", team.new_clone("keeper"))
    assert len(re.findall("Removing ", printed["dvc gc --all-branches --all-tags --cloud --dry"])) > len(unneeded)
    assert re.search(r"Removed \d+ objects from remote", "".join(printed.values()))
    assert needed <= team.stored()
    assert not unneeded & team.stored()
    for branch in open_branches:
        cleaner.run("git", "switch", "-q", branch)
        cleaner.dvc("pull")
        assert "up to date" in cleaner.dvc("status"), branch


def test_a_command_waits_for_the_lock_of_its_clone_when_asked(team: Team) -> None:
    clone = team.new_clone("waiting")
    clone.dvc("gc", "--workspace", "--force")
    with (clone.folder / ".dvc" / "tmp" / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as DVC does while it changes files
        assert "Unable to acquire lock" in clone.dvc("gc", "--workspace", "--force", status=None)
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "gc", "--workspace", "--force"]
        waiting = subprocess.Popen(command, cwd=clone.folder, env=clone.environment(), stderr=subprocess.DEVNULL)
        time.sleep(6)  # twice as long as DVC tries otherwise
        assert waiting.poll() is None
    assert waiting.wait() == 0
