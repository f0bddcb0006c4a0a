"""The pipeline as a user runs it: `dvc` in a fresh copy of the repository, on tiny corpora of each kind."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from playwright.sync_api import Browser

from sentiment.corpora.reviews import read_corpus
from tests.clone import FASTER, ROOT, SMALL, STAGES, Clone
from tests.conftest import imdb_members, write_archive, write_glove, write_own_csv

pytestmark = pytest.mark.slow


@pytest.fixture
def sample(small_run: Clone, tmp_path: Path) -> Clone:
    """A clone in which the pipeline has run once on a few generated reviews."""
    return small_run.copy_to(tmp_path / "sample")


PLOTS = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]


BASELINE = "baseline/linear.safetensors"
MAX_VOCAB = "prepare.max_vocab=50"


def remote(key: str, path: Path) -> list[str]:
    return [f"{key}.url={path.as_uri()}", f"{key}.sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"]


def test_a_second_run_runs_nothing(sample: Clone) -> None:
    assert "Data and pipelines are up to date." in sample.dvc("repro")


def test_outputs_are_the_same_bytes_in_other_surroundings(
    sample: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in a place").mkdir()
    twin = Clone(tmp_path / "in a place")
    surroundings = {"LC_ALL": "POSIX", "TZ": "Pacific/Chatham", "PYTHONHASHSEED": "4711"}
    # which train.portable overrides
    surroundings |= {"OMP_NUM_THREADS": "2", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "AUTO"}
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    twin.experiment(*SMALL)
    assert twin.digests() == sample.digests()


WITHOUT_MEMORY = """
import importlib, sys
import stages.run
import torch
from sentiment.models.classifier import Classifier

def refuse(*_, **options):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

Classifier.forward = refuse
stages.run.run(getattr(importlib.import_module(f"stages.{sys.argv[1]}"), sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("train", r"epoch 1, batch 1 of \d+, .*: the GPU's memory is full; lower train\.tokens_at_once, now 32,768"),
        (
            "evaluate",
            "scoring the texts: the GPU's memory is full; free some, or put CUDA_VISIBLE_DEVICES=",
        ),
    ],
)
def test_a_gpu_without_memory_is_named_in_one_line_and_costs_nothing(sample: Clone, stage: str, line: str) -> None:
    before = sample.digests()
    said = sample.run(sys.executable, "-c", WITHOUT_MEMORY, stage, status=1)
    assert re.match(f"error: {line}", said.splitlines()[-1])
    assert "Traceback" not in said
    assert sample.digests() == before


BUSY = re.compile("is busy|Unable to acquire lock")


REPRO = ["repro", "--force", "prepare"]  # three stages


def start_repro(sample: Clone) -> "subprocess.Popen[str]":
    """Start running stages, and return when the first of them is at work and DVC has locked its files."""
    command = [sys.executable, "-m", "dvc", *REPRO]
    environment = {**sample.environment(), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=sample.folder, env=environment, stdout=PIPE, stderr=STDOUT, text=True)
    assert process.stdout is not None
    while "Running stage" not in process.stdout.readline():
        assert process.poll() is None
    return process


def test_a_run_that_meets_a_lock_ends_with_the_lock_message_and_damages_nothing(sample: Clone) -> None:
    before = sample.digests()
    with start_repro(sample) as first:
        first.send_signal(signal.SIGSTOP)  # so that it holds its lock until the other one has ended
        try:
            assert BUSY.search(sample.dvc(*REPRO, status=None))
        finally:
            first.send_signal(signal.SIGCONT)
        first.communicate()
    assert first.returncode == 0
    assert sample.digests() == before
    assert "Data and pipelines are up to date." in sample.dvc("repro")


def test_of_two_runs_at_once_at_most_one_ends_with_the_lock_message(sample: Clone) -> None:
    before = sample.digests()
    second = ["bash", "-c", f"{sys.executable} -m dvc {' '.join(REPRO)}; echo status $?"]
    with start_repro(sample) as first:
        said = sample.run(*second)  # either may meet the other's lock, or neither, as DVC locks file by file
        rest = first.communicate()[0]
    failed = [output for output, ended in ((rest, first.returncode == 0), (said, "status 0" in said)) if not ended]
    assert len(failed) < 2
    assert all(BUSY.search(output) for output in failed)
    assert sample.digests() == before
    assert "Data and pipelines are up to date." in sample.dvc("repro")


