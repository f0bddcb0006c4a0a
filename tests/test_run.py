"""What `train.portable` does before a stage begins."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGE = """
from stages.run import run

def stage(params):
    import os
    import torch
    print(torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), os.environ.get("MKL_CBWR"))

run(stage)
"""


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="there are no such instructions elsewhere")
def test_libraries_are_kept_to_avx2_and_one_thread_if_that_is_asked_for(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    said = {}
    for portable in ("true", "false"):
        (tmp_path / "params.yaml").write_text(
            text.replace("portable: true ", f"portable: {portable} "), encoding="utf-8"
        )
        said[portable] = subprocess.check_output(
            [sys.executable, "-c", STAGE],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
            text=True,
        )
    assert said["true"] == "1 AVX2 COMPATIBLE\n"
    assert said["false"].startswith("2 ")
    assert said["false"].endswith(" None\n")
