"""How a learning rate rises at first and falls afterwards."""

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float], float]] = {  # factor of the rate, by the share of steps done since the warm-up
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def rate_factor(step: int, steps: int, warmup_share: float, schedule: str) -> float:
    """Return the learning rate of a step, counted from 0, as a share of its peak.

    The rate rises in a straight line over the first `warmup_share` of all `steps`, and then falls as `schedule`, a key
    of SCHEDULES, says. A rise of 0.3 and a cosine make the one cycle of Smith (2018), without its changes of momentum.
    """
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[schedule]((step - warmup) / max(1, steps - warmup))
