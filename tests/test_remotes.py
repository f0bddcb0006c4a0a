"""Sharing through a remote: one contract, kept by a folder and by servers of SSH, WebDAV and S3.

`pytest tests/test_remotes.py -v` prints what passed on each. Where the environment variable NO_SKIPS is set, a server
that cannot be started is a failure.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.clone import FASTER, STAGES, Clone
from tests.servers import KINDS, CannotStartError, Remote

pytestmark = pytest.mark.slow

HALF = 250_000  # bytes, of the 500,000 that are pushed
NOTHING_RAN = "Data and pipelines are up to date."


@dataclass(frozen=True)
class Trained:
    """A repository in which the pipeline ran, on the branch `main` and with a change on `faster`."""

    clone: Clone
    digests: dict[str, str]
    faster_digests: dict[str, str]


@dataclass(frozen=True)
class Team:
    """Two people and what they share: a bare repository and a remote."""

    place: Path
    remote: Remote
    alice: Clone
    trained: Trained

    def new_colleague(self, name: str) -> Clone:
        """Clone the bare repository, and set the secrets, which are not in it."""
        self.alice.run("git", "clone", "-q", str(self.place / "origin.git"), str(self.place / name))
        secrets = self.alice.folder / ".dvc" / "config.local"
        if secrets.exists():
            shutil.copy(secrets, self.place / name / ".dvc")
        return Clone.at(self.place / name)

    def stored(self) -> dict[str, bytes]:
        """Return what the remote holds, by md5."""
        files = self.remote.files
        names = [name for name in files.find("files/md5") if not name.endswith(".tmp")]
        return {"".join(name.split("/")[-2:]): files.cat_file(name) for name in names}

    def path(self, md5: str) -> str:
        return f"files/md5/{md5[:2]}/{md5[2:]}"

    def remove(self, *md5s: str) -> None:
        for md5 in md5s:
            self.remote.files.rm_file(self.path(md5))


@pytest.fixture(scope="module", autouse=True)
def impatient() -> Iterator[None]:
    """Let S3's client try once; it tries for 15 seconds otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield


