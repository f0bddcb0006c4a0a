"""Whether results on the device agree with the CPU, repeat, and survive a kill."""

import os

import torch

from benchmarks.cuda.checks import Check, Record, Setting
from benchmarks.cuda.exact import compare_networks, compare_objective, compare_tf32
from benchmarks.cuda.layers import lstm, precisions
from benchmarks.cuda.repeat import diverge, fill_memory, kill_and_resume, pretrain, train_twice
from benchmarks.cuda.timing import top_kernels
from sentiment.models.precision import PRECISIONS
from sentiment.runtime.device import product_dtype


def describe_device(setting: Setting, record: Record) -> None:
    """Record what PyTorch says of the device and how it is set up."""
    record("products", {precision: str(product_dtype(precision, setting.device)) for precision in PRECISIONS})
    record("deterministic", torch.are_deterministic_algorithms_enabled())
    record("CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
    if setting.device.type == "cuda":
        record("properties", str(torch.cuda.get_device_properties(setting.device)))
        record("memory, bytes free and in all", torch.cuda.mem_get_info(setting.device))
        record("nccl", torch.cuda.nccl.version())
    record("TF32 allowed in matrix products", torch.backends.cuda.matmul.allow_tf32)
    record("TF32 allowed in cuDNN", torch.backends.cudnn.allow_tf32)


def list_kernels(setting: Setting, record: Record) -> None:
    """Record the kernels of one LSTM layer by its size and precision: forward, and forward and backward."""
    for size in (8,) if setting.is_small else (128, 256, 1024):
        for precision in precisions(setting):
            with lstm(setting.device, precision, (size, size, 64, 64)) as works:
                for name, work in works.items():
                    kernels = top_kernels(work, setting.device)
                    record(f"H {size}, {precision}, {name}", [kernel._asdict() for kernel in kernels])


CHECKS: dict[str, Check] = {
    "device": describe_device,
    "networks against float64": compare_networks,
    "TF32 against float64": compare_tf32,
    "objective against float64": compare_objective,
    "language models": pretrain,
    "same bits twice": train_twice,
    "killed and resumed": kill_and_resume,
    "divergence": diverge,
    "full memory": fill_memory,
    "kernels": list_kernels,
}
