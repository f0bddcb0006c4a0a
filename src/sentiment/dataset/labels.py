"""The names of a model's labels, which its vocabulary's file holds."""

from pathlib import Path

from sentiment.corpora.reviews import SENTIMENT
from sentiment.dataset.encoded import MAX_CLASSES
from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import read_json

KEYS, OPTIONAL_KEYS = {"counts", "rules"}, {"labels"}  # of a vocabulary's file


def load_labels(path: Path) -> tuple[str, ...]:
    """Return the names of the labels by number, K, from a vocabulary's file.

    Raises FileNotFoundError if there is no file, and InputError if it does not hold from 2 to MAX_CLASSES names.
    """
    labels = read_json(path, "a vocabulary", KEYS, OPTIONAL_KEYS).get("labels", list(SENTIMENT))
    are_names = isinstance(labels, list) and all(isinstance(label, str) and label for label in labels)
    if not are_names or not 2 <= len(set(labels)) == len(labels) <= MAX_CLASSES:
        raise InputError(
            f"{path}: is not a vocabulary: labels must be a list of 2 to {MAX_CLASSES} names; got {abbreviated(labels)}"
        )
    return tuple(labels)
