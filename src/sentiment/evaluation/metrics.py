"""Metrics of a model's predictions, and the data of its plots."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn import metrics

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]  # (N,) of 0 and 1
Table = dict[str, Sequence[object]]  # columns of equal length

CURVE_POINTS = 500  # more would not be visible, and 25,000 would make the page slow
DIGITS = 6  # decimals of metrics and curves; more would depend on the processor
RESAMPLES = 10_000


def score(labels: Labels, logits: Floats, calibration_bins: int) -> dict[str, float]:
    """Return the metrics on N reviews; the predicted label is positive if the logit is above 0."""
    probabilities = sigmoid(logits)
    predicted = logits > 0
    figures = {
        "loss": metrics.log_loss(labels, probabilities),  # in nats
        "accuracy": metrics.accuracy_score(labels, predicted),
        "majority_share": max(np.mean(labels), np.mean(1 - labels)),  # accuracy of the best constant label
        "precision": metrics.precision_score(labels, predicted, zero_division=0.0),
        "recall": metrics.recall_score(labels, predicted),
        "f1": metrics.f1_score(labels, predicted),
        "roc_auc": metrics.roc_auc_score(labels, logits),
        "average_precision": metrics.average_precision_score(labels, logits),
        "calibration_error": calibration_error(labels, probabilities, calibration_bins),
        "reviews": len(labels),
    }
    return {name: round(float(figure), DIGITS) if name != "reviews" else figure for name, figure in figures.items()}


def calibration_error(labels: Labels, probabilities: Floats, bins: int) -> float:
    """Return the expected calibration error of the probability of being positive (Naeini et al. 2015).

    sum_b n_b / N * |mean label of bin b - mean probability of bin b|, over bins of equal width
    """
    counts, mean_labels, mean_probabilities = _bin(labels, probabilities, bins)
    return float(np.sum(counts / len(labels) * np.abs(mean_labels - mean_probabilities)))


def accuracy_interval(correct: npt.NDArray[np.bool_], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % confidence interval of the accuracy on N reviews, by the percentile bootstrap (Efron 1979).

    The number of correct reviews among N drawn with replacement is binomial, so no reviews are drawn.
    """
    drawn = np.random.default_rng(seed).binomial(len(correct), correct.mean(), RESAMPLES) / len(correct)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def mcnemar(correct: npt.NDArray[np.bool_], other_correct: npt.NDArray[np.bool_]) -> float:
    """Return the p-value of McNemar's exact test (1947) of the hypothesis that two models are equally accurate.

    Both masks are (N,). Under the hypothesis, a review that only one model gets right is as likely to be the one's as
    the other's.
    """
    one = int(np.sum(correct & ~other_correct))
    either = int(np.sum(correct ^ other_correct))
    return float(binomtest(one, either).pvalue) if either else 1.0


def calibration_curve(labels: Labels, probabilities: Floats, bins: int) -> Table:
    """Return mean probability, share of positive labels and number of reviews for each non-empty bin of equal width."""
    counts, mean_labels, mean_probabilities = _bin(labels, probabilities, bins)
    return {
        "predicted": mean_probabilities.round(DIGITS).tolist(),
        "positive": mean_labels.round(DIGITS).tolist(),
        "reviews": counts.tolist(),
    }


def roc_curve(labels: Labels, logits: Floats) -> Table:
    """Return the true and false positive rates over all thresholds."""
    false_positive, true_positive, _ = metrics.roc_curve(labels, logits)
    return _curve({"false_positive_rate": false_positive, "true_positive_rate": true_positive})


def precision_recall_curve(labels: Labels, logits: Floats) -> Table:
    """Return precision and recall over all thresholds, by rising recall."""
    precision, recall, _ = metrics.precision_recall_curve(labels, logits)
    return _curve({"recall": recall[::-1], "precision": precision[::-1]})


def accuracy_by_length(labels: Labels, logits: Floats, lengths: npt.NDArray[np.int64], parts: int) -> Table:
    """Return the accuracy by review length, over `parts` parts of equal size from short to long reviews."""
    sorted_parts = [chunk for chunk in np.array_split(np.argsort(lengths, kind="stable"), parts) if len(chunk)]
    return {
        "tokens": [round(float(lengths[chunk].mean()), 1) for chunk in sorted_parts],
        "accuracy": [round(float(np.mean((logits[chunk] > 0) == labels[chunk])), DIGITS) for chunk in sorted_parts],
        "reviews": [len(chunk) for chunk in sorted_parts],
    }


def prediction_table(ids: Sequence[str], labels: Labels, logits: Floats) -> Table:
    """Return one row per review, from the most confident mistake to the most confident success."""
    margin = np.where(labels == 1, logits, -logits)  # distance from the threshold, negative for a mistake
    order = np.argsort(margin, kind="stable")
    names = np.array(["negative", "positive"])
    return {
        "id": [ids[row] for row in order],
        "actual": names[labels[order]].tolist(),
        "predicted": names[(logits[order] > 0).astype(int)].tolist(),
        "probability": sigmoid(logits[order]).round(DIGITS).tolist(),
    }


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-logits)), without overflow for large logits of either sign."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def _bin(labels: Labels, probabilities: Floats, bins: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return the sizes, mean labels and mean probabilities of the non-empty bins."""
    of_review = np.minimum((probabilities * bins).astype(np.int64), bins - 1)  # a probability of 1 is in the last bin
    numbers, counts = np.unique(of_review, return_counts=True)
    mean_labels = np.bincount(of_review, weights=labels, minlength=bins)[numbers] / counts
    mean_probabilities = np.bincount(of_review, weights=probabilities, minlength=bins)[numbers] / counts
    return counts, mean_labels, mean_probabilities


def _curve(columns: dict[str, Floats]) -> Table:
    """Thin a curve to CURVE_POINTS points, keeping its ends."""
    length = len(next(iter(columns.values())))
    kept = np.unique(np.linspace(0, length - 1, min(length, CURVE_POINTS)).round().astype(int))
    return {name: column[kept].round(DIGITS).tolist() for name, column in columns.items()}
