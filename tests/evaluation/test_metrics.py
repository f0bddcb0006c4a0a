import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as sklearn
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from sentiment.corpora.reviews import SENTIMENT
from sentiment.evaluation.metrics import (
    CURVE_POINTS,
    accuracy_by_length,
    accuracy_interval,
    calibration_curve,
    calibration_error,
    events,
    label_table,
    mcnemar,
    precision_recall_curve,
    prediction_table,
    roc_curve,
    score,
)

LABELS = np.array([1, 0, 1, 0], dtype=np.int8)
LOGITS = np.array([[0.0, 2.0], [0.0, -1.0], [0.0, -0.5], [0.0, 0.25]])


def test_metrics_match_a_hand_calculation() -> None:
    figures = score(LABELS, LOGITS, SENTIMENT, calibration_bins=10)
    assert figures["reviews"] == 4
    assert figures["majority_share"] == 0.5
    assert figures["accuracy"] == figures["precision"] == figures["recall"] == figures["f1"] == 0.5
    assert figures["roc_auc"] == 0.75  # of the four pairs one is the wrong way round
    assert figures["average_precision"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-6)
    assert figures["loss"] == pytest.approx(np.log1p(np.exp([-2, -1, 0.5, 0.25])).mean(), abs=1e-6)


def test_the_loss_of_a_certain_mistake_is_its_logit() -> None:
    logits = np.array([[0.0, 100.0], [0.0, 100.0]])  # the first label has a probability of 4e-44
    assert score(np.array([0, 1], dtype=np.int8), logits, SENTIMENT, calibration_bins=10)["loss"] == 50.0


@pytest.mark.parametrize("positives", [1, 99])
def test_the_accuracy_of_the_majority_class_is_its_share(positives: int) -> None:
    labels = (np.arange(100) < positives).astype(np.int8)
    figures = score(labels, np.tile([0.0, positives - 50], (100, 1)), SENTIMENT, calibration_bins=10)
    assert figures["majority_share"] == figures["accuracy"] == 0.99
    assert figures["roc_auc"] == 0.5


def test_the_calibration_error_matches_a_hand_calculation() -> None:
    happened = np.array([False, True, True, True])
    probabilities = np.array([0.1, 0.3, 0.9, 1.0])
    # Two bins: means 0.2 against 0.5 true, and 0.95 against 1.0 true, half of the reviews in each.
    assert calibration_error(happened, probabilities, 2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.05)
    assert calibration_curve(happened, probabilities, 2) == {
        "predicted": [0.2, 0.95],
        "positive": [0.5, 1.0],
        "reviews": [2, 2],
    }


def test_the_interval_has_the_width_of_the_normal_approximation() -> None:
    correct = np.arange(2500) % 10 != 0
    low, high = accuracy_interval(correct)
    assert (low + high) / 2 == pytest.approx(0.9, abs=1e-3)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.9 * 0.1 / 2500), rel=0.05)


def test_the_interval_without_mistakes_is_not_empty() -> None:
    low, high = accuracy_interval(np.ones(24, dtype=np.bool_))
    assert low == pytest.approx(0.025 ** (1 / 24))  # then 24 of 24 have a probability of 2.5 %
    assert high == 1.0
    assert accuracy_interval(np.zeros(24, dtype=np.bool_)) == pytest.approx((0.0, 1 - low))


def test_mcnemar_matches_a_hand_calculation() -> None:
    both, one, other = [True] * 6, [True] * 4, [False] * 4
    # Heads four times in four throws, or tails four times: 2 / 2^4.
    assert mcnemar(np.array(both + one), np.array(both + other)) == pytest.approx(1 / 8)
    assert mcnemar(np.array(both), np.array(both)) == 1.0
    assert mcnemar(np.array(one + other), np.array(other + one)) == 1.0


def test_curves_are_thinned_and_keep_their_ends() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 20_000).astype(np.int8)
    logits = np.stack([np.zeros(20_000), random.normal(labels, 1.0)], axis=1)
    roc, precision_recall = (curve(labels, logits, SENTIMENT) for curve in (roc_curve, precision_recall_curve))
    for table in (roc, precision_recall):
        assert all(len(column) <= CURVE_POINTS for column in table.values())
    assert [roc["true_positive_rate"][end] for end in (0, -1)] == [0.0, 1.0]
    assert [precision_recall["recall"][end] for end in (0, -1)] == [0.0, 1.0]


def test_accuracy_by_length_goes_from_short_to_long() -> None:
    table = accuracy_by_length(LOGITS.argmax(axis=1) == LABELS, np.array([30, 10, 20, 40]), parts=2)
    assert table == {"tokens": [15.0, 35.0], "accuracy": [0.5, 0.5], "reviews": [2, 2]}
    assert len(accuracy_by_length(LOGITS.argmax(axis=1) == LABELS, np.array([1, 2, 3, 4]), parts=9)["tokens"]) == 4


