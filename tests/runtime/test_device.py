import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from sentiment.errors import InputError
from sentiment.runtime.device import catch_out_of_memory, choose_device, has_fast_bfloat16
from tests.conftest import combinations

ROOT = Path(__file__).resolve().parents[2]
PROBED = """
import torch
from sentiment.runtime.device import has_fast_bfloat16, lstm_supports_bfloat16

before = torch.get_rng_state()
print(has_fast_bfloat16(torch.device("cpu")))
lstm_supports_bfloat16()
print(torch.equal(torch.get_rng_state(), before))
"""
SET_UP = """
import json, os, sys
import torch
from sentiment.runtime.device import choose_device

asked = []
torch.cuda.is_available, torch.cuda.device_count, torch.cuda.set_device = lambda: True, lambda: 2, asked.append
device = choose_device(*sys.argv[1:])
with torch.backends.cudnn.flags(enabled=False):  # reads all flags, and fails where they contradict each other
    pass
print(json.dumps({
    "devices": [str(device), *map(str, asked)],
    "environment": [os.environ.get(name) for name in ("CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE")],
    "deterministic": torch.are_deterministic_algorithms_enabled(),
    "warns only": torch.is_deterministic_algorithms_warn_only_enabled(),
    "fills memory": torch.utils.deterministic.fill_uninitialized_memory,
    "precisions": [
        torch.backends.cudnn.rnn.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
    ],
}))
"""
FREED = """
import sys
from pathlib import Path
import torch
from sentiment.runtime.device import tune_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024

if sys.argv[1] == "tuned":
    tune_memory()
large = torch.empty(2**29, dtype=torch.uint8).fill_(1)
before = resident()
del large
print(before - resident())
"""


def freed(word: str) -> int:
    """Return how many of 512 MiB go back to the operating system when a tensor is freed."""
    command = [sys.executable, "-c", FREED, word]
    return int(subprocess.check_output(command, cwd=ROOT / "src", text=True))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_freed_memory_is_kept_by_the_process() -> None:
    assert freed("as it comes") > 400
    assert freed("tuned") < 100


def test_a_gpu_is_chosen_if_there_is_one() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "workspace"),
    combinations(
        [([], False), (["float32"], False), (["bfloat16"], True)],
        [({}, [":16:8", "128"]), ({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}, [":4096:8", None])],
    ),
)
def test_a_gpu_is_set_up_for_determinism_and_true_float32_without_a_warning(
    precision: tuple[list[str], bool], workspace: tuple[dict[str, str], list[str | None]]
) -> None:
    (arguments, expected), (given, environment) = precision, workspace
    said = json.loads(
        subprocess.check_output(
            [sys.executable, "-W", "error", "-c", SET_UP, *arguments],
            cwd=ROOT / "src",
            env={
                **os.environ,
                "LOCAL_RANK": "1",
                "LOCAL_WORLD_SIZE": "2",
                "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
                **given,
            },
        )
    )
    assert said["devices"] == ["cuda:1", "cuda:1"]
    assert said["environment"] == environment
    assert (said["deterministic"], said["warns only"], said["fills memory"]) == (True, True, False)
    recurrent, convolution, product = said["precisions"]
    assert ("tf32" in recurrent, "tf32" in convolution, "tf32" in product) == (expected, expected, False)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match=r"^train\.processes must be at most the number of GPUs, 2; got 3$"):
        choose_device()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
)
def test_an_out_of_memory_error_of_any_library_is_reported(error: RuntimeError) -> None:
    message = r"^batch 3: the GPU's memory is full; lower train\.tokens_at_once$"
    with pytest.raises(InputError, match=message), catch_out_of_memory("batch 3", "train.tokens_at_once"):
        raise error
    message = "^scoring: the GPU's memory is full; free some, or put CUDA_VISIBLE_DEVICES= before the command"
    with pytest.raises(InputError, match=message), catch_out_of_memory("scoring"):
        raise error


def test_other_errors_are_not_taken_for_out_of_memory() -> None:
    error = RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSetStream(handle, stream)`")
    with pytest.raises(RuntimeError) as raised, catch_out_of_memory("batch 3"):
        raise error
    assert raised.value is error


def test_bfloat16_support_is_asked_of_the_given_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    able, current = [True, False], [0]

    @contextmanager
    def switched_to(device: torch.device) -> Iterator[None]:
        current.append(device.index)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", switched_to)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able[current[-1]])
    assert [has_fast_bfloat16(torch.device("cuda", number)) for number in range(2)] == able


@pytest.mark.parametrize(
    ("kept_to", "able", "has_kernel", "expected"),
    [
        ("AVX512", {}, True, False),
        ("AVX512", {"avx512_bf16": True}, True, True),
        ("AVX512", {"avx512_bf16": True}, False, False),
        ("AVX2", {"avx512_bf16": True}, True, False),
        ("DEFAULT", {"bf16": True}, True, True),
    ],
)
def test_bfloat16_needs_instructions_and_a_kernel(
    monkeypatch: pytest.MonkeyPatch, kept_to: str, able: dict[str, bool], has_kernel: bool, expected: bool
) -> None:
    monkeypatch.setattr("sentiment.runtime.device.lstm_supports_bfloat16", lambda: has_kernel)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kept_to)
    assert has_fast_bfloat16(torch.device("cpu")) is expected


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is a set of instructions of x86-64")
def test_onednn_limited_to_avx2_computes_in_float32_and_draws_no_random_numbers() -> None:
    command = [sys.executable, "-c", PROBED]
    said = subprocess.check_output(
        command, cwd=ROOT / "src", text=True, env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    )
    assert said == "False\nTrue\n"
