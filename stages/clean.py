"""Remove only the files that the pipeline wrote, since users keep their own files in the same folders.

python stages/clean.py

`make clean` runs this script as a file, with any Python: the script needs no package and no module of this project.
`tests/test_clean.py` compares the list of outputs with dvc.yaml and with the files that a run leaves behind.
"""

import shutil
from pathlib import Path

# The outputs in dvc.yaml; output folders are listed file by file.
OUTPUTS = {
    "data": ["corpus.parquet", "embeddings.safetensors", "vectors"],
    "data/prepared": [
        *("labelled.safetensors", "splits.safetensors", "vocabulary.json"),
        *("train.safetensors", "validation.safetensors", "test.safetensors", "unsup.safetensors"),
    ],
    "pretrained": ["perplexity.csv", "weights.safetensors"],
    "baseline": ["linear.safetensors"],
    "network": ["model.json", "vocabulary.json", "weights.safetensors"],
    "held_out": ["baseline.safetensors", "network.safetensors"],
    "model": ["linear.safetensors", "model.json", "vocabulary.json", "weights.safetensors"],
    "curves": ["metrics.json"],
    "curves/plots/metrics/train": ["loss.tsv"],
    "curves/plots/metrics/validation": ["accuracy.tsv", "loss.tsv"],
    "evaluation": [
        *("accuracy_by_length.csv", "behaviour.csv", "calibration.csv", "gradient.csv"),
        *("labels.csv", "precision_recall.csv", "predictions.csv", "roc.csv"),
    ],
    "classifier": ["README.md", "linear.safetensors", "model.json", "vocabulary.json", "weights.safetensors"],
    "metrics/pushed": [
        *("prepare.json", "vectors.json", "pretrain.json", "baseline.json"),
        *("train.json", "calibrate.json", "test.json"),
    ],
}
# Downloads are named by their own sha256, and saved states by the sha256 of their inputs. In downloads/custom there are
# only links to downloads.
SHA256 = "[0-9a-f]" * 64
OTHERS = [
    *("report.html", "dvc_plots/index.html", f"downloads/{SHA256}", f"downloads/{SHA256}.part"),
    "downloads/custom/*",
    *(f"resume/{folder}{SHA256}-*.state" for folder in ("*/", "experiments/*/")),
]
FOLDERS = [
    *("data", "baseline", "pretrained", "network", "held_out", "model", "curves", "evaluation"),
    *("classifier", "metrics/pushed"),
    *("downloads", "resume", "dvc_plots"),
]


def clean(root: Path) -> "list[Path]":
    """Remove the outputs, downloads, saved states and plots below a folder, and return the files that were kept."""
    known = [f"{folder}/{name}" for folder, names in OUTPUTS.items() for name in names]
    # A killed run leaves a partial output, which may be a folder.
    for pattern in [*known, *OTHERS, *(f"{name}.partial" for name in [*known, *OTHERS, *FOLDERS])]:
        for path in root.glob(pattern):
            if path.is_file() or path.is_symlink():
                path.unlink()
            elif path.suffix == ".partial":
                shutil.rmtree(path)
    kept = []
    for folder in FOLDERS:
        for path in sorted([root / folder, *(root / folder).rglob("*")], reverse=True):
            if path.is_symlink() or not path.is_dir():
                kept += [path] if path.exists() else []
            elif not any(path.iterdir()):
                path.rmdir()
    return kept


if __name__ == "__main__":
    if files := clean(Path()):
        shown, more = [ascii(str(path))[1:-1] for path in files[:5]], len(files) - 5
        print(f"kept; the pipeline did not write {', '.join(shown)}{f' and {more} more' if more > 0 else ''}")
