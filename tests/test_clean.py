"""`make clean` removes what the pipeline wrote, and no file of anybody else's."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.clean import OUTPUTS, clean
from stages.paths import DOWNLOADS, METRICS, NAMED_DOWNLOADS, REPORT, RESUME
from tests.clone import ROOT, SMALL, STAGES, Clone

KNOWN = {f"{folder}/{name}" for folder, names in OUTPUTS.items() for name in names} | {str(REPORT)}
DIGEST = "0123456789abcdef" * 4
SAVED = [f"{RESUME}/train/{DIGEST}-chosen.state", f"{RESUME}/experiments/train/{DIGEST}-chosen.state"]
HALF = ["data/vectors.partial", "model.partial/weights.safetensors", f"{SAVED[0]}.partial"]
OURS = [*SAVED, *HALF, "dvc_plots/index.html"]
OURS += [f"{DOWNLOADS}/{DIGEST}", f"{DOWNLOADS}/{DIGEST}.part", f"{NAMED_DOWNLOADS}/reviews.csv"]
THEIRS = [
    *("data/reviews.csv", "data/mine/train.csv", "data/prepared/notes.txt", "model/README.md", "curves/mine.png"),
    *("pretrained/old.safetensors", "evaluation/notes.txt", "metrics/test.json", "metrics/pushed/mine.json"),
    *("downloads/aclImdb_v1.tar.gz", "resume/mine.txt", "baseline/a b\n.txt", "dvc_plots/mine/index.html", "mine.csv"),
]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_outputs_are_those_in_dvc_yaml() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    outputs = {output for stage in stages for output in stage["outs"]}
    folders = {output for output in outputs if any(name.startswith(f"{output}/") for name in KNOWN)}
    assert {name for name in KNOWN if not any(name.startswith(f"{folder}/") for folder in folders)} == outputs - folders
    assert folders == {"network", "model", "curves", "evaluation", "classifier"}


def test_the_table_by_label_which_only_more_than_two_labels_have_is_removed(tmp_path: Path) -> None:
    write(tmp_path, "evaluation/labels.csv")
    assert clean(tmp_path) == []
    assert files(tmp_path) == set()


@pytest.mark.slow
def test_all_files_of_a_run_are_removed(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    shutil.copy(ROOT / "Makefile", tmp_path)
    clone.run("git", "add", ".")
    clone.run("git", "commit", "-q", "-m", "With make")
    before = files(tmp_path)
    clone.set_parameters(*SMALL)
    clone.run_stages(*STAGES)
    clone.dvc("commit", "--force")
    clone.dvc("plots", "show")
    clone.run("make", "--no-print-directory", "clean", f"PYTHON={sys.executable}")
    left = {name for name in files(tmp_path) - before if not name.startswith((".git/", ".dvc/")) and ".pyc" not in name}
    assert left == {"dvc.lock"} | {str(in_git) for in_git, _ in METRICS.values()}
    assert not [folder for folder in ("data", "model", "curves", "dvc_plots") if (tmp_path / folder).exists()]


def test_other_files_are_kept_and_listed(tmp_path: Path) -> None:
    write(tmp_path, *KNOWN, *OURS, *THEIRS)
    stay = clean(tmp_path)
    assert files(tmp_path) == set(THEIRS)
    assert {str(path.relative_to(tmp_path)) for path in stay} == set(THEIRS) - {"mine.csv", "metrics/test.json"}
    command = [sys.executable, str(ROOT / "stages" / "clean.py")]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said.startswith("kept; the pipeline did not write ")
    assert said.endswith(" and 7 more\n")
    assert said.count("\n") == 1


def test_a_folder_of_outputs_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "large", "data/corpus.parquet", "data/mine.csv", f"downloads/{DIGEST}")
    for name in ("data", "downloads"):
        (tmp_path / "project").mkdir(exist_ok=True)
        (tmp_path / "project" / name).symlink_to(tmp_path / "large" / name)
    clean(tmp_path / "project")
    assert files(tmp_path / "large") == {"data/mine.csv"}
    assert (tmp_path / "project" / "data").is_symlink()


@pytest.mark.parametrize("name", ["data/vectors", "model/model.json", "report.html"])
def test_a_folder_with_the_name_of_an_output_is_kept(tmp_path: Path, name: str) -> None:
    write(tmp_path, f"{name}/mine.txt")
    clean(tmp_path)
    assert (tmp_path / name / "mine.txt").exists()


def test_a_second_clean_prints_nothing(tmp_path: Path) -> None:
    assert clean(tmp_path) == []
