"""Evaluate the model on the test reviews, by whose labels no earlier stage fits or selects anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stages.params import Evaluate, Params
from stages.paths import BASELINE, BEHAVIOUR, CORPUS, ENCODED, EVALUATION, METRICS, MODEL, SPLITS, VOCABULARY
from stages.run import run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sentiment.dataset.encoded import EncodedReviews
    from sentiment.evaluation.behaviour import Cases
    from sentiment.evaluation.metrics import Table
    from sentiment.models.classifier import Classifier
    from sentiment.scoring.scorer import Scorer


class Scores(NamedTuple):
    """Scores of the N test reviews and the K behavioural cases, by the model and by the linear baseline."""

    logits: npt.NDArray[np.float64]  # (N,), divided by the temperature
    probabilities: npt.NDArray[np.float64]  # (N,), the baseline's
    case_logits: npt.NDArray[np.float64]  # (K,)
    case_probabilities: npt.NDArray[np.float64]  # (K,), the baseline's


def evaluate(params: Params) -> None:
    """Write the metrics, the data for plots, and the predictions, most confident mistakes first."""
    from sentiment.dataset.encoded import load_encoded
    from sentiment.evaluation.behaviour import read_cases
    from sentiment.models.checkpoint import check_vocabulary
    from sentiment.runtime.device import tune_memory
    from sentiment.scoring.scorer import Scorer
    from sentiment.storage.outputs import atomic_output, write_csv, write_json

    tune_memory()
    scorer = Scorer(MODEL)
    model = scorer.model
    check_vocabulary(MODEL, VOCABULARY)  # the test reviews' token ids are those of this vocabulary
    reviews = load_encoded(ENCODED["test"], model.config.vocabulary_size)
    cases = read_cases(BEHAVIOUR)
    scores = score(scorer, reviews, cases)
    figures = measure(reviews, cases, scores, model.temperature.item(), params.evaluate.calibration_bins)
    tables = tabulate(reviews, cases, scores, params.evaluate)
    tables["gradient"] = gradient_table(model, reviews, params.evaluate.gradient_reviews)
    with atomic_output(EVALUATION) as folder:
        folder.mkdir()
        for name, table in tables.items():
            write_csv(folder / f"{name}.csv", table)
    for path in METRICS["test"]:
        write_json(path, figures)
    print(
        f"test accuracy {figures['accuracy']:.2%}, linear baseline {figures['baseline_accuracy']:.2%}, "
        f"majority class {figures['majority_share']:.2%}"
    )


def score(scorer: Scorer, reviews: EncodedReviews, cases: Cases) -> Scores:
    """Score the test reviews and the behavioural cases with the model, and load the baseline's probabilities."""
    import pyarrow as pa
    import torch

    from sentiment.storage.tensors import load_tensors

    logits, case_logits = (scorer.logits(encoded) for encoded in (reviews, scorer.encode(pa.array(cases.texts))))
    baseline = load_tensors(BASELINE, dict.fromkeys(("test", "behaviour"), torch.float64))
    return Scores(logits, baseline["test"].numpy(), case_logits, baseline["behaviour"].numpy())


def measure(
    reviews: EncodedReviews, cases: Cases, scores: Scores, temperature: float, calibration_bins: int
) -> dict[str, float]:
    """Return the metrics of the model, and those that compare it with the baseline."""
    from sentiment.evaluation import metrics

    labels = reviews.labels.numpy()
    correct, baseline_correct = (scores.logits > 0) == labels, (scores.probabilities > 0.5) == labels
    untempered = metrics.sigmoid(scores.logits * temperature)
    low, high = metrics.accuracy_interval(correct)
    more = {
        "accuracy_low": low,
        "accuracy_high": high,
        "calibration_before": metrics.calibration_error(labels, untempered, calibration_bins),
        "baseline_accuracy": float(baseline_correct.mean()),
        "mcnemar_p": metrics.mcnemar(correct, baseline_correct),
        "behaviour": float(((scores.case_logits > 0) == cases.labels).mean()),
        "baseline_behaviour": float(((scores.case_probabilities > 0.5) == cases.labels).mean()),
    }
    rounded = {name: round(figure, metrics.DIGITS) for name, figure in more.items()}
    return metrics.score(labels, scores.logits, calibration_bins) | rounded


def tabulate(reviews: EncodedReviews, cases: Cases, scores: Scores, settings: Evaluate) -> dict[str, Table]:
    """Return the predictions and the data for plots, as tables by file name."""
    from sentiment.evaluation import metrics
    from sentiment.evaluation.behaviour import shares_passed

    labels, logits = reviews.labels.numpy(), scores.logits
    probabilities = metrics.sigmoid(logits)
    predicted_positive = {"model": scores.case_logits > 0, "baseline": scores.case_probabilities > 0.5}
    return {
        "predictions": metrics.prediction_table(read_test_ids(), labels, logits),
        "roc": metrics.roc_curve(labels, logits),
        "precision_recall": metrics.precision_recall_curve(labels, logits),
        "calibration": metrics.calibration_curve(labels, probabilities, settings.calibration_bins),
        "accuracy_by_length": metrics.accuracy_by_length(labels, logits, reviews.lengths.numpy(), settings.length_bins),
        "behaviour": shares_passed(cases, predicted_positive),
    }


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
