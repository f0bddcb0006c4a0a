"""Hold out reviews so that equal texts, and reviews of the same film, stay on one side of a split."""

from array import array
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment.corpora.reviews import SPLITS, read_batches
from sentiment.errors import InputError

SPLITS_AND_VALIDATION = (*SPLITS, "validation")
TRAIN, TEST, VALIDATION = (SPLITS_AND_VALIDATION.index(name) for name in ("train", "test", "validation"))

# For each split that is drawn: the parameter for its share, the one that keeps groups together, and its value that does
# not.
PARAMETERS = {
    "test": ("download.custom.test_share", "download.custom.group_column", "null"),
    "validation": ("prepare.validation_share", "prepare.split_by", "review"),
}
# Limit on the ratio of reviews drawn and requested; 2 changes the standard error of a metric by a factor of 1.4.
MAX_SHARE_FACTOR = 2
LABELS_SHOWN = 5  # in a message

Keys = npt.NDArray[np.int64]  # equal for equal values; 0 for None


class SplitInputs(NamedTuple):
    """The data needed to split a corpus of N reviews, of which n are in train and m in test."""

    splits: npt.NDArray[np.int8]  # (N,), index into SPLITS
    labels: npt.NDArray[np.int8]  # (N,): the number of the label, from 0; -1 unknown
    texts: Keys  # (n,)
    groups: Keys  # (n,)
    test_texts: Keys  # (m,)


def read_split_inputs(path: Path) -> SplitInputs:
    """Read the data needed to split a corpus, in batches, without keeping the texts."""
    splits, labels = array("b"), array("b")  # these arrays grow in place
    texts, groups, test_texts = array("q"), array("q"), array("q")
    for batch in read_batches(path, ["split", "label", "group", "text"]):
        numbers = pc.index_in(batch["split"], pa.array(SPLITS)).to_numpy().astype(np.int8)
        splits.frombytes(numbers.tobytes())
        labels.frombytes(batch["label"].fill_null(-1).to_numpy(zero_copy_only=False).tobytes())
        train, test = (batch.filter(pa.array(numbers == split)) for split in (TRAIN, TEST))
        texts.extend(map(key_of, train["text"].to_pylist()))
        groups.extend(map(key_of, train["group"].to_pylist()))
        test_texts.extend(map(key_of, test["text"].to_pylist()))
    return SplitInputs(
        np.frombuffer(splits, dtype=np.int8),
        np.frombuffer(labels, dtype=np.int8),
        *(np.frombuffer(keys, dtype=np.int64) for keys in (texts, groups, test_texts)),
    )


def key_of(value: str | None) -> int:
    """Hash a value to a 64-bit key, None to 0; with ten million distinct values, a collision has probability 3e-6."""
    if value is None:
        return 0
    return int.from_bytes(blake2b(value.encode(errors="surrogatepass"), digest_size=8).digest(), signed=True)


def count_shared_texts(inputs: SplitInputs, max_share: float) -> int:
    """Count the test reviews whose text is also in train; raise InputError if their share exceeds `max_share`."""
    in_order = np.sort(inputs.test_texts)  # keys in order are found twenty times as fast
    shared, tests = int(_are_among(in_order, inputs.texts).sum()), len(in_order)
    if shared > max_share * tests:
        raise InputError(
            f"prepare.max_shared_texts: {shared:,} of {tests:,} test reviews, {shared / tests:.1%}, have the same text "
            f"as a training review; at most {max_share:.1%} are allowed; remove them from train or test, or set "
            "download.custom.split_column to null to draw a new test split, which shares no text with train"
        )
    return shared


def assign_splits(
    splits: npt.NDArray[np.int8],
    labels: npt.NDArray[np.int8],
    ties: Mapping[str, Keys],
    share: float,
    seed: int,
    names: Sequence[str],
) -> npt.NDArray[np.int8]:
    """Hold out validation reviews from train; return each review's split as an index into SPLITS_AND_VALIDATION, (N,).

    `splits` and `labels` are (N,). `hold_out` draws `share` of the n reviews in train; `ties` are the keys of those n
    reviews, (n,) each; `names` are those of the labels, K. Raises InputError as `report_share` does.
    """
    train = np.flatnonzero(splits == TRAIN)
    held_out = hold_out(labels[train], list(ties.values()), share, seed)
    report_share(held_out, labels[train], ties, share, "validation", names)
    assigned = splits.copy()
    assigned[train[held_out]] = VALIDATION
    return assigned


