"""Texts of three and of twenty labels, from a raw file to report, card, scores, export and page."""

import csv
import json
import runpy
from collections import Counter
from contextlib import chdir
from pathlib import Path

import pyarrow as pa
import pytest
from playwright.sync_api import Browser

from benchmarks.defaults import CORPORA, generate
from sentiment.errors import InputError
from sentiment.scoring.scorer import Scorer
from sentiment.serving.app import PAGE
from sentiment.storage.outputs import read_columns
from stages.export import export
from stages.paths import EVALUATION, MODEL, PACKAGE
from stages.predict import main
from tests.clone import STAGES, Clone

pytestmark = pytest.mark.slow

CHANGES = ["train.epochs=1", "model.hidden_size=8", "train.adversarial=0.0", "report.mistakes=3"]


@pytest.fixture(scope="module", params=[3, 20])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, list[str]]:
    """The pipeline's outputs for so many labels, and the labels."""
    count = request.param
    clone = Clone(tmp_path_factory.mktemp(f"labels{count}"))
    name = {3: "three labels, in order", 20: "twenty labels"}[count]
    (corpus,) = [corpus._replace(texts=40 * count) for corpus in CORPORA if corpus.name == name]
    rows = list(generate(corpus))
    with (clone.folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("split", "label", "text"), *rows])
    labels = sorted({label for _, label, _ in rows})
    custom = {"path": "texts.csv", "split_column": "split", "labels": json.dumps(labels)}
    clone.set_parameters(
        "download.corpus=custom", *(f"download.custom.{key}={value}" for key, value in custom.items()), *CHANGES
    )
    clone.run_stages(*STAGES)
    return clone, labels


def test_the_metrics_are_of_all_labels(run: tuple[Clone, list[str]]) -> None:
    clone, labels = run
    figures = clone.metrics("test")
    assert figures["majority_share"] == pytest.approx(1 / len(labels), abs=1e-6)
    assert {"f1", "f1_weighted", "precision", "recall", "roc_auc", "average_precision"} <= figures.keys()
    assert ("absolute_error" in figures) == (labels[0] == "1")
    assert "behaviour" not in figures, "the written test cases have other labels"
    with chdir(clone.folder):
        assert read_columns(EVALUATION / "labels.csv")["label"] == labels
        predictions = read_columns(EVALUATION / "predictions.csv")
        assert set(Counter(predictions["actual"]).values()) == {8}
        accuracy = sum(map(str.__eq__, predictions["actual"], predictions["predicted"])) / len(predictions["id"])
        assert accuracy == pytest.approx(figures["accuracy"], abs=1e-6)


def test_the_report_and_the_card_name_the_labels(run: tuple[Clone, list[str]], browser: Browser) -> None:
    clone, labels = run
    card = (clone.folder / PACKAGE / "README.md").read_text(encoding="utf-8")
    assert f"each of {len(labels)} labels is:\n{', '.join(labels)}." in card
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto((clone.folder / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 360, "nothing sticks out to the side"
    rows = page.locator(".wide tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows[1:]] == labels
    page.close()


def test_texts_are_scored_alike_everywhere(run: tuple[Clone, list[str]], tmp_path: Path) -> None:
    clone, labels = run
    texts = ["It was first shown in Porto. I found the plot tender from start to finish.", "Dull."]
    with chdir(clone.folder):
        scorer = Scorer(PACKAGE)
        scores = scorer(pa.record_batch({"text": texts}))
        assert list(scorer.labels) == labels
        assert scores.schema.names == ["id", "label", *(f"probability_{label}" for label in labels)]
        main([f"--text={text}" for text in texts] + ["--output", str(tmp_path / "scored.jsonl")])
        export(PACKAGE, tmp_path / "export")
    written = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text(encoding="utf-8").splitlines()]
    exported = runpy.run_path(str(tmp_path / "export" / "score.py"))["Scorer"](tmp_path / "export")(texts)
    for row, line, probabilities in zip(scores.to_pylist(), written, exported, strict=True):
        assert line["label"] == row["label"]
        expected = [row[f"probability_{label}"] for label in labels]
        assert probabilities == pytest.approx(expected, abs=1e-5)
        assert [line[f"probability_{label}"] for label in labels] == pytest.approx(expected, abs=1e-9)


def test_labels_may_weigh_the_same_and_have_no_threshold(run: tuple[Clone, list[str]]) -> None:
    clone, _ = run
    with chdir(clone.folder):
        clone.set_parameters("train.class_weights=balanced")
        clone.run_stages("train")
        with pytest.raises(InputError, match="a threshold is for two labels"):
            main(["--model", str(MODEL), "--text=Dull.", "--threshold=0.9"])


def test_the_page_knows_no_label_of_its_own() -> None:
    assert "positive" not in PAGE.read_text(encoding="utf-8")
