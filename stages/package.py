"""Put the model and its card into one folder, to hand on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from stages.params import Params
from stages.paths import CARD_NAME, EVALUATION, MODEL, PACKAGE
from stages.run import read_metrics, run

if TYPE_CHECKING:
    from pathlib import Path

# What the card says about each corpus, and about its licence.
CORPORA = {
    "sample": ("Film reviews in English, generated from a grammar by this project.", "Apache 2.0, as the project."),
    "imdb": (
        "Film reviews in English from IMDb, the Large Movie Review Dataset (Maas et al. 2011), at most 30 for a film.",
        "none is stated; the reviews belong to their authors, and the dataset asks to cite the paper.",
    ),
    "custom": ("Texts and labels of a file of one's own.", "that of the file."),
}


def package(params: Params) -> None:
    """Copy the model's files and write the card."""
    from sentiment.dataset.labels import load_labels
    from sentiment.linear.model import LINEAR, load_linear
    from sentiment.models.checkpoint import VOCABULARY_NAME, load_checkpoint
    from sentiment.report.card import Card, Data, write_card
    from sentiment.storage.outputs import atomic_output

    prepared, test = read_metrics("prepare"), read_metrics("test")
    network, others = load_checkpoint(MODEL)
    config = network.config
    mixed = {}
    if LINEAR in others:
        linear = load_linear(MODEL / LINEAR, config.vocabulary_size, config.classes)
        mixed["linear model"] = f"{len(linear.ngrams):,} n-grams, whose logits are added"
    description, licence = CORPORA[params.download.corpus]
    directions = "Bidirectional " if config.bidirectional else ""
    card = Card(
        labels=load_labels(MODEL / VOCABULARY_NAME),
        title=f"{directions}{config.cell.upper()}, corpus {params.download.corpus}",
        network={
            "cell": config.cell,
            "layers": config.layers,
            "directions": network.directions,
            "units of each direction": config.hidden_size,
            "pooling": ", ".join(config.pooling),
            "word vectors": f"{config.vocabulary_size:,} of {config.embedding_size} numbers",
            "weights": f"{sum(weight.numel() for weight in network.parameters()):,}",
            **mixed,
        },
        data=Data(
            description=description,
            licence=licence,
            language=params.prepare.language,
            train=prepared["train_reviews"],
            labelled=prepared["labels"],
            unsup=prepared["unsup_reviews"],
            validation=prepared["validation_reviews"],
            test=prepared["test_reviews"],
            known=prepared["tokens_in_vocabulary"],
            uses=uses_of(params),
        ),
        words=prepared["vocabulary"],
        test=test,
        of_labels=read_rows(of_labels) if (of_labels := EVALUATION / "labels.csv").exists() else [],
        behaviour=read_rows(EVALUATION / "behaviour.csv"),
        lengths=read_rows(EVALUATION / "accuracy_by_length.csv"),
    )
    with atomic_output(PACKAGE) as folder:
        shutil.copytree(MODEL, folder)
        write_card(folder / CARD_NAME, card)
    print(f"{PACKAGE}: the model and its card")


def uses_of(params: Params) -> dict[str, list[str]]:
    """Return what the texts of each part were used for, but for those of test."""
    read = {"word vectors": params.vectors.source != "fetched", "language models": params.pretrain.enabled}
    of_text = [name for name, is_trained in read.items() if is_trained]  # labels are not read
    has_term = params.train.virtual > 0 or params.train.entropy > 0
    return {
        "train": ["vocabulary", *of_text, "network"],
        "unsup": [*of_text, *(["network"] if has_term else [])],
        "validation": [
            "choice of the epoch",
            "calibration",
            *(["network, trained once more"] if params.train.refit else []),
        ],
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    from sentiment.storage.outputs import read_columns

    table = read_columns(path)
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


if __name__ == "__main__":
    run(package)
