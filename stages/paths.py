"""Where the stages find and leave things, relative to the repository's root; `dvc.yaml` lists the same paths."""

from pathlib import Path

DOWNLOADS = Path("downloads")  # finished and broken-off downloads, by sha256; known to neither git nor DVC

CORPUS = Path("data/corpus.parquet")
VECTORS = Path("data/vectors")

PREPARED = Path("data/prepared")
ROWS = PREPARED / "rows.safetensors"  # which rows of the corpus are in which split
ENCODED = {split: PREPARED / f"{split}.safetensors" for split in ("train", "validation", "test", "unsup")}
VOCABULARY = PREPARED / "vocabulary.json"
EMBEDDINGS = PREPARED / "embeddings.safetensors"
PREPARE_METRICS = Path("metrics/prepare.json")

BASELINE = Path("baseline/probabilities.safetensors")

MODEL = Path("model")
CURVES = Path("curves")
TRAIN_METRICS = Path("metrics/train.json")

EVALUATION = Path("evaluation")
TEST_METRICS = Path("metrics/test.json")

REPORT = Path("report.html")