def report_share(
    held_out: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.int8],
    ties: Mapping[str, Keys],
    share: float,
    split: str,
    names: Sequence[str],
) -> None:
    """Check and print the share of N reviews that was held out for a split.

    `held_out` and `labels` are (N,). `ties` has the keys of the texts, (N,), and the keys of the groups if groups stay
    together; `names` are those of the labels, K. Raises InputError if either side lacks a label, or has less than half
    or more than twice the requested number of reviews.
    """
    drawn, reviews = int(held_out.sum()), len(held_out)
    of_label, all_of_label = (np.bincount(some, minlength=len(names)) for some in (labels[held_out], labels))
    wanted = round(share * reviews)
    is_far = any(
        max(side) > MAX_SHARE_FACTOR * min(side) for side in ((wanted, drawn), (reviews - wanted, reviews - drawn))
    )
    is_short = (of_label == 0) | (of_label == all_of_label)
    if is_far or is_short.any():
        parameter, *grouping = PARAMETERS[split]
        shown = (np.flatnonzero(is_short) if is_short.any() else np.arange(len(names)))[:LABELS_SHOWN]
        counts = [f"{of_label[label]:,} of {all_of_label[label]:,} labelled {names[label]}" for label in shown]
        raise InputError(
            f"{parameter}: the closest possible draw to {share:.1%} for {split} has {' and '.join(counts)}; "
            f"each side needs each label and half to twice its share; {_describe_ties(ties, reviews, *grouping)}"
        )
    print(f"{split}: {drawn:,} of {reviews:,} reviews, {drawn / reviews:.1%} (requested: {share:.1%})")


def _describe_ties(ties: Mapping[str, Keys], reviews: int, grouping: str, ungrouped: str) -> str:
    """Explain which ties prevent the requested share, and suggest a remedy."""
    reasons, remedy = [], "add reviews or change the share"
    texts, groups = (
        np.unique(keys[keys != 0], return_counts=True)[1]
        for keys in (ties["text"], ties.get("group", np.zeros(0, dtype=np.int64)))
    )
    if len(texts) < reviews:
        reasons.append(f"equal texts stay together, and the {reviews:,} reviews have {len(texts):,} distinct texts")
    if len(groups):
        reasons.append(
            f"groups stay together ({grouping}), and the largest of {len(groups):,} groups has {groups.max():,} reviews"
        )
        tied = np.bincount(_units(reviews, list(ties.values()))).max()
        if tied > max(texts.max(), groups.max()):
            reasons.append(f"groups with a text in common stay together, too, in all up to {tied:,} reviews")
            remedy = f"leave out texts that many groups have, do without groups ({grouping}: {ungrouped}), {remedy}"
    return f"{'; '.join(reasons) or 'there are too few reviews'}; {remedy}"


def draw_labelled(
    labels: npt.NDArray[np.int8], count: int | None, seed: int, names: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Draw the training reviews whose labels are used, and return their indices, (n,), in ascending order.

    `labels` is (N,). At most `count` reviews are drawn at random, or all for None. With the same seed, a smaller draw
    is a subset of a larger one. Raises InputError if the draw lacks one of the labels, whose names are `names`, K.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])
    missing = [name for label, name in enumerate(names) if label not in labels[drawn]]
    if missing:
        raise InputError(
            f"prepare.labels: of the {count} randomly drawn training reviews none has the label "
            f"{' or '.join(missing[:LABELS_SHOWN])}; draw more"
        )
    return drawn