def test_every_output_is_one_that_a_stage_declares(sample: Clone) -> None:
    assert not sample.run("git", "status", "--porcelain", "--ignored", "data", "model").count("??")
    assert not list(sample.folder.rglob("*.partial"))


def test_the_commands_that_people_use_work(sample: Clone, tmp_path: Path) -> None:
    assert "evaluate" in sample.dvc("dag")
    for name in ("accuracy", "validation_loss", "tokens_in_vocabulary", "baseline_accuracy"):
        assert name in sample.dvc("metrics", "show")
    assert "train.epochs" in sample.dvc("params", "diff", "HEAD~1")
    page = tmp_path / "plots"
    sample.dvc("plots", "show", "--out", str(page))
    text = (page / "index.html").read_text()
    for title in (plot["title"] for entry in PLOTS for name, plot in entry.items() if name != "perplexity"):
        assert text.count(f'"text": "{title}"') + text.count(f'"title": "{title}"') == 1, title
    assert not re.search(r"NaN|Infinity|null", text[text.index("<main>") :])
    assert '<meta name="viewport"' in text


COLOURS = """
() => [...document.querySelectorAll("main canvas")].map(canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
})
"""
LINKS = "() => [...document.querySelectorAll('[src], [href]')].map(element => element.src || element.href)"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("command", ["show", "diff"])
def test_the_plots_are_drawn_without_a_network(
    sample: Clone, browser: Browser, tmp_path: Path, command: str, width: int
) -> None:
    sample.dvc("plots", command, "--out", str(tmp_path))
    page = browser.new_page(viewport={"width": width, "height": 800}, offline=True)
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.extend([message.text] * (message.type == "error")))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    # All but the perplexity, since there is no pretraining.
    page.wait_for_function("count => document.querySelectorAll('main canvas').length === count", arg=len(PLOTS) - 1)
    assert all(colours > 5 for colours in page.evaluate(COLOURS)), "no plot is blank"
    assert page.locator("main > div").count() == len(PLOTS) - 1, "no place is empty"
    assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out to the side"
    assert requests == [page.url]
    assert [link for link in page.evaluate(LINKS) if not link.startswith(("data:", f"{page.url}#"))] == []
    assert errors == []
    page.close()


def test_a_parameter_of_training_runs_training_and_evaluation_alone(sample: Clone) -> None:
    said = sample.dvc("exp", "run", "-S", FASTER)  # which ran before: DVC restores what would run
    assert re.findall(r"Stage '(\w+)' is cached - skipping run", said) == [
        "train",
        "calibrate",
        "evaluate",
        "report",
        "package",
    ]
    assert "Running stage" not in said


def test_language_models_and_a_refit_run_what_they_touch(sample: Clone) -> None:
    before = sample.digests()[BASELINE]
    sample.set_parameters("pretrain.enabled=true", "train.refit=true", "train.virtual=0.5")
    assert sample.stale_stages() == {"baseline", "pretrain", "train", "report", "package"}
    sample.run(sys.executable, "-m", "stages.baseline")
    assert sample.digests()[BASELINE] != before  # it learns from the same labels


def test_a_parameter_of_preparing_runs_all_but_the_downloads(sample: Clone) -> None:
    said = sample.dvc("exp", "run", "-S", MAX_VOCAB, "baseline")
    assert re.findall(r"Running stage '(\w+)'", said) == ["prepare", "baseline"]
    assert sample.metrics("prepare")["vocabulary"] == 52
    assert sample.stale_stages() == {"vectors", "pretrain", "train", "calibrate", "evaluate", "report", "package"}


def test_a_parameter_of_the_baseline_trains_no_network(sample: Clone) -> None:
    sample.set_parameters("baseline.max_words=1")
    assert sample.stale_stages() == {"baseline", "report"}
    sample.set_parameters("calibrate.add_baseline=false")
    assert sample.stale_stages() == {"baseline", "calibrate", "report"}


