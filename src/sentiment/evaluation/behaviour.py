"""Behavioural tests: the accuracy on short texts, each of which tests one capability (Ribeiro et al. 2020)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.errors import InputError
from sentiment.storage.outputs import read_columns

LABELS = ("neg", "pos")


class Cases(NamedTuple):
    """K test cases, in columns."""

    capabilities: list[str]
    labels: npt.NDArray[np.int8]  # (K,) of 0 and 1
    texts: list[str]


def read_cases(path: Path) -> Cases:
    """Read a CSV file with the columns capability, label (neg or pos) and text.

    Raises FileNotFoundError if there is no file, and InputError if the file holds anything else.
    """
    try:
        columns = read_columns(path)
        capabilities, labels, texts = (columns[name] for name in ("capability", "label", "text"))
        numbers = np.array([LABELS.index(label) for label in labels], dtype=np.int8)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path}: must be CSV with the columns capability, label (one of {', '.join(LABELS)}) and text: {error}"
        ) from error
    return Cases(capabilities, numbers, texts)


def shares_passed(cases: Cases, predictions: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, Sequence[object]]:
    """Return, for each capability, the share of cases that each model classifies correctly, and the number of cases.

    `predictions` maps the name of a model to an array, (K,), that is True where the model predicts positive.
    """
    names = list(dict.fromkeys(cases.capabilities))
    members = [np.array(cases.capabilities) == name for name in names]
    shares: dict[str, Sequence[object]] = {"capability": names}
    for model, positive in predictions.items():
        passed = positive == (cases.labels == 1)
        shares[model] = [round(float(passed[member].mean()), 6) for member in members]
    return {**shares, "cases": [int(member.sum()) for member in members]}
