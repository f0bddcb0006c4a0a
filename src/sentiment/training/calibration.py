"""Calibration: the temperature of the network and the weight of the linear model, fitted on validation reviews.

    z = s / temperature + weight l,   1 / temperature and weight >= 0

s and l are the logits of the network and of the linear model. Dividing by a temperature calibrates the probabilities
(Guo et al. 2017). The sum is the logarithm of a product of experts: two models that err on different reviews correct
each other. Both numbers minimise the mean cross entropy of z, which is convex in 1 / temperature and weight. The models
must not have been trained on these reviews.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

# Of 1 / temperature and of the weight. Without bounds there is no minimum if a model misclassifies no review.
BOUNDS = [(1 / 20, 20.0), (0.0, 20.0)]
TOLERANCES = {"ftol": 1e-12, "gtol": 1e-9}


class Calibration(NamedTuple):
    """The factors of the two models' logits, and figures of the reviews on which they were fitted."""

    temperature: float  # by which to divide the network's logits
    weight: float  # by which to multiply the linear model's; 0 without one
    validation_loss: float  # in nats
    validation_accuracy: float
    network_accuracy: float  # of the network alone


def fit_calibration(
    labels: npt.NDArray[np.int8], network: npt.NDArray[np.float64], linear: npt.NDArray[np.float64] | None = None
) -> Calibration:
    """Fit the factors on N reviews with labels (N,), given each model's logits for all classes, (N, K)."""
    models = np.stack([network] if linear is None else [network, linear])
    targets = np.eye(network.shape[1])[labels]  # (N, K)

    def loss(factors: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Return the mean cross entropy and its gradient by the factors."""
        log_p = log_softmax(np.tensordot(factors, models, axes=1), axis=1)
        errors = np.exp(log_p) - targets  # d CE / d z
        return -float((targets * log_p).sum()) / len(labels), (errors * models).sum(axis=(1, 2)) / len(labels)

    start = np.array([1.0, 0.0])[: len(models)]
    found = minimize(loss, start, jac=True, bounds=BOUNDS[: len(models)], method="L-BFGS-B", options=TOLERANCES)
    factor, weight = [*found.x.tolist(), 0.0][:2]
    mixed = np.tensordot(found.x, models, axes=1)
    return Calibration(
        temperature=1 / factor,
        weight=weight,
        validation_loss=float(found.fun),
        validation_accuracy=float((mixed.argmax(axis=1) == labels).mean()),
        network_accuracy=float((network.argmax(axis=1) == labels).mean()),
    )
