"""Seconds, kernels and precisions of a piece of work."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.train import wait

ROUND_SECONDS = 0.02  # of repetitions that follow each other without waiting for the device
ROUNDS = 3
NAME_LENGTH = 120  # of a kernel's name, which has templates in it

Work = Callable[[], object]


def median_seconds(work: Work, device: torch.device) -> float:
    """Return the seconds of a piece of work, repeated as in training: the device is not waited for in between."""
    time_repeated(work, device, 2)  # chooses kernels and asks for memory
    count = max(1, round(ROUND_SECONDS / max(time_repeated(work, device, 1), 1e-6)))
    rounds = sorted(time_repeated(work, device, count) for _ in range(ROUNDS))
    return rounds[ROUNDS // 2]


def time_repeated(work: Work, device: torch.device, count: int) -> float:
    """Return the mean seconds of so many repetitions."""
    wait(device)
    started = time.perf_counter()
    for _ in range(count):
        work()
    wait(device)
    return (time.perf_counter() - started) / count


class Kernel(NamedTuple):
    """A CUDA kernel, or an operator of a CPU."""

    name: str
    ms: float  # of all calls
    calls: int


def top_kernels(work: Work, device: torch.device, most: int = 8) -> list[Kernel]:
    """Return the kernels that take the most time in a piece of work."""
    on_cuda = device.type == "cuda"
    work()
    wait(device)
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_cuda, acc_events=True) as profiled:
        work()
        wait(device)
    kind = "CUDA" if on_cuda else "CPU"
    events = [
        event
        for event in profiled.key_averages()
        if event.device_type.name == kind and not getattr(event, "is_user_annotation", False)
    ]
    times = [event.self_device_time_total if on_cuda else event.self_cpu_time_total for event in events]
    kernels = [
        Kernel(event.key[:NAME_LENGTH], time / 1000, event.count) for event, time in zip(events, times, strict=True)
    ]
    return sorted(kernels, key=lambda kernel: -kernel.ms)[:most]


@contextmanager
def as_pytorch_comes() -> Iterator[None]:
    """Allow TF32 in cuDNN, and operations that need not repeat to the bit."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        with tf32(True):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


@contextmanager
def tf32(is_allowed: bool) -> Iterator[None]:
    """Let the factors of float32 products be rounded to TF32's 10 bits, or forbid it."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = is_allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def capture(work: Work) -> Work:
    """Return the same work as a CUDA graph, on the same tensors."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = work()  # its memory is the graph's as long as the graph lives

    def replay() -> object:
        graph.replay()
        return kept

    return replay
