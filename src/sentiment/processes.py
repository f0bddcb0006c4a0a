"""Several processes that train one model, as PyTorch's own launcher, torchrun, starts them."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from sentiment.errors import InputError


def launch(module: str, count: int) -> None:
    """Run a module in so many processes on this machine, which share its cores, as `torchrun` does.

    When one of them ends early the others are ended too, and InputError says how the first one ended.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the error below says it in one line
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = f"was killed by {failure.signal_name()}" if failure.exitcode < 0 else "ended for the reason above"
        raise InputError(f"{module}: process {rank} of {count}, counted from 0, {how}; nothing was written") from error


def is_launched() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined(device: torch.device, count: int) -> Iterator[int]:
    """Join the other processes, if torchrun started this one, yield its rank, and take leave of them at the end.

    Raises InputError if they are not `count`.
    """
    if not is_launched():
        yield 0
        return
    if count != int(os.environ["WORLD_SIZE"]):
        raise InputError(f"train.processes is {count}, but torchrun started {os.environ['WORLD_SIZE']}; let them agree")
    signal.signal(signal.SIGTERM, leave)  # so that nothing stays half-written
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank()
    except RuntimeError as error:
        if "closed by peer" in str(error) or "reset by peer" in str(error):
            leave()  # another process is gone, and the launcher will say how
        raise
    finally:
        dist.destroy_process_group()


def leave(*_: object) -> NoReturn:
    """End this process, and let no second signal disturb the clearing up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def rank_and_count() -> tuple[int, int]:
    """Return the number of this process among those joined, from 0, and how many they are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def stack_over_processes(values: Tensor) -> Tensor:
    """Return, in all P processes, the values of each, (P, ...)."""
    if not dist.is_initialized():
        return values[None]
    shares = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(shares, values)
    return torch.stack(shares)


def sum_over_processes(values: Tensor) -> Tensor:
    """Return, in all processes, the sum of their values."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values
