"""Device selection and setup, support for bfloat16, and errors when memory is full."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from sentiment.errors import InputError

# Values of ONEDNN_MAX_CPU_ISA.
WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


def choose_device(precision: str = "float32") -> torch.device:
    """Return this process's GPU, or the CPU if there is none, set up to give the same bits on every run.

    Call this before any work on the device; `precision` is that of the work's matrix products. On a GPU, float32
    products are computed in float32 rather than TF32 unless `precision` is bfloat16, and an operation without a
    deterministic implementation warns. A CPU needs no setup. Raises InputError if the GPU's memory is full, or if
    torchrun started more processes on this machine than it has GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if processes > gpus:
        raise InputError(f"train.processes must be at most the number of GPUs, {gpus}; got {processes}")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    # cuBLAS is deterministic with :16:8 or :4096:8, and cuDNN's recurrent layers with :16:8 or :4096:2.
    if os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8") == ":16:8":
        os.environ.setdefault("CUBLASLT_WORKSPACE_SIZE", "128")  # KiB: 8 times 16; PyTorch warns about a larger one
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # By default cuDNN multiplies in TF32, which keeps 10 of float32's 23 mantissa bits. If TF32 is disallowed, PyTorch
    # also keeps cuDNN's recurrent layers in bfloat16 off the tensor cores (ATen/cudnn/Descriptors.h). The newer setting
    # `fp32_precision` makes it an error to read these two flags, even in PyTorch's torch.backends.cudnn.flags.
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = False
    with catch_out_of_memory(f"starting {device}"):
        torch.cuda.set_device(device)
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device has bfloat16 instructions; without them, bfloat16 is slower than float32.

    A processor that PyTorch's `ATEN_CPU_CAPABILITY` or oneDNN's `ONEDNN_MAX_CPU_ISA` limits to older instructions
    counts as having none for bfloat16.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()  # PyTorch then runs its own slow LSTM on some processors
    if torch.backends.cpu.get_cpu_capability() == "AVX2" or limit in WITHOUT_BFLOAT16:
        return False
    able = torch.cpu.get_capabilities()
    has_instructions = any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # x86-64, x86-64, Arm
    return has_instructions and lstm_supports_bfloat16()


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products: `precision`, or float32 on a device where bfloat16 is slower."""
    dtype: torch.dtype = getattr(torch, precision)
    return torch.float32 if dtype == torch.bfloat16 and not has_fast_bfloat16(device) else dtype


@cache
def lstm_supports_bfloat16() -> bool:
    """Return whether this processor can run an LSTM in bfloat16, by trying to run one.

    On processors with AVX-512, PyTorch asks oneDNN for a bfloat16 LSTM, even if ONEDNN_MAX_CPU_ISA limits oneDNN to
    instructions for which it has no such LSTM.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        try:
            nn.LSTM(1, 1, dtype=torch.bfloat16)(torch.zeros(1, 1, 1, dtype=torch.bfloat16))
        except RuntimeError:
            return False
    return True


# PyTorch's error messages when a GPU's memory is full; only the first has its own exception class. cuBLAS reports a
# handle as "not initialized" if there is no memory to create it. cuDNN 9 says DEVICE_ALLOCATION_FAILED, cuDNN 8
# ALLOC_FAILED.
OUT_OF_MEMORY_MESSAGES = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)


@contextmanager
def catch_out_of_memory(work: str, lower: str | None = None) -> Iterator[None]:
    """Turn a GPU's out-of-memory error into an InputError that names the work and the parameter to lower.

    Without a parameter to lower, the error advises the user to free memory or to use the CPU. When the CPU's memory is
    full, the operating system may kill the process; this function does not handle that case.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not any(
            text in str(error) for text in OUT_OF_MEMORY_MESSAGES
        ):
            raise
        remedy = (
            f"lower {lower}" if lower else "free some, or put CUDA_VISIBLE_DEVICES= before the command to use the CPU"
        )
        raise InputError(f"{work}: the GPU's memory is full; {remedy}") from error


def tune_memory() -> None:
    """Make the C library keep large freed blocks for the next batch, and limit oneDNN's cache of kernels.

    glibc returns each block above 32 MiB to the operating system when the block is freed, and the system zeroes the
    pages again when the next batch allocates them; that takes as long as oneDNN takes to run an LSTM. C libraries other
    than glibc are left unchanged. By default oneDNN caches the kernels of the last 1,024 shapes, some MiB each,
    although every batch may have a new shape. Call this before any work. A value of ONEDNN_PRIMITIVE_CACHE_CAPACITY in
    the environment takes precedence.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "CS_GNU_LIBC_VERSION" in os.confstr_names:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
