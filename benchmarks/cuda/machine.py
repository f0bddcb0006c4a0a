"""The hardware and the versions that the results depend on."""

import platform
import shutil
import subprocess
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def describe_machine(device: str) -> dict[str, object]:
    """Return the name of the device, "cuda" or "cpu", and versions, without starting CUDA in this process."""
    query = "name,driver_version,memory.total"
    gpu = ask("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader")
    name, driver, memory = [field.strip() for field in gpu.split(",")][:3] if gpu else ["unknown GPU", None, None]
    return {
        "device": name if device == "cuda" else cpu_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device == "cuda" else None,
        "driver": driver,
        "memory": memory,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "commit": ask("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"),
    }


def ask(program: str, *arguments: str) -> str | None:
    """Return the first line that a program prints, or None where there is no such program or it fails."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        ended = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=20)  # noqa: S603
    except subprocess.TimeoutExpired:
        return None
    return ended.stdout.partition("\n")[0].strip() or None if ended.returncode == 0 else None


def cpu_name() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
