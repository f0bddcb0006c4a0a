"""The device that does the work, and what to ask of it."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from sentiment.errors import InputError


def choose_device() -> torch.device:
    """Return the CUDA device of this process if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the device has instructions for products of bfloat16; without, they are slower than float32.

    A processor whose instructions are kept to AVX2, by PyTorch's `ATEN_CPU_CAPABILITY`, has none.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        return False
    able = torch.cpu.get_capabilities()
    has_instructions = any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # x86-64 twice; Arm
    return has_instructions and reads_bfloat16()


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products: that of the precision, or float32 where the device is slower in that."""
    dtype: torch.dtype = getattr(torch, precision)
    return torch.float32 if dtype == torch.bfloat16 and not multiplies_bfloat16(device) else dtype


@cache
def reads_bfloat16() -> bool:
    """Return whether oneDNN has an LSTM for bfloat16 on this processor, found by running one.

    oneDNN has none below AVX-512, nor where ONEDNN_MAX_CPU_ISA keeps oneDNN alone to fewer instructions.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        try:
            nn.LSTM(1, 1, dtype=torch.bfloat16)(torch.zeros(1, 1, 1, dtype=torch.bfloat16))
        except RuntimeError:
            return False
    return True


@contextmanager
def memory_for(work: str, remedy: str) -> Iterator[None]:
    """Raise InputError, which names the work and the parameter to lower, where a GPU's memory does not suffice for it.

    Memory of a CPU is the operating system's to give, and to take back: it may end a process that asks for too much.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(f"{work}: the GPU's memory is full; lower {remedy}") from error


def repeat_exactly(device: torch.device) -> None:
    """Ask CUDA for the same bits each time; a CPU gives them anyway, with one number of threads.

    To be called before any work on the device. An operation that cannot comply warns.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def tune_memory() -> None:
    """Let the C library keep large pieces of freed memory for the next batch, and oneDNN forget old kernels.

    glibc returns each piece above 32 MiB to the operating system when it is freed, which clears each page anew when the
    next batch asks for it; that takes as long as oneDNN takes to run an LSTM. Other C libraries are left as they are.
    oneDNN keeps the kernels of the last 1,024 shapes, some MiB each, and no two batches need be of one shape. To be
    called before any work; a number of kernels in the environment stands.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "CS_GNU_LIBC_VERSION" in os.confstr_names:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
