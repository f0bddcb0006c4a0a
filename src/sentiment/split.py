"""Hold out reviews for validation, so that no text and no film is on both sides."""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sentiment.corpus import SPLITS
from sentiment.errors import InputError


def rows_of_splits(
    splits: Sequence[str],
    labels: Sequence[int | None],
    ties: Sequence[Sequence[Hashable | None]],
    share: float,
    seed: int,
) -> dict[str, npt.NDArray[np.int64]]:
    """Return which of the N reviews are in train, validation, test and unsup, in their order.

    `share` of those that the corpus calls train are held out for validation, as `hold_out` does. Raises InputError if
    that leaves one side without one of the labels.
    """
    names = np.array(splits)
    rows = {split: np.flatnonzero(names == split) for split in SPLITS}
    train = rows["train"]
    labels_of_train = np.array([labels[row] for row in train.tolist()], dtype=np.int8)
    held_out = hold_out(labels_of_train, [[keys[row] for row in train.tolist()] for keys in ties], share, seed)
    for side, name in ((held_out, "validation"), (~held_out, "train")):
        if len(np.unique(labels_of_train[side])) < 2:
            raise InputError(
                f"the {name} split would lack one of the labels: there are too few reviews, or those that share a "
                "group are too many to hold them out together; give more, or split by review"
            )
    return {**rows, "train": train[~held_out], "validation": train[held_out]}


def hold_out(
    labels: npt.NDArray[np.int8], ties: Sequence[Sequence[Hashable | None]], share: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Choose a share of the reviews, (N,) bool, as near as possible to that share of each label.

    `labels` is (N,). Each of `ties` gives every review a key (its text, its film) or None; reviews that share a key
    in any of them stay on one side, together with all that they share a key with in turn.

    Units of tied reviews are taken in a random order, each one if it fits under the quota of every label: single
    reviews fill the quotas exactly, and large units leave at most their own size unfilled.
    """
    unit_of = _units(len(labels), ties)
    order = np.argsort(unit_of, kind="stable")
    units = np.split(order, np.flatnonzero(np.diff(unit_of[order])) + 1)
    values = np.unique(labels)
    room = np.array([round(share * np.count_nonzero(labels == value)) for value in values])
    held_out = np.zeros(len(labels), dtype=np.bool_)
    for number in np.random.default_rng(seed).permutation(len(units)):
        unit = units[number]
        sizes = np.array([np.count_nonzero(labels[unit] == value) for value in values])
        if np.all(sizes <= room):
            held_out[unit] = True
            room -= sizes
    return held_out


def _units(reviews: int, ties: Sequence[Sequence[Hashable | None]]) -> npt.NDArray[np.int32]:
    """Return the number, (N,), of the connected component that each review is in by shared keys."""
    first: dict[tuple[int, Hashable], int] = {}
    edges = [
        (first.setdefault((kind, key), review), review)
        for kind, keys in enumerate(ties)
        for review, key in enumerate(keys)
        if key is not None
    ]
    tails, heads = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(tails), dtype=np.bool_), (tails, heads)), shape=(reviews, reviews))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int32)
