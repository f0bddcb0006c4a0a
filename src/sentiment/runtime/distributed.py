"""Data-parallel training: several processes, started by PyTorch's launcher torchrun, train one model."""

import atexit
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from sentiment.errors import InputError

GRACE_SECONDS = 5.0  # from SIGTERM until a process that still runs is ended by force


def launch(module: str, count: int) -> None:
    """Run a module in `count` processes on this machine, which share its cores, as `torchrun` does.

    If a process fails, the other processes are terminated and InputError says how the first process failed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    # the InputError below reports a failure in one line
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
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
        how = f"was killed by {failure.signal_name()}" if failure.exitcode < 0 else "failed with the error above"
        raise InputError(f"{module}: rank {rank} of {count} processes {how}; no output was written") from error


def is_launched() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def process_group(device: torch.device, count: int) -> Iterator[int]:
    """Join the process group if torchrun started this process, yield the rank, and destroy the group at the end.

    The rank is 0 without torchrun. Raises InputError if torchrun did not start `count` processes, or if NCCL or
    torchrun's store fails.
    """
    if not is_launched():
        yield 0
        return
    if count != int(os.environ["WORLD_SIZE"]):
        raise InputError(
            f"train.processes must be {os.environ['WORLD_SIZE']}, the number of processes that torchrun started; "
            f"got {count}"
        )
    end_on_sigterm()
    is_cuda = device.type == "cuda"
    try:
        # gloo exchanges tensors on the CPU without waiting for a GPU
        backends = "cpu:gloo,cuda:nccl" if is_cuda else "gloo"
        dist.init_process_group(backends, device_id=device if is_cuda else None)
        yield dist.get_rank()
    except BaseException as error:
        # NCCL destroys a group only once all processes do, but the others wait for a tensor from this process
        atexit.register(exit_immediately)
        # gloo raises RuntimeError, without a class of its own
        if isinstance(error, RuntimeError) and re.search("(closed|reset) by peer", str(error)):
            wait_for_launcher()
            exit_with_failure()
        if isinstance(error, dist.DistError):
            wait_for_launcher()
            said = " ".join(str(error).split())
            raise InputError(f"rank {os.environ['RANK']} of {count} processes: {said}") from error
        raise
    dist.destroy_process_group()


def end_on_sigterm(grace_seconds: float = GRACE_SECONDS) -> None:
    """Make SIGTERM end this process with status 1: by `exit_with_failure`, or by force after a grace period.

    Python runs a signal handler only between two of its bytecode instructions, so not while the main thread waits in C,
    for example for a GPU that waits for another process. Even then, Python writes the signal's number to the wakeup
    pipe, which a thread watches.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, exit_with_failure)

    def watch() -> None:
        while signal.SIGTERM not in os.read(reader, 64):
            pass
        time.sleep(grace_seconds)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def wait_for_launcher() -> None:
    """Wait for SIGTERM from the launcher, which reports how another process ended unless this one ends before it."""
    time.sleep(GRACE_SECONDS)


def exit_with_failure(*_: object) -> NoReturn:
    """End this process with status 1, ignoring a second SIGTERM so that no output stays half-written."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def exit_immediately() -> NoReturn:
    """Flush the output and end this process with status 1, without waiting for other processes or threads."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)


def rank_and_count() -> tuple[int, int]:
    """Return the rank of this process, from 0, and the number of processes in the group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gather_over_processes(values: Tensor) -> Tensor:
    """Gather `values` from all P processes, and return them in each process as one tensor (P, ...)."""
    if not dist.is_initialized():
        return values[None]
    shares = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(shares, values)
    return torch.stack(shares)


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum `values` over all processes in place, and return the sum in each process."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def broadcast_flag(flag: bool) -> bool:
    """Return the first process's flag in each process; CPUs exchange the flag, so that no process waits for its GPU."""
    if not dist.is_initialized():
        return flag
    said = torch.tensor(flag)
    dist.broadcast(said, src=0)
    return bool(said)
