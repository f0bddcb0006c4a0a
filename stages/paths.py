"""Paths of the stages' inputs and outputs, relative to the repository root; `dvc.yaml` lists the same paths."""

import os
from pathlib import Path

# Metrics are in git, so that any clone can compare them. DVC caches a second copy, since DVC pushes no file that is in
# git and restores a stage from the run cache only if all of its outputs are there.
METRICS = {
    stage: [Path(f"metrics/{stage}.json"), Path(f"metrics/pushed/{stage}.json")]
    for stage in ("prepare", "vectors", "pretrain", "baseline", "train", "calibrate", "test")
}

DOWNLOADS = Path("downloads")  # complete and partial downloads, by sha256; ignored by git and DVC
NAMED_DOWNLOADS = DOWNLOADS / "custom"  # links to downloads, by the names of the files

RESUME = Path("resume")  # saved states of interrupted stages, by the digest of their inputs; ignored by git and DVC

BEHAVIOUR = Path("examples/behaviour.csv")

CORPUS = Path("data/corpus.parquet")
VECTORS = Path("data/vectors")

PREPARED = Path("data/prepared")
SPLITS = PREPARED / "splits.safetensors"  # the rows of the corpus in each split
LABELLED = PREPARED / "labelled.safetensors"  # the training reviews whose labels are used
ENCODED = {split: PREPARED / f"{split}.safetensors" for split in ("train", "validation", "test", "unsup")}
VOCABULARY = PREPARED / "vocabulary.json"

EMBEDDINGS = Path("data/embeddings.safetensors")

BASELINE = Path("baseline/linear.safetensors")

PRETRAINED = Path("pretrained/weights.safetensors")
PERPLEXITY = Path("pretrained/perplexity.csv")

NETWORK = Path("network")  # before calibration
CURVES = Path("curves")
# The logits of the validation reviews, by models that were not trained on them.
HELD_OUT = {model: Path(f"held_out/{model}.safetensors") for model in ("baseline", "network")}

MODEL = Path("model")

EVALUATION = Path("evaluation")

REPORT = Path("report.html")

PACKAGE = Path("classifier")
CARD_NAME = "README.md"

# All outputs of all stages; a folder stands for the files in it.
OUTPUTS = [
    *(
        CORPUS,
        VECTORS,
        PREPARED,
        EMBEDDINGS,
        BASELINE,
        PRETRAINED,
        PERPLEXITY,
        NETWORK,
        CURVES,
        *HELD_OUT.values(),
        MODEL,
        EVALUATION,
        REPORT,
        PACKAGE,
    ),
    *(path for paths in METRICS.values() for path in paths),
]


def is_output(path: Path) -> bool:
    """Tell whether a path, absolute or relative, is an output of a stage."""
    place = Path(os.path.relpath(path))
    return any(place.is_relative_to(output) for output in OUTPUTS)


def resume_folder() -> Path:
    """Return the folder for saved states; an experiment in a temporary folder uses a folder of the main project.

    DVC runs the experiments of `--temp` and of the queue in temporary folders `.dvc/tmp/exps/<name>`.
    """
    for parent in Path.cwd().parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2] / RESUME / "experiments"
    return RESUME
