import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sentiment.device import choose_device, multiplies_bfloat16

ROOT = Path(__file__).resolve().parent.parent
PROBED = """
import torch
from sentiment.device import reads_bfloat16

before = torch.get_rng_state()
print(reads_bfloat16(), torch.equal(torch.get_rng_state(), before))
"""
FREED = """
import sys
from pathlib import Path
import torch
from sentiment.device import tune_memory

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


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_freed_memory_is_kept() -> None:
    assert freed("as it comes") > 400
    assert freed("tuned") < 100


def test_the_device_is_a_gpu_where_there_is_one() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


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
def test_bfloat16_is_a_matter_of_instructions_and_kernels(
    monkeypatch: pytest.MonkeyPatch, kept_to: str, able: dict[str, bool], has_kernel: bool, expected: bool
) -> None:
    monkeypatch.setattr("sentiment.device.reads_bfloat16", lambda: has_kernel)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kept_to)
    assert multiplies_bfloat16(torch.device("cpu")) is expected


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is a set of instructions of x86-64")
def test_kept_to_avx2_onednn_is_asked_for_no_bfloat16_and_the_random_numbers_stay() -> None:
    command = [sys.executable, "-c", PROBED]
    said = subprocess.check_output(
        command, cwd=ROOT / "src", text=True, env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    )
    assert said == "False True\n"
