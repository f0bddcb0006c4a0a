"""Metrics of a model's predictions, and the data of its plots.

`logits`, (N, K), has one for each label; `names` are those of the K labels. A review is given the label of the greatest
logit, the first of several.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import binomtest
from sklearn import metrics

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]  # (N,), the number of the label, from 0 to K - 1
Mask = npt.NDArray[np.bool_]
Table = dict[str, Sequence[object]]  # columns of equal length

CURVE_POINTS = 500  # more would not be visible, and 25,000 would make the page slow
DIGITS = 6  # decimals of metrics and curves; more would depend on the processor
RESAMPLES = 10_000


def score(labels: Labels, logits: Floats, names: Sequence[str], calibration_bins: int) -> dict[str, float]:
    """Return the metrics on N reviews.

    Of two labels, precision, recall, F1, ROC and average precision are those of the second. Of more, they are the means
    over the labels, each against the rest; `f1_weighted` weighs the labels by their reviews. `absolute_error` is the
    mean distance between predicted and actual label, if all names are numbers, such as stars.
    """
    predicted = logits.argmax(axis=1)
    counts = np.bincount(labels, minlength=len(names))
    figures = {
        "loss": -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean(),  # in nats
        "accuracy": metrics.accuracy_score(labels, predicted),
        "majority_share": counts.max() / len(labels),  # accuracy of the best constant label
        "calibration_error": calibration_error(*events(labels, logits), calibration_bins),
        "reviews": len(labels),
    }
    if len(names) == 2:
        figures |= _of_one_label(labels == 1, predicted == 1, logits[:, 1])
    else:
        of_labels = _of_each_label(labels, logits)
        figures |= {name: np.mean(values) for name, values in of_labels.items()}
        figures["f1_weighted"] = np.average(of_labels["f1"], weights=counts)
        if (values := _numbers(names)) is not None:
            figures["absolute_error"] = np.abs(values[predicted] - values[labels]).mean()
    return {name: round(float(figure), DIGITS) if name != "reviews" else figure for name, figure in figures.items()}


def label_table(labels: Labels, logits: Floats, names: Sequence[str]) -> Table:
    """Return a row for each label, of K: its metrics against the rest, and its number of reviews."""
    columns = {
        name: [round(value, DIGITS) for value in values] for name, values in _of_each_label(labels, logits).items()
    }
    return {"label": names, **columns, "reviews": np.bincount(labels, minlength=len(names)).tolist()}


def _of_each_label(labels: Labels, logits: Floats) -> dict[str, list[float]]:
    """Return each metric of each label, of K, against the rest."""
    predicted = logits.argmax(axis=1)
    rows = [
        _of_one_label(labels == label, predicted == label, log_odds(logits, label)) for label in range(logits.shape[1])
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _of_one_label(actual: Mask, predicted: Mask, values: Floats) -> dict[str, float]:
    """Return the metrics of one label on N reviews; `values` are higher, the more probable it is."""
    return {
        "precision": float(metrics.precision_score(actual, predicted, zero_division=0.0)),
        "recall": float(metrics.recall_score(actual, predicted)),
        "f1": float(metrics.f1_score(actual, predicted)),
        "roc_auc": float(metrics.roc_auc_score(actual, values)),
        "average_precision": float(metrics.average_precision_score(actual, values)),
    }


def _numbers(names: Sequence[str]) -> Floats | None:
    """Return the numbers that the names of the labels spell, (K,); None if one is no finite number."""
    try:
        numbers = np.array([float(name) for name in names])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def events(labels: Labels, logits: Floats) -> tuple[Mask, Floats]:
    """Return N events and their predicted probabilities, by which calibration is measured.

    Of two labels, the event is that a review has the second; of more, that it has the most probable one.
    """
    probabilities = softmax(logits, axis=1)
    if probabilities.shape[1] == 2:
        return labels == 1, probabilities[:, 1]
    return labels == probabilities.argmax(axis=1), probabilities.max(axis=1)


def calibration_error(happened: Mask, probabilities: Floats, bins: int) -> float:
    """Return the expected calibration error of the probabilities of N events (Naeini et al. 2015).

    sum_b n_b / N * |share of events that happened in bin b - mean probability of bin b|, over bins of equal width
    """
    counts, shares, mean_probabilities = _bin(happened, probabilities, bins)
    return float(np.sum(counts / len(happened) * np.abs(shares - mean_probabilities)))


def accuracy_interval(correct: Mask) -> tuple[float, float]:
    """Return the 95 % confidence interval of the accuracy on N reviews, by the percentile bootstrap (Efron 1979).

    The number of correct reviews among N drawn with replacement is binomial, so no reviews are drawn. If all are
    correct, or none, every draw is the same; the interval is then the exact one (Clopper and Pearson 1934).
    """
    if correct.all() or not correct.any():
        exact = binomtest(int(correct.sum()), len(correct)).proportion_ci()
        return float(exact.low), float(exact.high)
    drawn = np.random.default_rng(0).binomial(len(correct), correct.mean(), RESAMPLES) / len(correct)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def mcnemar(correct: Mask, other_correct: Mask) -> float:
    """Return the p-value of McNemar's exact test (1947) of the hypothesis that two models are equally accurate.

    Both masks are (N,). Under the hypothesis, a review that only one model gets right is as likely to be the one's as
    the other's.
    """
    one = int(np.sum(correct & ~other_correct))
    either = int(np.sum(correct ^ other_correct))
    return float(binomtest(one, either).pvalue) if either else 1.0


def calibration_curve(happened: Mask, probabilities: Floats, bins: int) -> Table:
    """Return mean probability, share that happened and number of N events for each non-empty bin of equal width."""
    counts, shares, mean_probabilities = _bin(happened, probabilities, bins)
    return {
        "predicted": mean_probabilities.round(DIGITS).tolist(),
        "positive": shares.round(DIGITS).tolist(),
        "reviews": counts.tolist(),
    }


def roc_curve(labels: Labels, logits: Floats, names: Sequence[str]) -> Table:
    """Return the true and false positive rates over all thresholds.

    Of two labels, they are those of the second. Of more, the true positive rate is the mean over the labels, each
    against the rest, and further columns hold that of each.
    """
    if len(names) == 2:
        false_positive, true_positive, _ = metrics.roc_curve(labels, logits[:, 1])
        return _curve({"false_positive_rate": false_positive, "true_positive_rate": true_positive})
    grid = np.linspace(0, 1, CURVE_POINTS)
    curves = {}
    for label, name in enumerate(names):
        false_positive, true_positive, _ = metrics.roc_curve(labels == label, log_odds(logits, label))
        curves[name] = np.interp(grid, false_positive, true_positive)
    return _with_mean("false_positive_rate", grid, "true_positive_rate", curves)


def precision_recall_curve(labels: Labels, logits: Floats, names: Sequence[str]) -> Table:
    """Return precision and recall over all thresholds, by rising recall; columns as in `roc_curve`."""
    if len(names) == 2:
        precision, recall, _ = metrics.precision_recall_curve(labels, logits[:, 1])
        return _curve({"recall": recall[::-1], "precision": precision[::-1]})
    grid = np.linspace(0, 1, CURVE_POINTS)
    curves = {}
    for label, name in enumerate(names):
        precision, recall, _ = metrics.precision_recall_curve(labels == label, log_odds(logits, label))
        curves[name] = np.interp(grid, recall[::-1], precision[::-1])
    return _with_mean("recall", grid, "precision", curves)


def accuracy_by_length(correct: Mask, lengths: npt.NDArray[np.int64], parts: int) -> Table:
    """Return the accuracy by review length, over `parts` parts of equal size from short to long reviews."""
    sorted_parts = [chunk for chunk in np.array_split(np.argsort(lengths, kind="stable"), parts) if len(chunk)]
    return {
        "tokens": [round(float(lengths[chunk].mean()), 1) for chunk in sorted_parts],
        "accuracy": [round(float(correct[chunk].mean()), DIGITS) for chunk in sorted_parts],
        "reviews": [len(chunk) for chunk in sorted_parts],
    }


def prediction_table(ids: Sequence[str], labels: Labels, logits: Floats, names: Sequence[str]) -> Table:
    """Return one row per review, from the most confident mistake to the most confident success.

    The probability is that of the second of two labels, and of more that of the predicted one.
    """
    actual = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)  # (N, 1)
    others = np.where(np.arange(len(names)) == labels[:, None], -np.inf, logits)
    margin = actual[:, 0] - others.max(axis=1)  # distance from the threshold, negative for a mistake
    order = np.argsort(margin, kind="stable")
    predicted, probabilities = logits.argmax(axis=1), softmax(logits, axis=1)
    shown = probabilities[:, 1] if len(names) == 2 else probabilities.max(axis=1)
    return {
        "id": [ids[row] for row in order],
        "actual": [names[label] for label in labels[order]],
        "predicted": [names[label] for label in predicted[order]],
        "probability": shown[order].round(DIGITS).tolist(),
    }


def log_odds(logits: Floats, label: int) -> Floats:
    """Return log p / (1 - p) of a label, (N,), which ranks reviews whose probabilities are all rounded to 1."""
    odds: Floats = logits[:, label] - logsumexp(np.delete(logits, label, axis=1), axis=1)
    return odds


def _bin(happened: Mask, probabilities: Floats, bins: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return the sizes, shares that happened and mean probabilities of the non-empty bins."""
    of_review = np.minimum((probabilities * bins).astype(np.int64), bins - 1)  # a probability of 1 is in the last bin
    numbers, counts = np.unique(of_review, return_counts=True)
    shares = np.bincount(of_review, weights=happened, minlength=bins)[numbers] / counts
    mean_probabilities = np.bincount(of_review, weights=probabilities, minlength=bins)[numbers] / counts
    return counts, shares, mean_probabilities


def _with_mean(x: str, grid: Floats, y: str, curves: dict[str, Floats]) -> Table:
    """Return the columns of curves on a common grid, their mean first."""
    of_labels = {f"{y} of {name}": curve for name, curve in curves.items()}
    columns = {x: grid, y: np.mean(list(curves.values()), axis=0), **of_labels}
    return {name: column.round(DIGITS).tolist() for name, column in columns.items()}


def _curve(columns: dict[str, Floats]) -> Table:
    """Thin a curve to CURVE_POINTS points, keeping its ends."""
    length = len(next(iter(columns.values())))
    kept = np.unique(np.linspace(0, length - 1, min(length, CURVE_POINTS)).round().astype(int))
    return {name: column[kept].round(DIGITS).tolist() for name, column in columns.items()}
