"""Queue the experiments of a comparison, each row with each seed, except experiments that have run or are queued.

    python -m experiments.enqueue ladder --seeds 1 2 3
    dvc exp run --run-all

The second command runs the experiments and shows their output. Ctrl-C only stops showing the output; `dvc queue stop
--kill` stops the experiments.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import dvc.api
from dvc.cli import main as dvc_command

from experiments.rows import FOLDER, read_comparison, stem
from sentiment.errors import InputError
from stages.params import read_params
from stages.run import one_line_errors


def enqueue(comparison: str, seeds: list[int]) -> None:
    """Queue the missing experiments: all rows with the first seed, then all rows with the next."""
    rows = read_comparison(comparison).rows
    # DVC identifies an experiment by commit and name, so the commit must contain everything that runs.
    sources = ["dvc.yaml", "params.yaml", "versions.yaml", "src", "stages", str(FOLDER / f"{comparison}.yaml")]
    # Each experiment runs in its own folder, to which DVC copies only tracked files. Without the user's file, DVC would
    # fail with just "[Errno 2]".
    custom = Path(read_params().download.custom.path)
    if custom.resolve().is_relative_to(Path.cwd()):
        sources.append(str(custom))
    status = subprocess.run(["git", "status", "--porcelain", "--", *sources], stdout=subprocess.PIPE, text=True)
    if status.stdout:
        names = ", ".join(line[3:] for line in status.stdout.splitlines())
        raise InputError(f"experiments start from a commit; commit these files first: {names}")
    existing = {shown["Experiment"] for shown in dvc.api.exp_show() if shown["State"] != "Failed"}
    for seed in seeds:
        for row in rows:
            name = f"{stem(comparison, row)}-{seed}"
            if name in existing:
                print(f"{name} exists")
                continue
            changes = row.changes | {"train.seed": seed}
            settings = [word for key, value in changes.items() for word in ("-S", f"{key}={json.dumps(value)}")]
            if status := dvc_command(["exp", "run", "--queue", "--name", name, *settings]):
                sys.exit(status)  # DVC has printed the reason


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.enqueue", description=enqueue.__doc__)
    parser.add_argument("comparison", help="the name of a file in experiments without .yaml, for example ladder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    with one_line_errors():
        enqueue(arguments.comparison, arguments.seeds)
