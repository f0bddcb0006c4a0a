"""Behavioural tests: the accuracy on short texts, each of which tests one capability (Ribeiro et al. 2020)."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import read_columns


class Cases(NamedTuple):
    """C test cases, in columns."""

    capabilities: list[str]
    labels: npt.NDArray[np.int64]  # (C,), the number of the label, from 0
    texts: list[str]


def read_cases(path: Path, names: Sequence[str]) -> Cases:
    """Read a CSV file with the columns capability, label and text; `names` are those of the labels, K.

    If the file has none of the labels, its cases are about something else, and none is returned.

    Raises FileNotFoundError if there is no file, and InputError if the file holds anything else.
    """
    try:
        columns = read_columns(path)
        capabilities, labels, texts = (columns[name] for name in ("capability", "label", "text"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(f"{path}: must be CSV with the columns capability, label and text: {error}") from error
    if not set(labels) & set(names):
        return Cases([], np.zeros(0, dtype=np.int64), [])
    for row, label in enumerate(labels, start=2):
        if label not in names:
            raise InputError(
                f"{path}, row {row}: the label must be one of {', '.join(names)}; got {abbreviated(label)}"
            )
    return Cases(capabilities, np.array([names.index(label) for label in labels]), texts)


def shares_passed(cases: Cases, predictions: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Sequence[object]]:
    """Return, for each capability, the share of cases that each model classifies correctly, and the number of cases.

    `predictions` maps the name of a model to the labels that it predicts, (C,).
    """
    names = list(dict.fromkeys(cases.capabilities))
    members = [np.array(cases.capabilities) == name for name in names]
    shares: dict[str, Sequence[object]] = {"capability": names}
    for model, predicted in predictions.items():
        passed = predicted == cases.labels
        shares[model] = [round(float(passed[member].mean()), 6) for member in members]
    return {**shares, "cases": [int(member.sum()) for member in members]}