def test_other_vectors_fetch_no_corpus_and_tokenize_nothing(sample: Clone) -> None:
    parameters = sample.folder / "params.yaml"
    parameters.write_text(parameters.read_text().replace("617afb2f", "00000000"))
    assert sample.stale_stages() == {"download_vectors", "report"}  # the report shows every parameter
    sample.set_parameters("vectors.trained.dimension=20")
    assert sample.stale_stages() == {"download_vectors", "vectors", "report"}


def test_a_changed_comment_marks_the_stages_that_reach_the_package(
    sample: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", sample.environment()["DVC_SITE_CACHE_DIR"])
    monkeypatch.chdir(sample.folder)
    for module, stages in {
        "src/sentiment/storage/outputs.py": set(STAGES),
        "src/sentiment/download/http.py": {"download_corpus", "download_vectors"},
        "src/sentiment/corpora/imdb.py": set(STAGES) - {"download_vectors", "pretrain", "train", "calibrate"},
        "src/sentiment/text/tokenizer.py": {"download_vectors", "prepare", "vectors", "baseline", "evaluate", "report"},
        "src/sentiment/dataset/batching.py": set(STAGES) - {"download_corpus", "download_vectors"},
        "src/sentiment/embeddings/matrix.py": {"vectors"},
        "src/sentiment/linear/model.py": {"baseline", "calibrate", "evaluate", "report", "package"},
        "src/sentiment/models/layers.py": {"pretrain", "train", "calibrate", "evaluate", "report", "package"},
        "src/sentiment/runtime/device.py": {"pretrain", "train", "evaluate", "report"},
        "src/sentiment/pretraining/trainer.py": {"pretrain"},
        "src/sentiment/training/trainer.py": {"train", "calibrate"},
        "src/sentiment/scoring/scorer.py": {"evaluate", "report"},
        "src/sentiment/evaluation/metrics.py": {"evaluate"},
        "src/sentiment/report/page.html": {"report", "package"},
        "stages/params.py": set(),  # the parameters are compared themselves
    }.items():
        path = sample.folder / module
        before = path.read_text()
        path.write_text(before + "# a comment\n")
        with Repo() as repo:  # what `dvc status` shows
            assert set(repo.status()) == stages, module
        path.write_text(before)


def test_an_upgrade_marks_the_stages_that_use_the_package(sample: Clone) -> None:
    sample.experiment(*SMALL)
    path = sample.folder / "versions.yaml"
    before = path.read_text()
    for package, stages in {
        "torchtext": {"prepare", "vectors", "baseline", "evaluate", "report"},
        "scikit-learn": {"vectors", "baseline", "evaluate"},
        "dvclive": {"train"},
        "tqdm": set(),
    }.items():
        try:
            path.write_text(re.sub(f'^{package}: "', f'{package}: "9', before, flags=re.MULTILINE))
            assert path.read_text() != before
            assert set(re.findall(r"^(\w+):$", sample.dvc("status"), re.MULTILINE)) == stages, package
        finally:
            path.write_text(before)


def test_every_key_can_be_set_from_the_command_line(sample: Clone) -> None:
    def settings(section: dict[str, Any], place: str = "") -> Iterator[str]:
        for key, value in section.items():
            if isinstance(value, dict):
                yield from settings(value, f"{place}{key}.")
            else:
                yield f"{place}{key}={json.dumps(value)}"  # in quotes, as an address with a ~ in it must be

    every_key = list(settings(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))))
    assert len(every_key) > 40
    sample.dvc("exp", "run", "--queue", *(argument for setting in every_key for argument in ("-S", setting)))


def test_a_stage_run_by_hand_too_early_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "stages.train"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: data/embeddings.safetensors: does not exist; run the earlier")


