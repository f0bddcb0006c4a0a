import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax

from sentiment.training.calibration import fit_calibration


def of_two(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logits of two classes, (N, 2), of which the first has 0."""
    return np.stack([np.zeros_like(logits), logits], axis=1)


def test_the_temperature_by_hand() -> None:
    # Three of four reviews with a logit of 2 are positive: the probability must be 3/4, the logit log 3.
    fitted = fit_calibration(np.array([1, 1, 1, 0], dtype=np.int8), of_two(np.full(4, 2.0)))
    assert fitted.temperature == pytest.approx(2 / np.log(3), abs=1e-4)
    assert fitted.weight == 0
    assert fitted.validation_loss == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25), abs=1e-8)
    assert fitted.validation_accuracy == fitted.network_accuracy == 0.75


def test_the_temperature_is_bounded_without_any_mistake() -> None:
    fitted = fit_calibration(np.array([1, 0], dtype=np.int8), of_two(np.array([3.0, -3.0])))
    assert 1 / 20 <= fitted.temperature < 1 / 6


def test_the_temperature_undoes_a_scaling_of_the_logits() -> None:
    random = np.random.default_rng(0)
    logits = of_two(random.normal(0, 2, 5000))
    labels = (random.random(5000) < softmax(logits, axis=1)[:, 1]).astype(np.int8)
    fitted = fit_calibration(labels, logits).temperature
    assert fitted == pytest.approx(1.0, abs=0.1)
    assert fit_calibration(labels, 4 * logits).temperature == pytest.approx(4 * fitted, rel=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_factors_of_two_models_are_found(classes: int) -> None:
    """Labels drawn from a mixture of two models' logits give that mixture back."""
    random = np.random.default_rng(0)
    network, linear = random.normal(0, 2, (2, 20_000, classes))
    mixed = network / 1.6 + 0.4 * linear
    labels = (mixed + random.gumbel(size=mixed.shape)).argmax(axis=1).astype(np.int8)
    fitted = fit_calibration(labels, network, linear)
    assert fitted.temperature == pytest.approx(1.6, rel=0.05)
    assert fitted.weight == pytest.approx(0.4, rel=0.05)
    assert fitted.validation_accuracy == pytest.approx((mixed.argmax(axis=1) == labels).mean(), abs=0.01)
    assert fitted.network_accuracy < fitted.validation_accuracy


def test_a_linear_model_that_knows_nothing_is_left_out() -> None:
    random = np.random.default_rng(0)
    network, labels = of_two(random.normal(0, 2, 1000)), np.zeros(1000, dtype=np.int8)
    labels[random.random(1000) < softmax(network, axis=1)[:, 1]] = 1
    against = of_two(np.where(labels == 1, -1.0, 1.0))
    assert fit_calibration(labels, network, against).weight == 0