@pytest.fixture(scope="module")
def trained(small_run: Clone, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    clone = small_run.copy_to(tmp_path_factory.mktemp("trained"))
    digests = clone.digests()
    clone.run("git", "switch", "-q", "faster")
    clone.dvc("checkout", "-q")
    faster_digests = clone.digests()
    clone.run("git", "switch", "-q", "main")
    clone.dvc("checkout", "-q")
    return Trained(clone, digests, faster_digests)


@pytest.fixture(scope="module", params=KINDS)
def team(request: pytest.FixtureRequest, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    place = tmp_path_factory.mktemp(request.param)
    (place / "server").mkdir()
    with ExitStack() as servers:
        try:
            remote = servers.enter_context(KINDS[request.param](place / "server"))
        except CannotStartError as reason:
            (pytest.fail if "NO_SKIPS" in os.environ else pytest.skip)(str(reason))
        shutil.copytree(trained.clone.folder, place / "alice", symlinks=True)
        alice = Clone.at(place / "alice")
        alice.dvc("remote", "add", "-d", "storage", remote.url)
        for name, value in {"verify": "true", **remote.settings}.items():
            alice.dvc("remote", "modify", "storage", name, value)
        for name, value in remote.secrets.items():
            alice.dvc("remote", "modify", "--local", "storage", name, value)
        alice.run("git", "commit", "-q", "-m", "Share", ".dvc/config")
        alice.run("git", "rebase", "-q", "main", "faster")
        alice.run("git", "switch", "-q", "main")
        alice.run("git", "init", "-q", "--bare", "-b", "main", str(place / "origin.git"))
        alice.run("git", "remote", "add", "origin", str(place / "origin.git"))
        alice.run("git", "push", "-q", "origin", "main", "faster")
        yield Team(place, remote, alice, trained)


@pytest.fixture(scope="module")
def pushed(team: Team) -> Team:
    team.alice.dvc("push", "--run-cache")
    return team


@pytest.fixture(scope="module")
def bob(pushed: Team) -> Clone:
    bob = pushed.new_colleague("bob")
    bob.dvc("pull")
    return bob


def outputs(clone: Clone) -> dict[str, str]:
    """Return the md5 of each output, by path."""
    stages = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


def test_a_push_that_loses_its_server_says_so_and_finishes_later(team: Team) -> None:
    with team.remote.failing(HALF):
        said = team.alice.dvc("push", "--run-cache", status=None)
    assert re.search(team.remote.loss, said)
    assert "Traceback" not in said
    some = set(team.stored())
    torn = [md5 for md5, content in team.stored().items() if hashlib.md5(content).hexdigest() != md5.split(".")[0]]
    assert team.remote.keeps_partial_uploads or not torn
    team.remove(*torn)  # for DVC would take them for whole
    team.alice.dvc("push", "--run-cache")
    assert some < set(team.stored()) >= set(outputs(team.alice).values())
    for md5, content in team.stored().items():
        assert hashlib.md5(content).hexdigest() == md5.split(".")[0]


def test_no_secret_is_in_git(team: Team) -> None:
    team.alice.run("git", "add", ".")
    tracked = team.alice.run("git", "log", "-p", "--all") + team.alice.run("git", "grep", "-h", "--cached", "")
    assert "dvc.lock" in tracked
    assert not [name for name, secret in team.remote.secrets.items() if name != "user" and secret in tracked]


def test_a_stranger_is_not_let_in(pushed: Team) -> None:
    stranger = pushed.new_colleague("stranger")
    for name, value in pushed.remote.wrong.items():
        stranger.dvc("remote", "modify", "--local", "storage", name, value)
    said = stranger.dvc("pull", status=None)
    assert re.search(pushed.remote.refusal, said)
    assert "Traceback" not in said


def test_a_pull_that_loses_its_server_says_so_and_finishes_later(pushed: Team) -> None:
    bob = pushed.new_colleague("unlucky")
    with pushed.remote.failing(HALF):
        said = bob.dvc("pull", status=None)
    assert re.search(pushed.remote.loss, said)
    assert "Traceback" not in said
    bob.dvc("pull")
    assert bob.digests() == pushed.trained.digests


def test_a_colleague_gets_the_same_bytes_and_runs_nothing(bob: Clone, pushed: Team) -> None:
    assert bob.digests() == pushed.trained.digests
    assert NOTHING_RAN in bob.dvc("status")
    said = bob.dvc("repro")
    assert "Running stage" not in said
    assert NOTHING_RAN in said


def test_the_run_cache_restores_what_lock_and_cache_have_lost(pushed: Team) -> None:
    bob = pushed.new_colleague("forgetful")
    (bob.folder / "dvc.lock").unlink()
    bob.dvc("fetch", "--run-cache")
    said = bob.dvc("repro", "--pull")
    assert "Running stage" not in said
    assert said.count("is cached - skipping run") == len(STAGES)
    assert bob.digests() == pushed.trained.digests
    assert bob.run("git", "status", "--porcelain") == ""


def test_metrics_are_compared_without_a_pull(pushed: Team) -> None:
    reader = pushed.new_colleague("reader")
    reader.run("git", "switch", "-q", "faster")
    said = reader.dvc("metrics", "diff", "main")
    assert re.search(r"metrics/test.json +loss", said)
    assert not (reader.folder / "model").exists()


def test_a_lost_object_is_missed_and_can_be_pushed_again(pushed: Team) -> None:
    folders = [outputs(pushed.alice)[name] for name in ("model", "classifier")]  # which hold the same weights
    weights = next(file["md5"] for file in json.loads(pushed.stored()[folders[0]]) if "weights" in file["relpath"])
    pushed.remove(weights)
    bob = pushed.new_colleague("loser")
    assert weights in bob.dvc("pull", status=None)
    # DVC takes a folder for whole where its list is.
    for folder in folders:
        pushed.remove(folder)
    pushed.alice.dvc("push")
    bob.dvc("pull")
    assert bob.digests() == pushed.trained.digests


def test_a_damaged_object_is_noticed_and_can_be_replaced(pushed: Team) -> None:
    path = "data/prepared/train.safetensors"
    md5 = outputs(pushed.alice)[path]
    damaged = bytearray(pushed.stored()[md5])
    damaged[len(damaged) // 2] ^= 1
    pushed.remove(md5)
    pushed.remote.files.pipe_file(pushed.path(md5), bytes(damaged))
    bob = pushed.new_colleague("victim")
    assert path in bob.dvc("pull", status=None)
    if md5 in pushed.stored():  # DVC removes it from a folder of its own accord
        pushed.remove(md5)
    pushed.alice.dvc("push")
    bob.dvc("pull")
    assert bob.digests() == pushed.trained.digests


def test_an_experiment_is_shared(bob: Clone, pushed: Team) -> None:
    pushed.alice.dvc("exp", "run", "-n", "quick", "-S", FASTER)
    pushed.alice.dvc("exp", "push", "origin", "quick")
    bob.dvc("exp", "pull", "origin", "quick")
    bob.dvc("exp", "apply", "quick")
    assert bob.digests() == pushed.trained.faster_digests


def test_vectors_that_anybody_can_fetch_need_not_be_pushed(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.clone.folder, tmp_path / "alice", symlinks=True)
    alice = Clone.at(tmp_path / "alice")
    pipeline = alice.folder / "dvc.yaml"
    before = pipeline.read_text()
    output = "    outs:\n      - data/vectors"
    pipeline.write_text(before.replace(f"{output}\n", f"{output}:\n          push: false\n"))
    assert pipeline.read_text() != before
    alice.dvc("remote", "add", "-d", "storage", str(tmp_path / "store"))
    alice.run("git", "commit", "-q", "-a", "-m", "Keep the vectors")
    alice.dvc("push")
    vectors = outputs(alice)["data/vectors"]
    assert not (tmp_path / "store" / "files" / "md5" / vectors[:2] / vectors[2:]).exists()

    alice.run("git", "clone", "-q", str(alice.folder), str(tmp_path / "bob"))
    bob = Clone.at(tmp_path / "bob")
    bob.dvc("pull", "--allow-missing")
    assert trained.digests.items() - bob.digests().items() == {("data/vectors", trained.digests["data/vectors"])}
    assert NOTHING_RAN in bob.dvc("repro", "--allow-missing")