def hold_out(labels: npt.NDArray[np.int8], ties: Sequence[Keys], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Hold out a share of the reviews of each label, as exactly as ties allow, and return a mask, (N,) bool.

    `labels` is (N,). Each array of `ties`, (N,), gives every review a key (for its text or its film), or 0 for none.
    Reviews that share a key in any array are tied and stay on the same side, and ties are transitive.

    The sets of tied reviews (units) are visited in random order. A unit is taken if it fits into what remains of the
    quota of every label. Units of one review fill the quotas exactly; if large units leave a gap, `_refine` narrows it.
    """
    unit_of = _units(len(labels), ties)
    order = np.random.default_rng(seed).permutation(int(unit_of.max(initial=-1)) + 1)
    values = np.unique(labels)
    quotas = [round(share * np.count_nonzero(labels == value)) for value in values]
    columns = [np.bincount(unit_of[labels == value], minlength=len(order))[order] for value in values]
    room, taken = quotas, np.zeros(len(order), dtype=np.bool_)
    for place, counts in enumerate(zip(*(column.data for column in columns), strict=True)):  # a list of ints is larger
        if not any(room):
            break
        if all(count <= free for count, free in zip(counts, room, strict=True)):
            taken[place] = True
            room = [free - count for count, free in zip(counts, room, strict=True)]
    if any(room):
        taken = _refine(taken, np.stack(columns, axis=1), np.array(quotas))
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order] = taken
    return chosen[unit_of]


def _refine(
    taken: npt.NDArray[np.bool_], sizes: npt.NDArray[np.int64], quotas: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Bring the draw closer to the quotas of K labels, greedily, by adding or removing one of U units at a time.

    `taken` is (U,), `sizes` (U, K), `quotas` (K,). The distance is the sum over labels of |drawn - quota|. Of draws at
    the same distance, the one with more labels on both sides is better, since each side needs every label.
    """

    def distance(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:  # (..., K) to (...)
        missing = (drawn == 0) | (drawn == sizes.sum(axis=0))
        return np.abs(drawn - quotas).sum(axis=-1) + missing.sum(axis=-1) / (1 + len(quotas))  # type: ignore[no-any-return]

    taken, drawn = taken.copy(), sizes[taken].sum(axis=0)
    while True:
        changed = drawn + np.where(taken, -1, 1)[:, None] * sizes  # (U, K): the draw after adding or removing each unit
        best = int(distance(changed).argmin())
        if distance(changed[best]) >= distance(drawn):
            return taken
        drawn, taken[best] = changed[best], not taken[best]


def _units(reviews: int, ties: Sequence[Keys]) -> npt.NDArray[np.int64]:
    """Return the connected component of each review, (N,), in the graph that joins reviews with a common key.

    Each review starts with its own number and repeatedly takes the smallest number among the reviews that share a key
    with it, until nothing changes.
    """
    unit = np.arange(reviews)
    tied = [np.flatnonzero(_are_repeated(keys)) for keys in ties]
    keys_of_tied = [np.unique(keys[rows], return_inverse=True)[1] for keys, rows in zip(ties, tied, strict=True)]
    while True:
        least = unit.copy()
        for rows, key in zip(tied, keys_of_tied, strict=True):
            least_of_key = np.full(len(rows), reviews)
            np.minimum.at(least_of_key, key, least[rows])
            least[rows] = least_of_key[key]
        least = least[least]  # pointer jumping, so that long chains converge in few rounds
        if np.array_equal(least, unit):
            break
        unit = least
    numbers: npt.NDArray[np.int64] = np.cumsum(unit == np.arange(reviews)) - 1  # of the units, at their first reviews
    return numbers[unit]


def _are_repeated(keys: Keys) -> npt.NDArray[np.bool_]:
    """Return a mask, (N,), of the keys other than 0 that occur more than once."""
    ordered = np.sort(keys[keys != 0])
    return _are_among(keys, ordered[1:][ordered[1:] == ordered[:-1]])


def _are_among(keys: Keys, others: Keys) -> npt.NDArray[np.bool_]:
    """Return a mask, (N,), of the keys that are among the others; np.isin takes twice to fifty times as long."""
    others = np.sort(others)
    found: npt.NDArray[np.bool_] = np.searchsorted(others, keys, side="right") > np.searchsorted(others, keys)
    return found
