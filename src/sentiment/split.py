"""Hold out reviews for validation, so that no text and no film is on both sides."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment.corpus import SPLITS, read_batches
from sentiment.errors import InputError

SPLITS_AND_VALIDATION = (*SPLITS, "validation")
TRAIN, VALIDATION = (SPLITS_AND_VALIDATION.index(name) for name in ("train", "validation"))

Keys = npt.NDArray[np.int64]  # equal for equal values; 0 for None


class Outline(NamedTuple):
    """What the splitting of N reviews, n of them in train, needs to know."""

    splits: npt.NDArray[np.int8]  # (N,), place in SPLITS
    labels: npt.NDArray[np.int8]  # (N,): 1 positive, 0 negative, -1 unknown
    texts: Keys  # (n,)
    groups: Keys  # (n,)


def read_outline(path: Path) -> Outline:
    """Read all of a corpus for what its splitting needs."""
    parts: list[Outline] = []
    for batch in read_batches(path, ["split", "label", "group", "text"]):
        splits = pc.index_in(batch["split"], pa.array(SPLITS)).to_numpy().astype(np.int8)
        labels = batch["label"].fill_null(-1).to_numpy(zero_copy_only=False)
        train = batch.filter(pa.array(splits == TRAIN))
        texts, groups = (keys_of(train[name].to_pylist()) for name in ("text", "group"))
        parts.append(Outline(splits, labels, texts, groups))
    return Outline(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def keys_of(values: Iterable[str | None]) -> Keys:
    """Return a key for each value. Of a million different ones, the chance that two share a key is 3e-8."""
    digests = (
        0
        if value is None
        else int.from_bytes(blake2b(value.encode(errors="surrogatepass"), digest_size=8).digest(), signed=True)
        for value in values
    )
    return np.fromiter(digests, dtype=np.int64)


def assign_splits(
    splits: npt.NDArray[np.int8],
    labels: npt.NDArray[np.int8],
    ties: Sequence[Keys],
    share: float,
    seed: int,
) -> npt.NDArray[np.int8]:
    """Return for each of N reviews its place in SPLITS_AND_VALIDATION, (N,).

    `share` of the n that the corpus calls train are held out for validation, as `hold_out` does; `ties` are theirs.
    Raises InputError if that leaves one side without one of the labels.
    """
    train = np.flatnonzero(splits == TRAIN)
    held_out = hold_out(labels[train], ties, share, seed)
    assigned = splits.copy()
    assigned[train[held_out]] = VALIDATION
    for split, name in ((VALIDATION, "validation"), (TRAIN, "train")):
        if len(np.unique(labels[assigned == split])) < 2:
            raise InputError(
                f"the {name} split would lack one of the labels: there are too few reviews, or those that share a "
                "group are too many to hold them out together; give more, or split by review"
            )
    return assigned


def draw_labelled(labels: npt.NDArray[np.int8], count: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Return which of the training reviews may be learnt from with their labels, (n,), in ascending order.

    `labels` is (N,). At most `count` are drawn, at random, so that of two counts the smaller's are among the greater's;
    None takes all. Raises InputError if one of the labels is not among them.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])
    if len(np.unique(labels[drawn])) < 2:
        raise InputError(f"prepare.labels: {count} training reviews, drawn at random, all have one label; draw more")
    return drawn


def hold_out(labels: npt.NDArray[np.int8], ties: Sequence[Keys], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose a share of the reviews, (N,) bool, as near as possible to that share of each label.

    `labels` is (N,). Each of `ties` gives every review a key (of its text, of its film) or 0; reviews that share a key
    in any of them stay on one side, together with all that they share a key with in turn.

    Units of tied reviews are taken in a random order, each one if it fits under the quota of every label: single
    reviews fill the quotas exactly, and large units leave at most their own size unfilled.
    """
    unit_of = _units(len(labels), ties)
    order = np.random.default_rng(seed).permutation(int(unit_of.max(initial=-1)) + 1)
    values = np.unique(labels)
    room = [round(share * np.count_nonzero(labels == value)) for value in values]
    sizes = [np.bincount(unit_of[labels == value], minlength=len(order))[order].tolist() for value in values]
    chosen = np.zeros(len(order), dtype=np.bool_)
    for unit, counts in zip(order, zip(*sizes, strict=True), strict=True):
        if all(count <= left for count, left in zip(counts, room, strict=True)):
            chosen[unit] = True
            room = [left - count for count, left in zip(counts, room, strict=True)]
    return chosen[unit_of]


def _units(reviews: int, ties: Sequence[Keys]) -> npt.NDArray[np.int64]:
    """Return the number of the set of reviews that each is in, (N,), when shared keys connect them.

    Each review takes the least number of those that it shares a key with, until nothing changes.
    """
    unit = np.arange(reviews)
    tied = [np.flatnonzero(keys) for keys in ties]
    keys_of_tied = [np.unique(keys[rows], return_inverse=True)[1] for keys, rows in zip(ties, tied, strict=True)]
    while True:
        least = unit.copy()
        for rows, key in zip(tied, keys_of_tied, strict=True):
            least_of_key = np.full(len(rows), reviews)
            np.minimum.at(least_of_key, key, least[rows])
            least[rows] = least_of_key[key]
        least = least[least]  # the least of the least: long chains are done in few rounds
        if np.array_equal(least, unit):
            return np.unique(unit, return_inverse=True)[1]
        unit = least
