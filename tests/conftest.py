"""What several tests build on: small corpora of each kind, small models, and a browser."""

import csv
import fcntl
import io
import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

from sentiment.corpora.reviews import SENTIMENT, Review
from sentiment.corpora.synthetic import generate_reviews
from sentiment.dataset.encoded import EncodedReviews
from sentiment.dataset.vocabulary import fit_vocabulary, save_vocabulary
from sentiment.linear.model import LINEAR, LinearModel, occurrences
from sentiment.models.checkpoint import save_checkpoint
from sentiment.models.classifier import Classifier, ModelConfig, initial_model
from sentiment.storage.archives import Limits
from sentiment.text.tokenizer import TokenRules
from tests.clone import FASTER, SMALL, STAGES, Clone

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # no verdict depends on how busy this machine is
torch.set_num_threads(1)  # models are small here, and threads that wait by spinning hold up whatever runs beside

LIMITS = Limits(members=1000, member_bytes=1 << 20, unpacked_bytes=1 << 24)  # beyond whatever honest tests need
LABEL_FOLDERS = {1: "pos", 0: "neg", None: "unsup"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let whole pipelines start first, so that short tests fill the time until the last of them ends."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


def combinations(first: Sequence[object], second: Sequence[object]) -> list[pytest.ParameterSet]:
    """Pair all values of two parameters, and mark the pairs that repeat a value of `first` as a campaign.

    The other pairs hold each value of `second` too, if it is not the longer one.
    """
    return [
        pytest.param(one, other, marks=() if number % len(second) == place else pytest.mark.campaign)
        for number, one in enumerate(first)
        for place, other in enumerate(second)
    ]


def imdb_members(count: int = 60) -> dict[str, bytes]:
    """Return the members of an archive in the published layout of IMDb, with generated reviews."""
    members: dict[str, bytes] = {"README": b"not a review", "imdb.vocab": b"the\n"}
    numbers: dict[str, int] = {}
    for review in generate_reviews(count, seed=3):
        folder = f"{'test' if review.split == 'test' else 'train'}/{LABEL_FOLDERS[review.label]}"
        number = numbers[folder] = numbers.get(folder, -1) + 1
        rating = {1: 8, 0: 3, None: 0}[review.label]
        members[f"{folder}/{number}_{rating}.txt"] = review.text.encode()
    for folder, last in numbers.items():
        part, kind = folder.split("/")
        urls = (
            f"http://www.imdb.com/title/tt{len(folder)}{number // 3:04d}/usercomments\n" for number in range(last + 1)
        )
        members[f"{part}/urls_{kind}.txt"] = "".join(urls).encode()
    return members


def write_archive(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w:gz") -> Path:
    """Write a tar file of members below `aclImdb/`."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_own_csv(path: Path, count: int = 60) -> Path:
    """Write a CSV of reviews under column names and labels of its own, without a split."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["comment", "verdict", "film"])
        for review in generate_reviews(count, seed=4):
            if review.label is not None:
                writer.writerow([review.text, ["bad", "good"][review.label], review.group])
    return path


def write_glove(path: Path, dimension: int = 100) -> Path:
    """Write random vectors of most words of the generated reviews, in GloVe's text format."""
    random = np.random.default_rng(6)
    texts = " ".join(review.text for review in generate_reviews(500, seed=4)).lower()
    words = sorted(set(re.findall(r"[a-z]+|[.,]", texts)))
    rows = (
        f"{word} {' '.join(f'{number:.4f}' for number in random.standard_normal(dimension))}" for word in words[::-1]
    )
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def random_reviews(lengths: list[int], vocabulary_size: int = 20, seed: int = 0, classes: int = 2) -> EncodedReviews:
    """Return reviews of the given lengths with random tokens and labels that take turns."""
    random = np.random.default_rng(seed)
    return EncodedReviews(
        tokens=torch.from_numpy(random.integers(2, vocabulary_size, sum(lengths), dtype=np.int32)),
        offsets=torch.from_numpy(np.cumsum([0, *lengths])),
        labels=torch.arange(len(lengths), dtype=torch.int8) % classes,
    )


def small_linear(outputs: int = 1, vocabulary_size: int = 20) -> LinearModel:
    """Return a linear model of some n-grams of up to three words, with random weights."""
    seen = occurrences(random_reviews([30, 30], vocabulary_size, seed=1), 3, vocabulary_size)
    known = torch.cat([each.ngrams for each in seen]).unique()
    generator = torch.Generator().manual_seed(0)
    weights, bias = (torch.randn(*shape, generator=generator) for shape in ((len(known), outputs), (outputs,)))
    return LinearModel(3, vocabulary_size, known, weights, bias)


def small_config(**changes: object) -> ModelConfig:
    """Return the configuration of a model that trains in no time."""
    settings: dict[str, object] = {
        "vocabulary_size": 20,
        "embedding_size": 6,
        "cell": "lstm",
        "hidden_size": 5,
        "layers": 1,
        "bidirectional": True,
        "mix_directions": True,
        "pooling": ("attention", "max"),
        "dropout_embedding": 0.0,
        "dropout_layers": 0.0,
        "dropout_output": 0.0,
    }
    return ModelConfig(**{**settings, **changes})  # type: ignore[arg-type]


def small_model(**changes: object) -> Classifier:
    """Return an untrained model with random word vectors."""
    config = small_config(**changes)
    embeddings = torch.randn(config.vocabulary_size, config.embedding_size, generator=torch.Generator().manual_seed(1))
    return initial_model(config, embeddings, seed=2)


def with_value(text: str, place: str, value: str) -> str:
    """Return the text of params.yaml with another value, as it is spelt, at a place such as "train.epochs"."""
    lines = text.splitlines(keepends=True)
    start = -1
    for depth, name in enumerate(place.split(".")):
        key = f"{'  ' * depth}{name}:"
        start = next(number for number in range(start + 1, len(lines)) if lines[number].startswith(key))
    end = start + 1
    while end < len(lines) and lines[end].startswith(("  " * (depth + 1), f"{'  ' * depth}- ")):  # a list, or a comment
        end += 1
    return "".join([*lines[:start], f"{key} {value}\n", *lines[end:]])


def review(**changes: object) -> Review:
    """Return a valid review but for what is changed."""
    settings: dict[str, object] = {
        "id": "1",
        "split": "train",
        "label": 1,
        "rating": None,
        "group": None,
        "text": "Fine.",
        "where": "here:1",
    }
    return Review(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; without one these tests are skipped, but fail where NO_SKIPS is set."""
    path = shutil.which("chromium")
    if path is None and "NO_SKIPS" not in os.environ:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone to copy: the pipeline ran on a small corpus, on branch `main`, and with another rate on branch `faster`.

    The processes of pytest-xdist share it, so that it is made once.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "small_run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "small_run").exists():
            clone = Clone(tmp_path_factory.mktemp("being_made"))
            clone.run("git", "branch", "--move", "main")
            assert sorted(clone.experiment(*SMALL)) == sorted(STAGES)
            clone.run("git", "add", ".")
            clone.run("git", "commit", "-q", "-m", "A small run")
            clone.run("git", "switch", "-q", "-c", "faster")
            assert clone.experiment(FASTER) == ["train", "calibrate", "evaluate", "report", "package"]
            clone.run("git", "commit", "-q", "-a", "-m", "Learn faster")
            clone.run("git", "switch", "-q", "main")
            clone.dvc("checkout", "-q")
            clone.dvc("exp", "remove", "--all-commits")  # the branches hold what was run
            clone.folder.rename(shared / "small_run")
    return Clone.at(shared / "small_run")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model, which stands apart from any pipeline."""
    return write_model(tmp_path_factory.mktemp("untrained"), SENTIMENT)


@pytest.fixture(scope="session", params=[2, 3])
def mixed_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model of two or three labels, with a linear model whose logits are added."""
    labels = SENTIMENT if request.param == 2 else ("bad", "fair", "good")
    return write_model(tmp_path_factory.mktemp("mixed"), labels, is_mixed=True)


@pytest.fixture(scope="session")
def model_of_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model of three labels."""
    return write_model(tmp_path_factory.mktemp("of_three"), ("bad", "fair", "good"))


def write_model(folder: Path, labels: Sequence[str], is_mixed: bool = False) -> Path:
    """Write the folder of an untrained model, with or without a linear model."""
    vocabulary = fit_vocabulary(Counter(["good", "bad", "film", "a", "h", "-", ",", "."]), 9, 1)
    rules = TokenRules(lower=True, keep_breaks=False, max_tokens=None)
    save_vocabulary(folder / "words", vocabulary, rules, labels)
    size, classes = len(vocabulary.itos), len(labels)
    model = small_model(vocabulary_size=size, classes=classes)
    linear = small_linear(outputs=1 if classes == 2 else classes, vocabulary_size=size)
    save_checkpoint(folder / "model", model, folder / "words", {LINEAR: linear.tensors()} if is_mixed else None)
    return folder / "model"
