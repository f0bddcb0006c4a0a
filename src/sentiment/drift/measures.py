"""Measure texts one by one, so that a sample of texts is measured by sums over its texts.

Letters in shapes: N texts, M their tokens, V words of the vocabulary, C counted words, P pairs of words.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.dataset.encoded import PADDING, EncodedReviews

FREQUENT_WORDS = 50  # mostly function words, of which every text of the language has many
COUNTED_WORDS = 1_000  # whose frequencies are compared one by one; the rest count as one word
FIRST_WORD = PADDING + 1  # ids below are the unknown word and padding

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Training(NamedTuple):
    """Facts of the training texts that other texts are compared with."""

    is_frequent: Bools  # (V,), True for the FREQUENT_WORDS most frequent words that have a letter
    places: Ints  # (V,), the rank of a word if it is one of the C most frequent, otherwise C
    shares: Floats  # (C + 1,), of the tokens, by place
    pairs: Ints  # (P,), the numbers of all pairs of known words, ascending
    keys: Ints  # the keys of the texts, ascending; see `splitting.key_of`


@dataclass(frozen=True)
class Measures:
    """Numbers of N texts, a value for each text."""

    tokens: Ints  # (N,), without padding
    unknown: Ints  # (N,), tokens that are not in the vocabulary
    frequent: Ints  # (N,), tokens that are among the most frequent words of the training texts
    pairs: Ints  # (N,), neighbouring tokens that are both in the vocabulary
    unseen: Ints  # (N,), those of the pairs that no training text has
    is_copy: Bools  # (N,), whether the text is a training text, to the character
    confidence: Floats  # (N,), the probability of the predicted label
    labels: Ints  # (N,), the number of the label; -1 unknown
    words: Ints  # (N, C + 1), tokens by place; or (n, C + 1) with n sums over some of the texts


def describe_training(reviews: EncodedReviews, words: list[str], keys: Ints) -> Training:
    """Collect the facts of the training texts, of which `reviews` may be a sample.

    `words` is the vocabulary, (V,), and `keys` are those of all training texts. If fewer than C words occur, C is their
    number.
    """
    tokens = reviews.tokens.numpy()
    counts = np.bincount(tokens, minlength=len(words))
    counts[:FIRST_WORD] = 0
    ranked = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    has_letter = np.array([any(map(str.isalpha, word)) for word in words])
    has_letter[:FIRST_WORD] = False
    is_frequent = np.zeros(len(words), dtype=np.bool_)
    is_frequent[ranked[has_letter[ranked]][:FREQUENT_WORDS]] = True
    counted = ranked[:COUNTED_WORDS]
    places = np.full(len(words), len(counted))
    places[counted] = np.arange(len(counted))
    by_place = np.bincount(places[tokens[tokens != PADDING]], minlength=len(counted) + 1)
    pairs = np.unique(_find_pairs(reviews, len(words)).numbers)
    return Training(is_frequent, places, by_place / by_place.sum(), pairs, np.sort(keys))


def measure(reviews: EncodedReviews, keys: Ints, logits: Floats, training: Training) -> Measures:
    """Measure N encoded texts with the keys `keys`, (N,), and the model's logits, (N, K)."""
    tokens, rows, texts = reviews.tokens.numpy(), _rows_of(reviews), len(reviews)

    def count(chosen: Bools) -> Ints:  # (M,) to (N,)
        return np.bincount(rows[chosen], minlength=texts)

    is_token = tokens != PADDING
    found = _find_pairs(reviews, len(training.places))
    is_unseen = ~_are_in(found.numbers, training.pairs)
    size = len(training.shares)
    cells = rows[is_token] * size + training.places[tokens[is_token]]
    return Measures(
        tokens=count(is_token),
        unknown=count(tokens < PADDING),
        frequent=count(training.is_frequent[tokens]),
        pairs=np.bincount(found.rows, minlength=texts),
        unseen=np.bincount(found.rows[is_unseen], minlength=texts),
        is_copy=_are_in(keys, training.keys),
        confidence=1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1),  # the largest softmax
        labels=reviews.labels.numpy().astype(np.int64),
        words=np.bincount(cells, minlength=texts * size).reshape(texts, size),
    )


def join_measures(parts: list[Measures]) -> Measures:
    """Join the measures of several sets of texts; of the counts of words, keep a sum for each set."""
    joined = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Measures)}
    joined["words"] = [words.sum(axis=0, keepdims=True) for words in joined["words"]]
    return Measures(**{name: np.concatenate(values) for name, values in joined.items()})


class _Pairs(NamedTuple):
    numbers: Ints  # (P,), first word * V + second word
    rows: Ints  # (P,), the number of the text


def _find_pairs(reviews: EncodedReviews, vocabulary_size: int) -> _Pairs:
    """Find all pairs of neighbouring words of the vocabulary; no pair reaches from one text into the next."""
    tokens, rows = reviews.tokens.numpy().astype(np.int64), _rows_of(reviews)
    are_words = tokens >= FIRST_WORD
    fits = are_words[:-1] & are_words[1:] & (rows[:-1] == rows[1:])
    return _Pairs(tokens[:-1][fits] * vocabulary_size + tokens[1:][fits], rows[:-1][fits])


def _rows_of(reviews: EncodedReviews) -> Ints:
    """Return the number of the text of each token, (M,)."""
    return np.repeat(np.arange(len(reviews)), reviews.lengths.numpy())


def _are_in(values: Ints, known: Ints) -> Bools:
    """Return a mask of the values that are among the known ones, which ascend."""
    places = np.searchsorted(known, values).clip(max=max(len(known) - 1, 0))
    return known[places] == values if len(known) else np.zeros(len(values), dtype=np.bool_)
