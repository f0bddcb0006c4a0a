"""Train the network of `params.yaml` on generated corpora of short and long, few and many texts.

    python -m benchmarks.defaults --seeds 1 2 3

The defaults are to hold for any corpus: on none may the network be behind the linear baseline by more than chance.
Prints, for each corpus, the number of training texts and the median of their tokens, test accuracy of network (mean
and standard deviation over the seeds) and baseline, and the greatest p of McNemar's tests between the two.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import torch
import yaml

import stages  # noqa: F401, puts the library on the path
from sentiment.corpora.reviews import Review
from sentiment.corpora.synthetic import generate_reviews
from sentiment.dataset.encoded import load_encoded
from stages.paths import ENCODED
from tests.clone import STAGES, Clone

SHORTEST_WORDS = 20  # of a short text, at most
JOINED = 12  # reviews of one label, of which a long text is made


class Corpus(NamedTuple):
    """A corpus to generate."""

    name: str
    texts: int
    are_long: bool


CORPORA = [
    Corpus("few short texts", 300, are_long=False),
    Corpus("many short texts", 2500, are_long=False),
    Corpus("few long texts", 300, are_long=True),
    Corpus("many long texts", 1000, are_long=True),
]


def generate(corpus: Corpus, seed: int = 11) -> Iterator[tuple[str, str, str]]:
    """Yield split, label and text of each of a corpus's texts, in no order; no sentence of test stands in train."""
    reviews = [review for review in generate_reviews(120_000, seed) if review.label is not None]
    if not corpus.are_long:
        reviews = [review for review in reviews if len(review.text.split()) <= SHORTEST_WORDS]

    def kind(review: Review) -> tuple[str, str]:
        return review.split, ("neg", "pos")[review.label or 0]

    kinds = groupby(sorted(reviews, key=kind), key=kind)
    shares = {"train": 0.8, "test": 0.2}
    for (split, label), members in kinds:
        texts = [review.text for review in members]
        if corpus.are_long:
            texts = [" ".join(texts[start : start + JOINED]) for start in range(0, len(texts), JOINED)]
        for text in texts[: round(corpus.texts * shares[split] / 2)]:
            yield split, label, text


def measure(clone: Clone, corpus: Corpus, seeds: list[int]) -> str:
    """Train on a corpus with each of the seeds, and return its row of the table."""
    with (clone.folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("split", "label", "text"), *generate(corpus)])
    params = yaml.safe_load((clone.folder / "params.yaml").read_text(encoding="utf-8"))
    params["download"]["corpus"] = "custom"
    params["download"]["custom"] |= {"path": "texts.csv", "split_column": "split"}
    results = []
    for seed in seeds:
        params["train"]["seed"] = seed
        (clone.folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        before = STAGES[: STAGES.index("train")] if seed == seeds[0] else []
        for stage in [*before, "train", "evaluate"]:
            command = [sys.executable, "-m", f"stages.{stage}"]
            subprocess.run(command, cwd=clone.folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        results.append(json.loads((clone.folder / "metrics/test.json").read_text(encoding="utf-8")))
    trained = load_encoded(clone.folder / ENCODED["train"], 1 << 20)
    accuracies = [result["accuracy"] for result in results]
    spread = f" ± {stdev(accuracies):.2%}" if len(seeds) > 1 else ""
    return (
        f"| {corpus.name} | {len(trained):,} | {int(torch.median(trained.lengths))} | {mean(accuracies):.2%}{spread} | "
        f"{results[0]['baseline_accuracy']:.2%} | {max(result['mcnemar_p'] for result in results):.1g} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defaults", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    print("| corpus | training texts | tokens, median | network | linear baseline | greatest p |")
    print("|---|---|---|---|---|---|")
    for corpus in CORPORA:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(Clone(Path(folder)), corpus, arguments.seeds), flush=True)
