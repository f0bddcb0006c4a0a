"""Check that the pipeline, just run on the generated reviews, gave what the committed `dvc.lock` says.

On x86-64 all must be the same bytes, since `train.portable` is set. Elsewhere corpus and tensors must be, and
what comes of floating-point sums (weights, probabilities, figures) may differ; then the figures must be close.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

EVERYWHERE = ("download_corpus", "download_vectors", "prepare")
TOLERANCE = 0.02  # of an accuracy on 625 reviews


def committed(path: str) -> str:
    """Return a file as the last commit has it."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], check=True, capture_output=True, text=True).stdout


def outputs(lock: str) -> dict[str, list[Any]]:
    """Return what each stage put out, by path and digest."""
    return {name: stage["outs"] for name, stage in yaml.safe_load(lock)["stages"].items()}


def main() -> None:
    """Compare, and end with an error where something differs that should not."""
    now, then = outputs(Path("dvc.lock").read_text(encoding="utf-8")), outputs(committed("dvc.lock"))
    assert now.keys() == then.keys(), f"dvc.lock must name the stages {sorted(then)}; got {sorted(now)}"
    differing = [name for name in now if now[name] != then[name]]
    if wrong := [name for name in differing if name in EVERYWHERE or platform.machine() == "x86_64"]:
        sys.exit(f"dvc.lock: the outputs of {', '.join(wrong)} are not the committed ones")
    if differing:
        print(f"dvc.lock: the outputs of {', '.join(differing)} differ, as they may on another kind of processor")
    figures, expected = json.loads(Path("metrics/test.json").read_text()), json.loads(committed("metrics/test.json"))
    for name in ("accuracy", "baseline_accuracy"):
        if abs(figures[name] - expected[name]) > TOLERANCE:
            sys.exit(f"metrics/test.json: {name} is {figures[name]}, committed as {expected[name]}")
    print(f"dvc.lock holds: {len(now) - len(differing)} of {len(now)} stages gave the committed bytes")


if __name__ == "__main__":
    main()
