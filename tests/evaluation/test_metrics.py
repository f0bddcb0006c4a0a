import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.evaluation.metrics import (
    CURVE_POINTS,
    accuracy_by_length,
    accuracy_interval,
    calibration_curve,
    calibration_error,
    mcnemar,
    precision_recall_curve,
    prediction_table,
    roc_curve,
    score,
    sigmoid,
)

LABELS = np.array([1, 0, 1, 0], dtype=np.int8)
LOGITS = np.array([2.0, -1.0, -0.5, 0.25])


def test_metrics_match_a_hand_calculation() -> None:
    figures = score(LABELS, LOGITS, calibration_bins=10)
    assert figures["reviews"] == 4
    assert figures["majority_share"] == 0.5
    assert figures["accuracy"] == figures["precision"] == figures["recall"] == figures["f1"] == 0.5
    assert figures["roc_auc"] == 0.75  # of the four pairs one is the wrong way round
    assert figures["average_precision"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-6)
    assert figures["loss"] == pytest.approx(np.log1p(np.exp([-2, -1, 0.5, 0.25])).mean(), abs=1e-6)


@pytest.mark.parametrize("positives", [1, 99])
def test_the_accuracy_of_the_majority_class_is_its_share(positives: int) -> None:
    labels = (np.arange(100) < positives).astype(np.int8)
    figures = score(labels, np.full(100, float(positives - 50)), calibration_bins=10)
    assert figures["majority_share"] == figures["accuracy"] == 0.99
    assert figures["roc_auc"] == 0.5


def test_the_calibration_error_matches_a_hand_calculation() -> None:
    labels = np.array([0, 1, 1, 1], dtype=np.int8)
    probabilities = np.array([0.1, 0.3, 0.9, 1.0])
    # Two bins: means 0.2 against 0.5 true, and 0.95 against 1.0 true, half of the reviews in each.
    assert calibration_error(labels, probabilities, 2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.05)
    assert calibration_curve(labels, probabilities, 2) == {
        "predicted": [0.2, 0.95],
        "positive": [0.5, 1.0],
        "reviews": [2, 2],
    }


def test_the_interval_has_the_width_of_the_normal_approximation() -> None:
    correct = np.arange(2500) % 10 != 0
    low, high = accuracy_interval(correct)
    assert (low + high) / 2 == pytest.approx(0.9, abs=1e-3)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.9 * 0.1 / 2500), rel=0.05)


def test_mcnemar_matches_a_hand_calculation() -> None:
    both, one, other = [True] * 6, [True] * 4, [False] * 4
    # Heads four times in four throws, or tails four times: 2 / 2^4.
    assert mcnemar(np.array(both + one), np.array(both + other)) == pytest.approx(1 / 8)
    assert mcnemar(np.array(both), np.array(both)) == 1.0
    assert mcnemar(np.array(one + other), np.array(other + one)) == 1.0


@given(st.floats(-800, 800))
def test_the_sigmoid_does_not_overflow(logit: float) -> None:
    value = sigmoid(np.array([logit, -logit]))
    assert value.sum() == pytest.approx(1.0)
    assert (value >= 0).all()


def test_curves_are_thinned_and_keep_their_ends() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 20_000).astype(np.int8)
    logits = random.normal(labels, 1.0)
    roc, precision_recall = roc_curve(labels, logits), precision_recall_curve(labels, logits)
    for table in (roc, precision_recall):
        assert all(len(column) <= CURVE_POINTS for column in table.values())
    assert [roc["true_positive_rate"][end] for end in (0, -1)] == [0.0, 1.0]
    assert [precision_recall["recall"][end] for end in (0, -1)] == [0.0, 1.0]


def test_accuracy_by_length_goes_from_short_to_long() -> None:
    table = accuracy_by_length(LABELS, LOGITS, np.array([30, 10, 20, 40]), parts=2)
    assert table == {"tokens": [15.0, 35.0], "accuracy": [0.5, 0.5], "reviews": [2, 2]}
    assert len(accuracy_by_length(LABELS, LOGITS, np.array([1, 2, 3, 4]), parts=9)["tokens"]) == 4


def test_the_most_confident_mistake_comes_first() -> None:
    table = prediction_table(["a", "b", "c", "d"], LABELS, LOGITS)
    assert table["id"] == ["c", "d", "b", "a"]
    assert table["actual"] == ["positive", "negative", "negative", "positive"]
    assert table["predicted"] == ["negative", "positive", "negative", "positive"]
