"""How sure a model may be: temperature scaling (Guo et al. 2017), fitted on reviews that it was not trained on."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

BOUNDS = (1 / 20, 20.0)


def fit_temperature(labels: npt.NDArray[np.int8], logits: npt.NDArray[np.float64]) -> float:
    """Return the number to divide N logits by so that their mean cross entropy is least.

    It is within BOUNDS: else there is none where no review is on the wrong side.
    """
    margins = np.where(labels == 1, logits, -logits)  # (N,)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -margins / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded").x))