def test_the_most_confident_mistake_comes_first() -> None:
    table = prediction_table(["a", "b", "c", "d"], LABELS, LOGITS, SENTIMENT)
    assert table["id"] == ["c", "d", "b", "a"]
    assert table["actual"] == ["positive", "negative", "negative", "positive"]
    assert table["predicted"] == ["negative", "positive", "negative", "positive"]


STARS = ("1", "2", "3")


def stars() -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 500).astype(np.int8)
    return labels, random.normal(0, 1, (500, 3)) + 1.5 * np.eye(3)[labels]


def test_the_metrics_of_three_labels_are_those_of_scikit_learn() -> None:
    labels, logits = stars()
    predicted, probabilities = logits.argmax(axis=1), softmax(logits, axis=1)
    figures = score(labels, logits, STARS, calibration_bins=10)
    expected = {
        "accuracy": (predicted == labels).mean(),
        "loss": -np.log(probabilities[np.arange(500), labels]).mean(),
        "precision": sklearn.precision_score(labels, predicted, average="macro"),
        "recall": sklearn.recall_score(labels, predicted, average="macro"),
        "f1": sklearn.f1_score(labels, predicted, average="macro"),
        "f1_weighted": sklearn.f1_score(labels, predicted, average="weighted"),
        "roc_auc": sklearn.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "average_precision": sklearn.average_precision_score(np.eye(3)[labels], probabilities),
        "absolute_error": np.abs(predicted - labels).mean(),
        "majority_share": np.bincount(labels).max() / 500,
    }
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_reviews_are_ranked_where_all_probabilities_are_rounded_to_1() -> None:
    labels = np.array([0, 0, 1, 2], dtype=np.int8)
    logits = np.array([[60.0, 0, 0], [50, 0, 0], [40, 0, 0], [0, 0, 5]])
    table = label_table(labels, logits, STARS)
    assert table["roc_auc"] == [1.0, pytest.approx(2 / 3, abs=1e-6), 1.0]  # of three pairs one is the wrong way round
    assert score(labels, logits, STARS, 10)["roc_auc"] == pytest.approx(8 / 9, abs=1e-6)
    curve = roc_curve(labels, logits, STARS)["true_positive_rate of 1"]
    assert curve == [1.0] * CURVE_POINTS


def test_labels_that_are_no_numbers_have_no_distance() -> None:
    assert "absolute_error" not in score(*stars(), ("bad", "2", "good"), calibration_bins=10)


@given(st.lists(st.floats(-800, 800), min_size=2, max_size=20))
def test_probabilities_do_not_overflow(logits: list[float]) -> None:
    value = softmax(np.array([logits]), axis=1)
    assert value.sum() == pytest.approx(1.0)
    assert (value >= 0).all()
    _, probabilities = events(np.zeros(1, dtype=np.int8), np.array([logits]))
    assert 0 <= probabilities[0] <= 1


def test_each_label_has_a_row_that_the_means_are_made_of() -> None:
    labels, logits = stars()
    table = label_table(labels, logits, STARS)
    assert table["label"] == STARS
    assert sum(table["reviews"]) == 500  # type: ignore[arg-type]
    assert np.mean(table["f1"]) == pytest.approx(score(labels, logits, STARS, 10)["f1"], abs=1e-6)  # type: ignore[arg-type]


def test_the_events_of_three_labels_are_that_the_most_probable_one_is_right() -> None:
    labels, logits = stars()
    happened, probabilities = events(labels, logits)
    assert happened.mean() == score(labels, logits, STARS, 10)["accuracy"]
    assert probabilities.min() >= 1 / 3


def test_curves_of_three_labels_are_their_mean_and_each() -> None:
    labels, logits = stars()
    for curve, x, y in (
        (roc_curve, "false_positive_rate", "true_positive_rate"),
        (precision_recall_curve, "recall", "precision"),
    ):
        table = curve(labels, logits, STARS)
        assert list(table) == [x, y, *(f"{y} of {name}" for name in STARS)]
        each = np.array([table[f"{y} of {name}"] for name in STARS])
        assert np.array(table[y]) == pytest.approx(each.mean(axis=0), abs=1e-6)


def test_the_most_confident_mistake_of_three_labels_comes_first() -> None:
    logits = np.array([[3.0, 0.0, 0.0], [0.0, 2.0, 5.0], [1.0, 0.0, 0.5]])
    table = prediction_table(["a", "b", "c"], np.array([0, 1, 2], dtype=np.int8), logits, STARS)
    assert table["id"] == ["b", "c", "a"]
    assert table["predicted"] == ["3", "1", "1"]
    assert table["probability"][0] == pytest.approx(softmax(logits, axis=1)[1, 2], abs=1e-6)