def test_texts_are_scored_as_the_pipeline_scored_them(sample: Clone) -> None:
    corpus = read_corpus(sample.folder / "data" / "corpus.parquet", ["id", "text"])
    texts = dict(zip(corpus["id"], corpus["text"], strict=True))
    rows = (sample.folder / "evaluation" / "predictions.csv").read_text().splitlines()[1:6]
    ids, expected = zip(*((row.split(",")[0], float(row.split(",")[3])) for row in rows), strict=True)
    output = sample.run(sys.executable, "-m", "stages.predict", *(f"--text={texts[name]}" for name in ids))
    found = [float(line.split()[0]) for line in output.splitlines()]
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_process_that_dies_leaves_nothing_half_written(sample: Clone) -> None:
    model = (sample.folder / "model" / "weights.safetensors").read_bytes()
    sample.set_parameters("train.processes=2", "train.epochs=10000")
    command = [sys.executable, "-m", "stages.train"]
    with subprocess.Popen(command, cwd=sample.folder, stdout=PIPE, stderr=PIPE, text=True) as training:
        assert training.stdout is not None
        while not training.stdout.readline().startswith("epoch 2"):
            assert training.poll() is None
        _, second = sorted(map(int, sample.run("ps", "-o", "pid=", "--ppid", str(training.pid)).split()))
        os.kill(second, signal.SIGKILL)
        errors = training.communicate()[1]
    assert training.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("error: stages.train: rank 1 of 2 processes was killed by SIGKILL")
    assert not list(sample.folder.rglob("*.partial"))
    assert (sample.folder / "model" / "weights.safetensors").read_bytes() == model


def test_imdbs_layout_from_a_file_address(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "imdb.tar.gz", imdb_members(120).items())
    vectors = write_glove(tmp_path / "glove.txt")
    (tmp_path / "clone").mkdir()
    clone = Clone(tmp_path / "clone")
    addresses = remote("download.imdb", archive) + remote("download.vectors", vectors)
    clone.set_parameters(*SMALL, "download.corpus=imdb", "vectors.source=fetched", *addresses)
    clone.run_stages(*STAGES)
    assert clone.metrics("prepare")["unsup_reviews"] == 12
    assert clone.metrics("test")["reviews"] == 30
    predictions = (clone.folder / "evaluation" / "predictions.csv").read_text().splitlines()
    assert predictions[0] == "id,actual,predicted,probability"
    assert predictions[1].startswith("test/")


def test_ones_own_reviews_by_path(tmp_path: Path) -> None:
    vectors = write_glove(tmp_path / "glove.txt", 50)
    (tmp_path / "clone").mkdir()
    clone = Clone(tmp_path / "clone")
    own = write_own_csv(clone.folder / "mine.csv", 150)
    clone.set_parameters(
        *SMALL,
        *remote("download.vectors", vectors),
        "vectors.source=fetched",
        "vectors.fetched.dimension=50",
        "download.corpus=custom",
        "download.custom.path=mine.csv",
        "download.custom.text_column=comment",
        "download.custom.label_column=verdict",
        "download.custom.group_column=film",
        "download.custom.labels=[bad,good]",
    )
    assert "Running stage 'download_corpus'" in clone.dvc("repro", "download_corpus")
    clone.run_stages(*STAGES[1:])
    figures = clone.metrics("prepare")
    assert figures["train_reviews"] + figures["validation_reviews"] + figures["test_reviews"] == 135
    assert figures["test_texts_in_train"] == 0

    with own.open("a") as file:
        file.write("One more review,good,Another film\n")
    assert "changed deps" in clone.dvc("status", "download_corpus")

    with own.open("a") as file:
        file.write("A label that is not one,fine,Another film\n")
    output = clone.dvc("repro", "download_corpus", status=255)
    assert "error: mine.csv:138: verdict must be one of bad, good; got 'fine'" in output
    assert "Traceback" not in output


def test_the_example_of_ones_own_reviews_is_read() -> None:
    from sentiment.corpora.custom import Columns, Labels, Source, read_custom

    path = str(ROOT / "examples" / "reviews.csv")
    source = Source(path, Columns("text", "label", None, None), Labels([["neg"], ["pos"]]))
    reviews = list(read_custom(source, 0.2, 7))
    assert {review.label for review in reviews if review.split == "test"} == {0, 1}
