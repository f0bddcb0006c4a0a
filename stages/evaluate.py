"""Evaluate the model on the test reviews, by whose labels no earlier stage fits or selects anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stages.params import Evaluate, Params
from stages.paths import BASELINE, CORPUS, ENCODED, EVALUATION, MODEL, SPLITS, VOCABULARY
from stages.run import run, write_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from sentiment.dataset.encoded import EncodedReviews
    from sentiment.evaluation.behaviour import Cases
    from sentiment.evaluation.metrics import Table
    from sentiment.models.classifier import Classifier
    from sentiment.scoring.scorer import Scorer


FEW = 30  # with so many, the 95 % interval of a share is as wide as 0.36


class Scores(NamedTuple):
    """Scores of the N test reviews and the labels of the C behavioural cases, by the model and by the baseline."""

    logits: npt.NDArray[np.float64]  # (N, K), calibrated
    network: npt.NDArray[np.float64]  # (N, K), of the network alone, not calibrated
    baseline: npt.NDArray[np.int64]  # (N,), the labels that the baseline predicts
    cases: dict[str, npt.NDArray[np.int64]]  # by "model" and "baseline", (C,)


def evaluate(params: Params) -> None:
    """Write the metrics, the data for plots, and the predictions, most confident mistakes first."""
    from sentiment.dataset.encoded import load_encoded
    from sentiment.evaluation.behaviour import read_cases
    from sentiment.models.checkpoint import check_vocabulary
    from sentiment.runtime.device import tune_memory
    from sentiment.scoring.scorer import Scorer
    from sentiment.storage.outputs import atomic_output, write_csv

    tune_memory()
    scorer = Scorer(MODEL)
    config = scorer.network.config
    check_vocabulary(MODEL, VOCABULARY)  # the test reviews' token ids are those of this vocabulary
    reviews = load_encoded(ENCODED["test"], config.vocabulary_size, config.classes)
    cases = read_cases(Path(params.evaluate.behaviour), scorer.labels)
    if not cases.texts:
        print(f"{params.evaluate.behaviour}: no case has a label of the corpus, so none is used")
    report_rare_labels(reviews, scorer.labels)
    scores = score(scorer, reviews, cases)
    figures = measure(reviews, cases, scores, scorer.labels, params.evaluate.calibration_bins)
    tables = tabulate(reviews, cases, scores, scorer.labels, params.evaluate)
    tables["gradient"] = gradient_table(scorer.network, reviews, params.evaluate.gradient_reviews)
    with atomic_output(EVALUATION) as folder:
        folder.mkdir()
        for name, table in tables.items():
            write_csv(folder / f"{name}.csv", table)
    write_metrics("test", figures)
    print(
        f"test accuracy {figures['accuracy']:.2%}, linear baseline {figures['baseline_accuracy']:.2%}, "
        f"majority class {figures['majority_share']:.2%}"
    )


def report_rare_labels(reviews: EncodedReviews, names: Sequence[str]) -> None:
    """Say which labels have so few test reviews that their figures say little."""
    import numpy as np

    counts = np.bincount(reviews.labels.numpy(), minlength=len(names)).tolist()
    rare = [f"{name} {count:,}" for name, count in zip(names, counts, strict=True) if count < FEW]
    if rare:
        print(f"test: fewer than {FEW} reviews of a label, whose figures say little: {', '.join(rare)}")


def score(scorer: Scorer, reviews: EncodedReviews, cases: Cases) -> Scores:
    """Score the test reviews and the behavioural cases with the model and with the baseline."""
    import pyarrow as pa

    from sentiment.linear.model import load_linear

    config = scorer.network.config
    encoded_cases = scorer.encode(pa.array(cases.texts, pa.string()))
    network = scorer.network_logits(reviews)
    baseline = load_linear(BASELINE, config.vocabulary_size, config.classes)
    return Scores(
        logits=network + scorer.linear_logits(reviews),
        network=network * scorer.network.temperature.item(),
        baseline=baseline.logits(reviews).argmax(dim=1).numpy(),
        cases={
            "model": scorer.logits(encoded_cases).argmax(axis=1),
            "baseline": baseline.logits(encoded_cases).argmax(dim=1).numpy(),
        },
    )


def measure(
    reviews: EncodedReviews,
    cases: Cases,
    scores: Scores,
    names: Sequence[str],
    calibration_bins: int,
) -> dict[str, float]:
    """Return the metrics of the model, and those that compare it with the baseline."""
    from sentiment.evaluation import metrics

    labels = reviews.labels.numpy()
    correct, baseline_correct = scores.logits.argmax(axis=1) == labels, scores.baseline == labels
    before = metrics.events(labels, scores.network)
    low, high = metrics.accuracy_interval(correct)
    more = {
        "accuracy_low": low,
        "accuracy_high": high,
        "calibration_before": metrics.calibration_error(*before, calibration_bins),
        "network_accuracy": float((scores.network.argmax(axis=1) == labels).mean()),
        "baseline_accuracy": float(baseline_correct.mean()),
        "mcnemar_p": metrics.mcnemar(correct, baseline_correct),
    }
    if cases.texts:
        more["behaviour"] = float((scores.cases["model"] == cases.labels).mean())
        more["baseline_behaviour"] = float((scores.cases["baseline"] == cases.labels).mean())
    rounded = {name: round(figure, metrics.DIGITS) for name, figure in more.items()}
    return metrics.score(labels, scores.logits, names, calibration_bins) | rounded


def tabulate(
    reviews: EncodedReviews, cases: Cases, scores: Scores, names: Sequence[str], settings: Evaluate
) -> dict[str, Table]:
    """Return the predictions and the data for plots, as tables by file name."""
    from sentiment.evaluation import metrics
    from sentiment.evaluation.behaviour import shares_passed

    labels, logits = reviews.labels.numpy(), scores.logits
    events, lengths = metrics.events(labels, logits), reviews.lengths.numpy()
    tables = {
        "predictions": metrics.prediction_table(read_test_ids(), labels, logits, names),
        "roc": metrics.roc_curve(labels, logits, names),
        "precision_recall": metrics.precision_recall_curve(labels, logits, names),
        "calibration": metrics.calibration_curve(*events, settings.calibration_bins),
        "accuracy_by_length": metrics.accuracy_by_length(
            logits.argmax(axis=1) == labels, lengths, settings.length_bins
        ),
        "behaviour": shares_passed(cases, scores.cases),
    }
    return tables if len(names) == 2 else {**tables, "labels": metrics.label_table(labels, logits, names)}


def gradient_table(model: Classifier, reviews: EncodedReviews, count: int) -> Table:
    """Return the gradient that reaches each time step, by distance from the end of the review."""
    from sentiment.evaluation.metrics import DIGITS
    from sentiment.models.attribution import gradient_by_distance

    norms = gradient_by_distance(model, reviews, count).log10().numpy()
    return {"distance": list(range(len(norms))), "log10_norm": norms.round(DIGITS).tolist()}


def read_test_ids() -> list[str]:
    """Return the ids of the test reviews, in the order of their scores."""
    from sentiment.corpora.reviews import read_corpus
    from sentiment.dataset.encoded import SPLIT_DTYPES
    from sentiment.storage.tensors import load_tensors

    ids = read_corpus(CORPUS, ["id"])["id"]
    return [ids[row] for row in load_tensors(SPLITS, SPLIT_DTYPES)["test"].tolist()]


if __name__ == "__main__":
    run(evaluate)
