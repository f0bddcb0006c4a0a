"""The device that does the work, and what to ask of it."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from sentiment.errors import InputError


def choose_device(precision: str = "float32") -> torch.device:
    """Return the GPU of this process if there is one, else the CPU, set up to give the same bits each time.

    Call this before any work on the device; `precision` is that of the work's matrix products. A GPU is also set up to
    compute float32 in float32, not in TF32, unless products are in bfloat16; an operation without a deterministic
    implementation warns. A CPU needs no setting up. Raises InputError if the GPU's memory is full, or if torchrun
    started more processes on this machine than it has GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if processes > gpus:
        raise InputError(f"train.processes is {processes}, but there are {gpus} GPUs; lower it")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    # cuBLAS is deterministic with :16:8 or :4096:8, and cuDNN's recurrent layers with :16:8 or :4096:2.
    if os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8") == ":16:8":
        os.environ.setdefault("CUBLASLT_WORKSPACE_SIZE", "128")  # KiB: 8 times 16; PyTorch warns if this one is larger
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # By default cuDNN multiplies in TF32, which keeps 10 of float32's 23 bits. Where that is forbidden, PyTorch keeps
    # cuDNN's recurrent layers from tensor cores in bfloat16, too (ATen/cudnn/Descriptors.h). There is a newer way,
    # `fp32_precision`, after which reading these two flags is an error, also in PyTorch's torch.backends.cudnn.flags.
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = False
    with memory_for(f"starting {device}"):
        torch.cuda.set_device(device)
    return device


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the device has instructions for products of bfloat16; without, they are slower than float32.

    A processor whose instructions are kept to AVX2, by PyTorch's `ATEN_CPU_CAPABILITY`, has none.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
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
    """Return whether an LSTM reads bfloat16 on this processor, found by running one.

    PyTorch asks oneDNN for it on processors with AVX-512, even where ONEDNN_MAX_CPU_ISA keeps oneDNN to instructions
    for which it has none.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        try:
            nn.LSTM(1, 1, dtype=torch.bfloat16)(torch.zeros(1, 1, 1, dtype=torch.bfloat16))
        except RuntimeError:
            return False
    return True


# Texts of PyTorch's errors when a GPU's memory is full; only the first has a class of its own. cuBLAS calls a handle
# "not initialized" when there is no memory for it. cuDNN 9 says DEVICE_ALLOCATION_FAILED, cuDNN 8 ALLOC_FAILED.
MEMORY_IS_FULL = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)


@contextmanager
def memory_for(work: str, lower: str | None = None) -> Iterator[None]:
    """Raise InputError, which names the work and the parameter to lower, if a GPU's memory is full meanwhile.

    Without a parameter to lower, the error says to free memory or to use the CPU. A full memory of the CPU is left to
    the operating system, which may end a process that asks for too much.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not any(text in str(error) for text in MEMORY_IS_FULL):
            raise
        remedy = f"lower {lower}" if lower else "free it, or use the CPU by CUDA_VISIBLE_DEVICES= before the command"
        raise InputError(f"{work}: the GPU's memory is full; {remedy}") from error


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
