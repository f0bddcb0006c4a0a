"""The setting in which checks run, and a process that runs several of them."""

import faulthandler
import gc
import os
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

import torch

from benchmarks.cuda.pack import Packed, first, generate, unpack
from sentiment.runtime.device import choose_device

FRAMES = 6  # of a traceback, the last ones
DIGITS = 4  # significant ones of a number

Record = Callable[[str, object], None]  # of a finding's name and value


@dataclass(frozen=True)
class Setting:
    """Where and for how long the checks of a part run; a CPU runs them on small models and few reviews."""

    device: torch.device
    data: Path | None  # written by `pack`; None: generated reviews
    ends: float  # of `time.monotonic`

    @property
    def is_small(self) -> bool:
        """Return whether the sizes are to be small."""
        return self.device.type == "cpu"

    @property
    def seconds_left(self) -> float:
        """Return the seconds until the part's time is up."""
        return self.ends - time.monotonic()

    def reviews(self) -> Packed:
        """Return the reviews of each split."""
        return read(self.data, self.is_small)


Check = Callable[[Setting, Record], None]


@cache
def read(data: Path | None, is_small: bool) -> Packed:
    """Return the reviews of a file, or generated ones where there is none; few if they are to be small."""
    if data is not None:
        return {split: first(reviews, 64) if is_small else reviews for split, reviews in unpack(data).items()}
    if is_small:
        return generate({"train": 64, "validation": 16, "test": 16, "unsup": 32}, 10, 200)
    return generate({"train": 8000, "validation": 2000, "test": 2000, "unsup": 8000}, 200, 25_000)


def processes_for(device: torch.device) -> SpawnContext | ForkServerContext:
    """Return how to start processes that use a device.

    On a CPU they are forks of one that has imported PyTorch; on CUDA each begins from nothing, which is always safe.
    """
    if device.type == "cuda":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.cuda.run", "torch._dynamo"])  # optimizers import the second
    return context


def set_up(device: torch.device) -> None:
    """Prepare a process for work on a device; to be called first."""
    if device.type == "cuda":
        choose_device("bfloat16")  # asks for the same bits each time
    else:
        torch.set_num_threads(1)  # models are small, and threads that wait by spinning hold up whatever else runs


def work(sender: Connection, setting: Setting, checks: dict[str, Check], errors: Path) -> None:
    """Run checks one after the other, in a process of its own, and send what happens.

    Sends ("started", name of a check), then ("found", (name, value)) any number of times, then ("ended", figures).
    Ends early when the time is up, or after an error that leaves CUDA unusable. The file `errors` gets what libraries
    print as errors.
    """
    os.setsid()  # so that this process and those that it starts can be killed together
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    set_up(setting.device)
    for name, check in checks.items():
        if setting.seconds_left <= 0:
            break
        sender.send(("started", name))
        figures = run_check(check, setting, lambda key, value: sender.send(("found", (key, plain(value)))))
        sender.send(("ended", figures))
        gc.collect()
        if setting.device.type == "cuda":
            torch.cuda.synchronize()  # fails, and so ends this process, where an error has left CUDA unusable
            torch.cuda.empty_cache()


def run_check(check: Check, setting: Setting, record: Record) -> dict[str, object]:
    """Run a check and return its seconds, its warnings, and its error if there was one."""
    started = time.monotonic()
    figures: dict[str, object] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            check(setting, record)
        except Exception as error:
            figures["error"] = describe(error)
    figures["seconds"] = plain(time.monotonic() - started)
    if caught:
        figures["warnings"] = sorted({f"{warning.category.__name__}: {warning.message}" for warning in caught})
    return figures


def describe(error: BaseException) -> dict[str, object]:
    """Return an error's type, message and last frames."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return {
        "type": type(error).__name__,
        "message": str(error)[:2000],
        "frames": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}: {frame.line}" for frame in frames],
    }


def plain(value: object) -> object:
    """Return a value as JSON has it, fractions rounded to a few digits; what JSON has no form for becomes text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value - value == 0:  # finite
        return float(f"{value:.{DIGITS}g}")
    return value if value is None or isinstance(value, bool | int | str) else str(value)
