"""The comment on what a change did, of two branches of a small run."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Browser

from experiments.pull_request import Result, comment, metric_table, read_result, verdict
from sentiment.errors import InputError
from tests.clone import Clone

METRICS = {"test.accuracy": 0.9, "test.accuracy_low": 0.85, "test.accuracy_high": 0.95, "test.loss": 0.3}
TABLE = {"id": ["a", "b", "c"], "actual": ["x", "x", "y"]}


def result(name: str, predicted: list[str] | None = None, **metrics: float) -> Result:
    """Return a result with some metrics of the test reviews."""
    return Result(
        name=name,
        corpus="0a1b",
        params={"train.seed": 1},
        metrics=METRICS | {f"test.{key}": value for key, value in metrics.items()},
        curves={"validation loss, nats": [0.5, 0.4], "validation accuracy": None},
        behaviour=None,
        predictions=TABLE | {"predicted": predicted} if predicted else None,
    )


def turned(found: Result) -> Result:
    """Return a result with its predictions in the opposite order."""
    assert found.predictions is not None
    return replace(found, predictions={name: column[::-1] for name, column in found.predictions.items()})


def test_texts_gained_and_lost_are_counted() -> None:
    said = verdict(result("main", ["x", "y", "y"]), turned(result("here", ["x", "x", "x"], accuracy=0.92)))
    assert said.startswith("Test accuracy **92.00%** (95 % interval 85.00% to 95.00%), `main` 90.00%.")
    assert "1 texts gained, 1 lost: the difference may be chance (McNemar's p 1)." in said


def test_without_the_same_predictions_the_interval_decides() -> None:
    for accuracy, place in ((0.9, "inside"), (0.8, "outside")):
        assert verdict(result("main", accuracy=accuracy), result("here")).endswith(f", which is {place} that interval.")


def test_accuracies_on_different_texts_are_not_compared() -> None:
    other = replace(result("main", ["x", "y", "y"]), corpus="2c3d")
    said = verdict(other, result("here", ["x", "x", "x"]))
    assert said.endswith("`main` 90.00%. The texts differ, so the two accuracies cannot be compared.")


@pytest.mark.parametrize(
    ("key", "before", "after", "row"),
    [
        ("network_accuracy", 0.8, 0.9, "0.8 | 0.9 | ▲ +0.1 better"),
        ("loss", 0.3, 0.4, "0.3 | 0.4 | ▲ +0.1 worse"),
        ("train_perplexity", 90, 80, "90 | 80 | ▼ -10 better"),
        ("best_epoch", 3, 5, "3 | 5 | ▲ +2"),
        ("tokens_in_vocabulary", 0.9, 0.8, "0.9 | 0.8 | ▼ -0.1 worse"),
        ("vocabulary", 500, 600, "500 | 600 | ▲ +100"),
        ("f1", None, 0.9, "- | 0.9 | "),
    ],
)
def test_a_change_is_better_or_worse_or_has_no_direction(
    key: str, before: float | None, after: float, row: str
) -> None:
    base = replace(result("main"), metrics={} if before is None else {f"test.{key}": before})
    here = replace(result("here"), metrics={f"test.{key}": after})
    assert metric_table(base, here).splitlines()[2:] == [f"| `test.{key}` | {row} |"]


def test_what_neither_has_is_said() -> None:
    text = comment(result("main"), result("here"), ["- Stages."], "")
    assert "The curves of main and here are neither in the cache nor on the remote." in text
    assert "curves.png" not in text
    assert "No parameter differs." in text
    assert "No metric differs." in text


@pytest.fixture(scope="module")
def written(small_run: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command writes on branch `faster`, compared with `main`."""
    clone = small_run.copy_to(tmp_path_factory.mktemp("pull_request"))
    clone.run("git", "switch", "-q", "faster")
    (clone.folder / "comparison").mkdir()
    (clone.folder / "comparison" / "mine.txt").touch()
    said = clone.run(sys.executable, "-m", "experiments.pull_request", "--base", "main")
    assert said.splitlines()[-1] == "comparison/comment.md: the comparison with main"
    return clone.folder


@pytest.mark.slow
def test_the_comment_says_what_a_branch_changed(written: Path) -> None:
    text = (written / "comparison" / "comment.md").read_text(encoding="utf-8")
    assert "| `train.learning_rate` | 0.006 | 0.002 |" in text
    assert re.search(r"- Stages that ran: none, in \d\.\d minutes\.\n- Restored from the cache: train, calibrate", text)
    assert re.search(r"\| `train\.train_loss` \| [\d.]+ \| [\d.]+ \| [▲▼] [+-][\d.]+ (better|worse) \|", text)
    assert re.search(r"texts gained, [\d,]+ lost: the difference", text)
    assert re.search(r"\| negation \| 20 \| \d+% \| \d+% \|", text)
    assert (written / "comparison" / "curves.png").stat().st_size > 10_000
    assert (written / "comparison" / "mine.txt").exists()


@pytest.mark.slow
def test_the_comment_is_drawn_with_its_tables_and_its_picture(written: Path, browser: Browser, tmp_path: Path) -> None:
    text = (written / "comparison" / "comment.md").read_text(encoding="utf-8")
    page = written / "comparison" / "comment.html"
    page.write_text(
        f'<meta charset="utf-8">{MarkdownIt("gfm-like", {"linkify": False}).render(text)}', encoding="utf-8"
    )
    shown = browser.new_page(viewport={"width": 900, "height": 800})
    shown.goto(page.as_uri())
    assert shown.locator("table").count() == 3
    assert shown.evaluate("[...document.images].map(image => image.naturalWidth > 0)") == [True]
    shown.close()


@pytest.mark.slow
def test_a_base_that_is_not_in_the_cache_still_has_its_metrics(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written.parent / "uncached"
    subprocess.run(["git", "clone", "-q", str(written), str(folder)], check=True)
    monkeypatch.chdir(folder)
    found = read_result("main", "origin/main")
    assert found.metrics["test.reviews"] > 0
    assert found.corpus == read_result("here", None).corpus is not None
    assert found.predictions is found.behaviour is None


@pytest.mark.slow
def test_a_revision_of_another_project_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        [*git, "commit", "-qm", "Start"],
    ):
        subprocess.run(command, check=True)
    with pytest.raises(InputError, match=r"^HEAD: has no params\.yaml"):
        read_result("HEAD", "HEAD")
