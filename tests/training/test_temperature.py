import numpy as np
import numpy.typing as npt
import pytest

from sentiment.evaluation.metrics import softmax
from sentiment.training.temperature import fit_temperature


def of_two(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logits of two classes, (N, 2), of which the first has 0."""
    return np.stack([np.zeros_like(logits), logits], axis=1)


def test_the_temperature_by_hand() -> None:
    # Three of four reviews with a logit of 2 are positive: the probability must be 3/4, the logit log 3.
    labels = np.array([1, 1, 1, 0], dtype=np.int8)
    assert fit_temperature(labels, of_two(np.full(4, 2.0))) == pytest.approx(2 / np.log(3), abs=1e-4)


def test_the_temperature_is_bounded_without_any_mistake() -> None:
    assert 1 / 20 <= fit_temperature(np.array([1, 0], dtype=np.int8), of_two(np.array([3.0, -3.0]))) < 1 / 10


def test_the_temperature_undoes_a_scaling_of_the_logits() -> None:
    random = np.random.default_rng(0)
    logits = of_two(random.normal(0, 2, 5000))
    labels = (random.random(5000) < softmax(logits)[:, 1]).astype(np.int8)
    fitted = fit_temperature(labels, logits)
    assert fitted == pytest.approx(1.0, abs=0.1)
    assert fit_temperature(labels, 4 * logits) == pytest.approx(4 * fitted, rel=1e-4)
