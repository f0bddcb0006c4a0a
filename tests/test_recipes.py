"""The recipes of docs/comparing.md, and those of docs/sharing.md that one person follows.

`pytest -s tests/test_recipes.py` prints what somebody who follows them sees. `tests/test_team.py` runs the others.
"""

import re
import time
from pathlib import Path

import pytest

from tests.clone import Clone
from tests.recipes import PAGES, RECIPES, Printed, follow, run_stages

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(small_run: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose branch `main` holds a small run of the pipeline."""
    clone = small_run.copy_to(tmp_path_factory.mktemp("recipes"))
    clone.run("git", "branch", "-q", "-D", "faster")  # a recipe makes a branch of that name
    return clone


@pytest.fixture(scope="module")
def branches(clone: Clone) -> Printed:
    return follow("Two branches", clone)


@pytest.fixture(scope="module")
def grid(clone: Clone) -> Printed:
    printed = follow("A grid in the background", clone)
    while re.search("Queued|Running|[1-9] active", clone.dvc("queue", "status")):
        time.sleep(2)  # asking takes processor time from the queue
    return printed


@pytest.fixture(scope="module")
def choice(clone: Clone, grid: Printed) -> Printed:
    return follow("The best of them", clone)


@pytest.fixture(scope="module")
def merge(clone: Clone, branches: Printed, choice: Printed) -> Printed:
    return follow("Two branches that conflict", clone)


@pytest.fixture(scope="module")
def origin(clone: Clone, merge: Printed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository to which a team pushes, and a DVC remote beside it; all of branch `gru` has been pushed."""
    folder = tmp_path_factory.mktemp("shared")
    clone.dvc("remote", "add", "--default", "shared", str(folder / "remote"))
    clone.run("git", "commit", "-q", "-m", "A remote", ".dvc/config")
    clone.dvc("push")
    clone.run("git", "clone", "-q", "--bare", ".", str(folder / "sentiment.git"))
    return folder / "sentiment.git"


@pytest.fixture(scope="module")
def colleague(clone: Clone, origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Somebody else's clone of it, with a cache of its own."""
    folder = tmp_path_factory.mktemp("colleague") / "clone"
    clone.run("git", "clone", "-q", "-c", "user.name=Other", "-c", "user.email=o@example.org", str(origin), str(folder))
    return Clone.at(folder)


def test_every_recipe_is_followed() -> None:
    tests = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("test_recipes.py", "test_team.py")]
    assert set(RECIPES) == set(re.findall(r'follow\("(.+?)"', "".join(tests)))
    assert len(RECIPES) == PAGES.count("```sh\n")


def test_two_branches_are_compared(branches: Printed) -> None:
    assert run_stages(branches["dvc exp run -S model.cell=gru"])[:2] == ["pretrain", "train"]
    assert re.search(r"model\.cell +lstm +gru", branches["dvc params diff main"])
    assert re.search(r"metrics/train\.json +train_loss +0\.\d+ +0\.\d+ +-?0\.\d+", branches["dvc metrics diff main"])
    page = Path(branches["dvc plots diff main"].strip().removeprefix("file://"))
    assert all(f'"rev": "{branch}"' in page.read_text() for branch in ("main", "workspace"))


def test_a_grid_runs_in_the_background(clone: Clone, grid: Printed) -> None:
    status = clone.dvc("queue", "status")
    assert all(re.search(rf"rate-{number} .*Success", status) for number in (1, 2, 3))


def test_experiments_are_shown_with_the_best_first(choice: Printed) -> None:
    shown = next(output for command, output in choice.items() if command.startswith("dvc exp show"))
    header, *rows = [line.split() for line in shown.splitlines() if re.search(r"Experiment|\[rate-", line)]
    assert {"validation_loss", "validation_accuracy", "train.learning_rate"} < set(header)
    losses = [float(row[header.index("validation_loss") - len(header)]) for row in rows]
    assert len(losses) == 3
    assert losses == sorted(losses)


def test_an_experiment_becomes_a_branch(clone: Clone, choice: Printed) -> None:
    assert "validation_loss" in choice["dvc metrics diff"]
    assert "learning_rate: 0.004" in clone.run("git", "show", "faster:params.yaml")


def test_a_merge_that_conflicts_ends_the_same_from_either_side(clone: Clone, merge: Printed) -> None:
    assert "conflict in dvc.lock" in merge["git merge faster"]
    assert run_stages(merge["dvc repro"])[0] == "train"
    assert "up to date" in clone.dvc("status")
    clone.run("git", "switch", "-q", "-c", "other-side", "gru^1")
    clone.run("git", "merge", "faster", status=1)
    clone.run("git", "checkout", "--theirs", "dvc.lock", "metrics")
    assert run_stages(clone.dvc("repro")) == []
    clone.run("git", "commit", "-q", "-a", "-m", "The other side")
    assert clone.run("git", "diff", "gru") == ""
    clone.run("git", "switch", "-q", "gru")


def test_the_least_is_pulled(colleague: Clone) -> None:
    printed = list(follow("The least that is needed", colleague).values())
    assert run_stages(printed[1]) == ["evaluate"]
    assert run_stages(printed[2]) == ["report", "package"]
    assert not (colleague.folder / "data" / "prepared" / "train.safetensors").exists()


def test_a_model_is_got_by_its_name(clone: Clone, colleague: Clone, origin: Path) -> None:
    colleague.run("git", "restore", ".")  # a version is a commit
    printed = follow("A model by its name", colleague, {"https://example.org/sentiment.git": str(origin)})
    assert printed["python -m experiments.promote v1.0.0 --remote origin"].startswith(
        "classifier@v1.0.0: test accuracy"
    )
    for name in ("weights.safetensors", "model.json", "vocabulary.json", "README.md"):
        assert (colleague.folder / "best" / name).read_bytes() == (clone.folder / "classifier" / name).read_bytes()
    *_, scored = printed.values()
    assert re.fullmatch(r"0\.\d{4}  (positive|negative)  At no point did it strike me as dull\.\n", scored)


def test_cleaning_up_takes_nothing_that_a_branch_needs(clone: Clone, merge: Printed) -> None:
    printed = follow("Cleaning up", clone)
    assert int(re.findall(r"Removed (\d+) objects", "".join(printed.values()))[0]) > 0
    for branch in ("main", "gru", "faster"):
        clone.run("git", "switch", "-q", branch)
        clone.dvc("checkout")
        assert "up to date" in clone.dvc("status"), branch
