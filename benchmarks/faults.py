"""Kill the pipeline at random moments, run it again, and compare its outputs with those of an undisturbed run.

    python -m benchmarks.faults --rounds 60

One stage after the other gets its turn. Each round starts without outputs, without a lock, and without a record in the
cache that this stage ever ran. The stage is killed, and DVC with it, by SIGKILL, SIGTERM or SIGINT, at a moment drawn
from the time that it takes undisturbed. Then `dvc repro` must end well, with the same bytes in every output. Prints a
line a round and a table; the exit status is 1 if anything differs.

DVC itself does not outlive a kill while it writes one of three small files of its own. What is left of them is removed
first, as `make run` does, and counted.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from subprocess import PIPE, STDOUT

from stages.repair import repair
from tests.clone import OUTPUTS, RESUMED, STAGES, Clone, allow_interrupts

KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Long enough at their work that most kills come after something was saved, not while PyTorch is imported.
LONGER = ["download.sample.reviews=600", "train.epochs=8", "train.patience=null", "pretrain.epochs=4"]


def campaign(clone: Clone, rounds: int, seed: int) -> int:
    """Run so many rounds, print the outcome of each, and return how many ended in other bytes."""
    draw = random.Random(seed)  # noqa: S311, of moments, not of secrets
    clone.set_parameters(*RESUMED, *LONGER)
    seconds = time_stages(clone)
    expected = clone.digests()
    tally: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
    for number in range(rounds):
        stage, kind = STAGES[number % len(STAGES)], draw.choice(KINDS)
        moment = draw.uniform(0.0, seconds[stage])
        clear(clone, stage)
        hit = kill(clone, stage, moment, kind)
        repaired = bool(repair(clone.folder))
        resumed = "resuming from" in clone.dvc("repro")
        found = clone.digests()
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        left = [str(path) for path in (*clone.folder.rglob("*.partial"), *clone.folder.rglob("resume/*/*"))]
        outcome = {"hit": hit, "resumed": resumed, "repaired": repaired, "differ": bool(differing or left)}
        tally[stage].update(rounds=1, **{name: int(happened) for name, happened in outcome.items()})
        print(
            f"{number + 1:3} {stage:16} {kind.name:8} after {moment:4.1f} s  {'hit' if hit else 'too late'}"
            f"{', resumed' if resumed else ''}{', a file of DVC repaired' if repaired else ''}  "
            f"{' '.join(differing + left) or 'same bytes'}",
            flush=True,
        )
    print("\n| stage | rounds | killed at work | resumed from a saved state | DVC's files repaired | differences |")
    print("|---|---|---|---|---|---|")
    for stage, counts in tally.items():
        columns = [counts[name] for name in ("rounds", "hit", "resumed", "repaired", "differ")]
        print(f"| `{stage}` | {' | '.join(map(str, columns))} |")
    return sum(counts["differ"] for counts in tally.values())


def clear(clone: Clone, stage: str) -> None:
    """Remove all outputs, and let DVC restore those of every other stage."""
    for name in (*OUTPUTS, ".dvc/tmp"):
        shutil.rmtree(clone.folder / name, ignore_errors=True)
    for name in ("report.html", "dvc.lock"):
        (clone.folder / name).unlink(missing_ok=True)
    clone.forget(stage)


def start(clone: Clone) -> subprocess.Popen[str]:
    """Start `dvc repro` in a group of processes of its own."""
    command = [sys.executable, "-m", "dvc", "repro"]
    environment = {**clone.environment(), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(  # noqa: S603, our own command
        command,
        cwd=clone.folder,
        env=environment,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=allow_interrupts,
    )


def time_stages(clone: Clone) -> dict[str, float]:
    """Run all stages undisturbed and return how many seconds each took."""
    began: dict[str, float] = {}
    with start(clone) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.match(r"Running stage '(\w+)'", line):
                began[match[1]] = time.monotonic()
    if process.returncode or set(began) != set(STAGES):
        sys.exit("the pipeline does not run even undisturbed")
    stages, times = list(began), [*began.values(), time.monotonic()]
    return {stage: end - begin for stage, begin, end in zip(stages, times[:-1], times[1:], strict=True)}


def kill(clone: Clone, stage: str, moment: float, kind: signal.Signals) -> bool:
    """Start the pipeline and kill it so many seconds after a stage has begun; return whether it was still at work."""
    with start(clone) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"Running stage '{stage}'"):
                break
        time.sleep(moment)
        at_work = process.poll() is None
        if at_work:
            os.killpg(process.pid, kind)
        process.stdout.read()
    return at_work


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        differences = campaign(Clone(Path(folder)), arguments.rounds, arguments.seed)
    sys.exit(1 if differences else 0)
