"""All comparisons are valid, and one of them is queued, run and plotted in a clone."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.compare import Accuracies, Run, plot, read_run, table
from experiments.rows import FOLDER, Comparison, Row, read_comparison, stem
from sentiment.errors import InputError
from stages.params import Params
from tests.clone import ROOT, Clone

COMPARISONS = sorted(path.stem for path in (ROOT / FOLDER).glob("*.yaml"))
TINY = """
every_row: {train.epochs: 2, model.hidden_size: 8}
rows:
  - {name: A GRU, adds: Gates., changes: {model.cell: gru, train.learning_rate: 1e-3}}
  - {name: "Max, padded", adds: A maximum., changes: {model.pooling: [max], prepare.pad_to: 120}}
"""
# A pipeline of one stage that writes, in no time, the files that a comparison reads.
PIPELINE = """
stages:
  train:
    cmd: python train.py
    deps: [train.py]
    params: [model, prepare, train]
    outs: [curves]
    metrics: [metrics/train.json: {cache: false}, metrics/test.json: {cache: false}]
"""
SCRIPT = """
import json
from pathlib import Path
from ruamel.yaml import YAML

params = YAML().load(Path("params.yaml"))
share = (params["train"]["seed"] + len(params["model"]["pooling"])) / 10
losses = Path("curves/plots/metrics/validation/loss.tsv")
losses.parent.mkdir(parents=True)
losses.write_text("".join(["step\\tloss\\n", *(f"{epoch}\\t{share / epoch}\\n" for epoch in (1, 2))]))
Path("metrics").mkdir(exist_ok=True)
Path("metrics/train.json").write_text(json.dumps({"validation_accuracy": share, "best_epoch": 2}))
figures = dict.fromkeys(["network_accuracy", "accuracy", "baseline_accuracy"], share)
Path("metrics/test.json").write_text(json.dumps(figures))
"""


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def check_values(changes: dict[str, Any]) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for place, value in changes.items():
        *sections, key = place.split(".")
        section = reduce(dict.__getitem__, sections, values)
        assert key in section, place
        section[key] = value
    Params.model_validate(values)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_the_rows_of_a_comparison_are_valid_and_different(comparison: str) -> None:
    rows = read_comparison(comparison).rows
    for row in rows:
        check_values(row.changes)
    assert len({json.dumps(row.changes, sort_keys=True) for row in rows}) == len(rows)
    assert len({stem(comparison, row) for row in rows}) == len(rows)
    assert all(row.adds.endswith(".") for row in rows)


def test_a_row_may_start_from_an_earlier_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FOLDER).mkdir()
    monkeypatch.chdir(tmp_path)
    path = FOLDER / "some.yaml"
    first = "{name: first, adds: A., changes: {b: 2, c: 3}}"
    second = "{name: second, adds: B., like: first, changes: {c: 4}}"
    path.write_text(f"every_row: {{a: 1}}\nrows: [{first}, {second}]\n")
    assert [row.changes for row in read_comparison("some").rows] == [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "c": 4}]
    path.write_text(f"every_row: {{a: 1}}\nrows: [{second}, {first}]\n")
    with pytest.raises(
        InputError, match=r"some\.yaml: must have every_row, .* the name of an earlier row; got 'first'"
    ):
        read_comparison("some")


def test_the_results_show_the_ladder_as_it_was_drawn() -> None:
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert (ROOT / FOLDER / "ladder.md").read_text(encoding="utf-8") in results


def test_a_table_has_means_and_standard_deviations() -> None:
    rows = [Row("one", "First.", {}), Row("two", "Second.", {}), Row("three", "Third.", {})]
    runs = {
        "one": [Run(seed, 0.4 + seed / 10, Accuracies(0.5, 0.625, 0.375), 3 * seed, []) for seed in (1, 2, 3)],
        "two": [],
        "three": [Run(7, 0.25, Accuracies(0.75, 0.875, 0.625), 1, [])],
    }
    assert table(Comparison(rows, is_for_choosing=False), runs).splitlines()[2:] == [
        "| one | First. | 60.00 ± 10.00 % | 50.00 ± 0.00 % | 62.50 ± 0.00 % | 37.50 ± 0.00 % | 3, 6, 9 | 1, 2, 3 |",
        "| two | Second. | not run | not run | not run | not run |  |  |",
        "| three | Third. | 25.00 % | 75.00 % | 87.50 % | 62.50 % | 1 | 7 |",
    ]


def test_a_comparison_for_choosing_shows_no_test_results() -> None:
    rows = [Row("one", "First.", {}), Row("two", "Second.", {})]
    tests = Accuracies(0.125, 0.125, 0.125)
    runs = {"one": [Run(1, 0.5, tests, 2, [0.7, 0.5]), Run(2, 0.5, tests, 1, [0.25, 0.75])], "two": []}
    drawn = table(Comparison(rows, is_for_choosing=True), runs)
    assert "| one | First. | 50.00 ± 0.00 % | 0.3750 ± 0.1768 | 2, 1 | 1, 2 |" in drawn
    assert "12.5" not in drawn
    assert "test" not in drawn


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_the_lines_of_a_plot_differ(comparison: str) -> None:
    rows = read_comparison(comparison).rows
    (axes,) = plot({row.name: [Run(1, 0.5, Accuracies(0.5, 0.5, 0.5), 1, [0.7, 0.5])] for row in rows}).axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == len(rows)


@pytest.mark.slow
def test_nothing_is_queued_before_the_users_file_is_committed(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    parameters = tmp_path / "params.yaml"
    parameters.write_text(parameters.read_text().replace("path: examples/reviews.csv", "path: my reviews.csv"))
    clone.run("git", "add", ".")
    clone.run("git", "commit", "-q", "-m", "My own reviews")
    (tmp_path / "my reviews.csv").touch()
    said = clone.run(sys.executable, "-m", "experiments.enqueue", "ladder", status=1)
    assert said == 'error: experiments start from a commit; commit these files first: "my reviews.csv"\n'


@pytest.mark.slow
def test_the_figures_of_a_run_are_those_of_the_pipeline(
    small_run: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = small_run.copy_to(tmp_path / "clone")
    monkeypatch.chdir(clone.folder)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", clone.environment()["DVC_SITE_CACHE_DIR"])
    run, training, test = read_run("main", 1), clone.metrics("train"), clone.metrics("test")
    assert run.validation_accuracy == training["validation_accuracy"]
    assert run.test == (test["network_accuracy"], test["accuracy"], test["baseline_accuracy"])
    assert run.best_epoch == 1
    assert run.validation_losses == pytest.approx([training["validation_loss"]], abs=1e-6)


@pytest.mark.slow
def test_a_comparison_is_queued_run_and_plotted(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    folder = tmp_path / FOLDER
    (folder / "tiny.yaml").write_text(TINY)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "train.py").write_text(SCRIPT)
    enqueue = [sys.executable, "-m", "experiments.enqueue", "tiny", "--seeds", "1", "2"]
    compare = [sys.executable, "-m", "experiments.compare", "tiny"]
    names = ["tiny-a-gru-1", "tiny-max-padded-1", "tiny-a-gru-2", "tiny-max-padded-2"]

    assert clone.run(*enqueue, status=1).startswith(
        "error: experiments start from a commit; commit these files first: dvc.yaml, experiments"
    )
    clone.run("git", "add", ".")
    clone.run("git", "commit", "-q", "-m", "A comparison")
    assert clone.run(*compare, status=1).startswith("error: no experiment of tiny has run on this commit")
    assert re.findall(r"Queued experiment '(.+)' for", clone.run(*enqueue)) == names
    assert clone.run(*enqueue).splitlines() == [f"{name} exists" for name in names]
    clone.dvc("exp", "run", "--run-all")
    assert clone.run(*enqueue).splitlines() == [f"{name} exists" for name in names]

    clone.run(*compare)
    drawn = (folder / "tiny.md").read_bytes(), (folder / "tiny.svg").read_bytes()
    assert f"| A GRU | Gates. | {'35.00 ± 7.07 % | ' * 4}2, 2 | 1, 2 |" in drawn[0].decode()
    assert ET.fromstring(drawn[1]).tag.endswith("svg")
    clone.run(*compare)
    assert drawn == ((folder / "tiny.md").read_bytes(), (folder / "tiny.svg").read_bytes())
