import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sentiment.device import choose_device, multiplies_bfloat16

ROOT = Path(__file__).resolve().parent.parent
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
    ("kept_to", "able", "expected"),
    [
        ("AVX512", {}, False),
        ("AVX512", {"avx512_bf16": True}, True),
        ("AVX2", {"avx512_bf16": True}, False),
        ("DEFAULT", {"bf16": True}, True),
    ],
)
def test_bfloat16_is_a_matter_of_instructions(
    monkeypatch: pytest.MonkeyPatch, kept_to: str, able: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kept_to)
    assert multiplies_bfloat16(torch.device("cpu")) is expected
