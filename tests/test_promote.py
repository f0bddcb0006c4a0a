"""A commit becomes a version of the model: what is compared, what is refused, and a small run that is promoted."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.promote import git, last_version, promote
from sentiment.errors import InputError
from tests.clone import Clone


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with results to tag, accuracy 80 %, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    git("config", "user.name", "Test")
    git("config", "user.email", "test@example.org")
    commit(0.75, 0.8, 0.85)
    return tmp_path


def commit(low: float, accuracy: float, high: float, corpus: str = "sample", content: str = "reviews") -> None:
    """Commit results, as the pipeline writes them."""
    metrics = json.dumps({"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high})
    lock = {
        "stages": {
            "download_corpus": {
                "params": {"params.yaml": {"download.corpus": corpus}},
                "outs": [{"path": "data/corpus.parquet", "md5": content}],
            },
            "evaluate": {
                "outs": [{"path": "metrics/test.json", "md5": hashlib.md5(metrics.encode()).hexdigest()}],
            },
        }
    }
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/test.json").write_text(metrics)
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    Path("params.yaml").write_text(yaml.safe_dump({"download": {"corpus": corpus}}))
    git("add", ".")
    git("commit", "--quiet", "--message", "A run")


def test_the_first_version_needs_no_predecessor(repository: Path) -> None:
    assert promote("v1.0.0") == "classifier@v1.0.0"
    assert git("cat-file", "-t", "classifier@v1.0.0") == "tag\n"  # annotated
    assert git("tag", "--list", "--format=%(contents)", "classifier@*").strip() == (
        "Test accuracy 80.00% (75.00% to 85.00%)"
    )
    assert git("rev-parse", "classifier@v1.0.0^{commit}") == git("rev-parse", "HEAD")


@pytest.mark.parametrize(("part", "tag"), [("major", "v2.0.0"), ("minor", "v1.3.0"), ("patch", "v1.2.10")])
def test_the_next_version_follows_the_highest(repository: Path, part: str, tag: str) -> None:
    for version in ("v1.2.9", "v1.2.3", "v1.1.10"):
        promote(version, force=True)
    commit(0.81, 0.9, 0.95)
    assert promote(part) == f"classifier@{tag}"


def test_an_interval_that_holds_the_last_accuracy_is_refused(repository: Path) -> None:
    promote("v1.0.0")
    commit(0.8, 0.9, 0.95)
    with pytest.raises(InputError) as refusal:
        promote("minor")
    assert str(refusal.value) == (
        "metrics/test.json: accuracy 90.00% (80.00% to 95.00%) does not beat classifier@v1.0.0, 80.00% "
        "(75.00% to 85.00%): its interval must begin above 80.00%, or use --force"
    )
    assert git("tag", "--list") == "classifier@v1.0.0\n"
    assert promote("minor", force=True) == "classifier@v1.1.0"


@pytest.mark.parametrize("changed", ["dvc.lock", "metrics/test.json", "params.yaml"])
def test_changes_that_are_not_committed_are_refused_even_by_force(repository: Path, changed: str) -> None:
    with (repository / changed).open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match=f"commit these files first, or restore them: {changed}$"):
        promote("v1.0.0", force=True)


def test_metrics_of_another_run_than_the_lock_are_refused(repository: Path) -> None:
    Path("metrics/test.json").write_text('{"accuracy": 1.0}')
    git("commit", "--quiet", "--all", "--message", "Too good")
    with pytest.raises(InputError, match=r"test\.json: differs from the file recorded in dvc\.lock; run dvc repro"):
        promote("v1.0.0", force=True)


def test_parameters_that_have_not_run_are_refused(repository: Path) -> None:
    Path("params.yaml").write_text("download: {corpus: imdb}\n")
    git("commit", "--quiet", "--all", "--message", "Not run")
    with pytest.raises(InputError, match=r"^params\.yaml: download\.corpus is not what dvc\.lock records"):
        promote("v1.0.0", force=True)


def test_another_corpus_is_refused(repository: Path) -> None:
    promote("v1.0.0")
    commit(0.97, 0.98, 0.99, corpus="imdb", content="films")
    with pytest.raises(InputError, match=r"is of the corpus imdb, classifier@v1\.0\.0 of sample"):
        promote("major")
    commit(0.97, 0.98, 0.99, content="other reviews")
    with pytest.raises(InputError, match=r"data/corpus\.parquet: differs from that of classifier@v1\.0\.0"):
        promote("major")
    assert promote("major", force=True) == "classifier@v2.0.0"


def test_a_tag_that_exists_is_refused_even_by_force(repository: Path) -> None:
    promote("v1.0.0")
    commit(0.97, 0.98, 0.99)
    with pytest.raises(InputError, match=r"classifier@v1\.0\.0: exists; choose another version"):
        promote("v1.0.0", force=True)


@pytest.mark.parametrize("version", ["1.2.0", "v1.2", "next", ""])
def test_the_version_is_semantic(repository: Path, version: str) -> None:
    with pytest.raises(InputError, match=r"must be like v1\.2\.0, or one of major, minor, patch; got"):
        promote(version)


def test_there_is_nothing_to_count_from_before_the_first_version(repository: Path) -> None:
    with pytest.raises(InputError, match=r"minor: there is no version to count from; name the first, such as v1\.0\.0"):
        promote("minor")


def test_a_withdrawn_version_and_tags_of_stages_do_not_count(repository: Path) -> None:
    promote("v1.0.0")
    commit(0.9, 0.95, 0.99)
    promote("v1.1.0")
    for tag in ("classifier@v1.1.0!", "classifier#prod", "classifier@vNext"):  # the first two as GTO writes them
        git("tag", tag)
    assert last_version() == "v1.0.0"


def test_a_tag_is_pushed_only_when_asked(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    remote = tmp_path_factory.mktemp("remote")
    git("init", "--quiet", "--bare", str(remote))
    git("remote", "add", "origin", str(remote))
    promote("v1.0.0")
    assert git("ls-remote", "--tags", "origin") == ""
    promote("v1.0.1", force=True, remote="origin")
    assert "refs/tags/classifier@v1.0.1\n" in git("ls-remote", "--tags", "origin")
    with pytest.raises(InputError, match=r"git push: .*nowhere"):
        promote("v1.0.2", force=True, remote="nowhere")
    assert last_version() == "v1.0.1"


@pytest.mark.slow
def test_a_model_that_is_not_better_stays_without_a_version(small_run: Clone, tmp_path: Path) -> None:
    clone = small_run.copy_to(tmp_path / "clone")
    command = [sys.executable, "-m", "experiments.promote"]
    print(clone.run(*command, "v1.0.0"))
    clone.run("git", "switch", "-q", "faster")
    refused = clone.run(*command, "minor", status=1)
    print(refused)
    assert refused.startswith("error: metrics/test.json: accuracy ")
    assert refused.count("\n") == 1
    clone.run(*command, "minor", "--force")
    assert subprocess.check_output(["git", "tag"], cwd=clone.folder, text=True).split() == [
        "classifier@v1.0.0",
        "classifier@v1.1.0",
    ]
    assert "v1.1.0" in clone.run("gto", "show", "classifier")
