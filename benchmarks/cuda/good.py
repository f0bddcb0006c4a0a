"""Accuracy that takes a GPU to reach."""

import torch

from benchmarks.cuda.checks import Check, Record, Setting
from benchmarks.cuda.pack import Packed


def good(data: Packed, device: torch.device, seconds: float, record: Record) -> None:
    """Train language models of several layers, then a classifier from them, in so many seconds.

    `data` holds encoded reviews by split. `record` takes the name and the value of a finding, and a finding of the same
    name replaces the last one: whatever has been recorded is kept when the time is up and the process is killed.
    """
    record("state", "not built yet")


def run_good(setting: Setting, record: Record) -> None:
    """Run `good` within the part's time."""
    data = setting.reviews()
    good(data, setting.device, setting.seconds_left, record)


CHECKS: dict[str, Check] = {"good": run_good}
