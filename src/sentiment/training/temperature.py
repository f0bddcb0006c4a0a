"""Temperature scaling (Guo et al. 2017), fitted on reviews on which the model was not trained."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

BOUNDS = (1 / 20, 20.0)


def fit_temperature(labels: npt.NDArray[np.int8], logits: npt.NDArray[np.float64]) -> float:
    """Return the temperature: the number by which to divide logits so that their mean cross entropy is least.

    `labels` is (N,), and `logits` has one for each class, (N, K).

    The temperature lies within BOUNDS, because there is no minimum above 0 if the model misclassifies no review.
    """
    above = logits - np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)  # (N, K), over the true class

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp.reduce(above / np.exp(log_temperature), axis=1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded").x))
