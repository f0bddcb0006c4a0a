"""Train the embedded corpus's network with older instructions, and print what that moves.

    python -m benchmarks.instructions

In a clone in which the pipeline has run, `train` runs again for each row, under the variables by which PyTorch and
oneDNN are kept from newer instructions, and the test reviews are scored under the same. Prints, against the first row,
how far logits of test reviews move, how many reviews get another label, and the accuracy; and how far they move if
the weights are the first row's, so that only the scoring is under other instructions.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from tests.clone import Clone

Logits = npt.NDArray[np.float64]

FAST = {"portable": False, "precision": "float32"}
ROWS: dict[str, tuple[dict[str, object], dict[str, str]]] = {  # what is changed under train, and in the environment
    "bfloat16, all there are": ({"portable": False}, {"OMP_NUM_THREADS": "1"}),
    "the same, two threads": ({"portable": False}, {"OMP_NUM_THREADS": "2"}),
    "float32, all there are": (FAST, {"OMP_NUM_THREADS": "1"}),
    "float32, PyTorch's up to AVX2": (FAST, {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"}),
    "float32, PyTorch's up to SSE2": (FAST, {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default"}),
    "float32, oneDNN's up to AVX2": (FAST, {"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "float32, oneDNN's up to SSE4.1": (FAST, {"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
    "`train.portable`": ({"portable": True}, {}),
}
SCORE = """
import sys
from pathlib import Path
import numpy as np
from stages.run import run

def score(params):
    from sentiment.models.checkpoint import check_vocabulary
    from sentiment.dataset.encoded import load_encoded
    from sentiment.scoring.scorer import Scorer
    from stages.paths import ENCODED, VOCABULARY

    scorer = Scorer(sys.argv[1])
    check_vocabulary(Path(sys.argv[1]), VOCABULARY)
    reviews = load_encoded(ENCODED["test"], scorer.network.config.vocabulary_size)
    np.save(sys.argv[2], scorer.logits(reviews)[:, 1])
    np.save("labels.npy", reviews.labels.numpy())

run(score)
"""


def measure(clone: Clone) -> None:
    """Run all rows, and print a table of them."""
    clone.dvc("repro")
    original = (clone.folder / "params.yaml").read_text(encoding="utf-8")
    print(
        "| instructions | seconds | logits move, greatest | median | called otherwise | accuracy | the same weights |"
    )
    print("|---|---|---|---|---|---|---|")
    first: Logits | None = None
    for name, (changes, variables) in ROWS.items():
        params = yaml.safe_load(original)
        params["train"] |= changes
        (clone.folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        started = time.monotonic()
        python(clone, variables, "-m", "stages.train")
        seconds = time.monotonic() - started
        logits = score(clone, variables, "model")
        if first is None:
            (clone.folder / "model").rename(clone.folder / "first")
            first = logits
        labels = np.load(clone.folder / "labels.npy")
        moved, of_same = np.abs(logits - first), np.abs(score(clone, variables, "first") - first)
        print(
            f"| {name} | {seconds:.0f} | {moved.max():.2g} | {np.median(moved):.2g} | "
            f"{((logits > 0) != (first > 0)).sum()} of {len(labels)} | {((logits > 0) == labels).mean():.2%} | "
            f"{of_same.max():.1g} |",
            flush=True,
        )


def score(clone: Clone, variables: dict[str, str], model: str) -> Logits:
    """Return the logits that a model gives the test reviews, (N,)."""
    python(clone, variables, "-c", SCORE, model, "logits.npy")
    logits: Logits = np.load(clone.folder / "logits.npy")
    return logits


def python(clone: Clone, variables: dict[str, str], *arguments: str) -> None:
    """Run Python in the clone with more variables in its environment."""
    command = [sys.executable, *arguments]
    environment = {**clone.environment(), **variables}
    subprocess.run(command, cwd=clone.folder, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measure(Clone(Path(folder)))
