"""Train the network of `params.yaml` on generated corpora: short and long, few and many texts, two labels and more.

    python -m benchmarks.defaults --seeds 1 2 3 [--corpora "twenty labels" ...]

The defaults are to hold for any corpus: on none may the model be behind the linear baseline by more than chance.
Prints, for each corpus, the number of training texts and the median of their tokens, test accuracy of the model, of its
network alone and of the baseline (mean and standard deviation over the seeds), and the greatest p of McNemar's tests
between model and baseline.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
import yaml

import stages  # noqa: F401, puts the library on the path
from sentiment.corpora.reviews import Review
from sentiment.corpora.synthetic import WORDS, generate_reviews
from sentiment.dataset.encoded import load_encoded
from stages.paths import ENCODED
from tests.clone import STAGES, Clone

VERDICTS = ("neg", "pos")
SHORTEST_WORDS = 20  # of a short text, at most
JOINED = 12  # reviews of one label, of which a long text is made


class Corpus(NamedTuple):
    """A corpus to generate."""

    name: str
    texts: int
    compose: Callable[[list[Review]], Iterator[tuple[str, str]]]  # from the reviews of a split to labels and texts


def generate(corpus: Corpus, seed: int = 11) -> Iterator[tuple[str, str, str]]:
    """Yield split, label and text of each of a corpus's texts; no sentence of a review of test stands in train."""
    shares = {"train": 0.8, "test": 0.2}
    reviews = [review for review in generate_reviews(120_000, seed) if review.label is not None]
    for split, share in shares.items():
        by_label = defaultdict(list)
        for label, text in corpus.compose([review for review in reviews if review.split == split]):
            by_label[label].append(text)
        for label, texts in by_label.items():
            for text in texts[: round(corpus.texts * share / len(by_label))]:
                yield split, label, text


def short_texts(reviews: list[Review]) -> Iterator[tuple[str, str]]:
    """Yield label and text of the short reviews."""
    for review in reviews:
        if len(review.text.split()) <= SHORTEST_WORDS:
            yield VERDICTS[review.label or 0], review.text


def long_texts(reviews: list[Review]) -> Iterator[tuple[str, str]]:
    """Yield label and text of reviews of the same label joined."""
    for number, label in enumerate(VERDICTS):
        texts = [review.text for review in reviews if review.label == number]
        for start in range(0, len(texts), JOINED):
            yield label, " ".join(texts[start : start + JOINED])


def three_labels(reviews: list[Review]) -> Iterator[tuple[str, str]]:
    """Yield two reviews at once, which give as many stars as there are positive ones, and one more."""
    shuffled = np.random.default_rng(1).permutation(len(reviews)).tolist()
    for one, other in zip(shuffled[::2], shuffled[1::2], strict=False):
        first, second = reviews[one], reviews[other]
        yield str(1 + (first.label or 0) + (second.label or 0)), f"{first.text} {second.text}"


def twenty_labels(reviews: list[Review]) -> Iterator[tuple[str, str]]:
    """Yield reviews that also say where the film was shown first, among other towns; both make the label."""
    random = np.random.default_rng(1)
    for review in reviews:
        town = WORDS["town"][random.integers(len(WORDS["town"]))]
        parts = [review.text, f"It was first shown in {town}."]
        yield f"{town} {VERDICTS[review.label or 0]}", " ".join(parts if random.random() < 0.5 else parts[::-1])


CORPORA = [
    Corpus("few short texts", 300, short_texts),
    Corpus("many short texts", 2500, short_texts),
    Corpus("few long texts", 300, long_texts),
    Corpus("many long texts", 1000, long_texts),
    Corpus("three labels, in order", 4000, three_labels),
    Corpus("twenty labels", 8000, twenty_labels),
]


def measure(clone: Clone, corpus: Corpus, seeds: list[int]) -> str:
    """Train on a corpus with each of the seeds, and return its row of the table."""
    rows = list(generate(corpus))
    with (clone.folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("split", "label", "text"), *rows])
    params = yaml.safe_load((clone.folder / "params.yaml").read_text(encoding="utf-8"))
    params["download"]["corpus"] = "custom"
    params["download"]["custom"] |= {
        "path": "texts.csv",
        "split_column": "split",
        "labels": sorted({label for _, label, _ in rows}),
    }
    results = []
    for seed in seeds:
        params["train"]["seed"] = seed
        (clone.folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        first = "download_corpus" if seed == seeds[0] else "train"
        for stage in STAGES[STAGES.index(first) : STAGES.index("evaluate") + 1]:
            command = [sys.executable, "-m", f"stages.{stage}"]
            subprocess.run(command, cwd=clone.folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        results.append(json.loads((clone.folder / "metrics/test.json").read_text(encoding="utf-8")))
    trained = load_encoded(clone.folder / ENCODED["train"], 1 << 20)
    cells = [corpus.name, f"{len(trained):,}", f"{int(trained.lengths.median())}"]
    for name in ("accuracy", "network_accuracy"):
        accuracies = [result[name] for result in results]
        cells.append(f"{mean(accuracies):.2%}" + (f" ± {stdev(accuracies):.2%}" if len(seeds) > 1 else ""))
    cells.append(f"{results[0]['baseline_accuracy']:.2%}")
    cells.append(f"{max(result['mcnemar_p'] for result in results):.1g}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defaults", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    names = [corpus.name for corpus in CORPORA]
    parser.add_argument("--corpora", nargs="+", choices=names, default=names)
    arguments = parser.parse_args()
    print("| corpus | training texts | tokens, median | model | network alone | linear baseline | greatest p |")
    print("|---|---|---|---|---|---|---|")
    for corpus in CORPORA:
        if corpus.name in arguments.corpora:
            with tempfile.TemporaryDirectory() as folder:
                print(measure(Clone(Path(folder)), corpus, arguments.seeds), flush=True)
