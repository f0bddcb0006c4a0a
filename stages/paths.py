"""Where the stages find and leave things, relative to the repository's root; `dvc.yaml` lists the same paths."""

import os
from pathlib import Path

# Metrics are in git, so that any clone can compare them, and once more among what DVC caches: it pushes nothing that is
# in git, and restores a stage from the run cache whole or not at all.
METRICS = {
    stage: [Path(f"metrics/{stage}.json"), Path(f"metrics/pushed/{stage}.json")]
    for stage in ("prepare", "pretrain", "train", "test")
}

DOWNLOADS = Path("downloads")  # finished and broken-off downloads, by sha256; known to neither git nor DVC

RESUME = Path("resume")  # states of stages that were broken off, by their inputs; known to neither git nor DVC

BEHAVIOUR = Path("examples/behaviour.csv")

CORPUS = Path("data/corpus.parquet")
VECTORS = Path("data/vectors")

PREPARED = Path("data/prepared")
ROWS = PREPARED / "rows.safetensors"  # which rows of the corpus are in which split
LABELLED = PREPARED / "labelled.safetensors"  # which of the training reviews may be learnt from with their labels
ENCODED = {split: PREPARED / f"{split}.safetensors" for split in ("train", "validation", "test", "unsup")}
VOCABULARY = PREPARED / "vocabulary.json"
EMBEDDINGS = PREPARED / "embeddings.safetensors"

BASELINE = Path("baseline/probabilities.safetensors")

PRETRAINED = Path("pretrained/start.safetensors")
PERPLEXITY = Path("pretrained/perplexity.csv")

MODEL = Path("model")
CURVES = Path("curves")

EVALUATION = Path("evaluation")

REPORT = Path("report.html")

# All that stages write; a folder stands for the files in it.
OUTPUTS = [
    *(CORPUS, VECTORS, PREPARED, BASELINE, PRETRAINED, PERPLEXITY, MODEL, CURVES, EVALUATION, REPORT),
    *(path for paths in METRICS.values() for path in paths),
]


def is_output(path: Path) -> bool:
    """Return whether a stage writes the file at a path, which may be absolute."""
    place = Path(os.path.relpath(path))
    return any(place.is_relative_to(output) for output in OUTPUTS)


def resume_folder() -> Path:
    """Return where states are; of an experiment that runs in a folder of its own, which comes and goes, the project's.

    DVC runs those of `--temp` and of the queue in `.dvc/tmp/exps/<some name>`.
    """
    for parent in Path.cwd().parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2] / RESUME / "experiments"
    return RESUME
