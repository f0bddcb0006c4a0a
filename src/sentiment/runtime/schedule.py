"""Learning-rate schedules: a warm-up, then a decay."""

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float], float]] = {  # share of steps done since warm-up -> share of peak rate
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def rate_factor(step: int, steps: int, warmup_share: float, schedule: str) -> float:
    """Return the learning rate of a step, counted from 0, as a share of its peak.

    The rate rises linearly over the first `warmup_share` of all `steps`, and then follows `schedule`, a key of
    SCHEDULES. A warm-up of 0.3 and a cosine decay form the one-cycle policy of Smith (2018), without its changes of
    momentum.
    """
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[schedule]((step - warmup) / max(1, steps - warmup))
