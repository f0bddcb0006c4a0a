from collections import Counter

import numpy as np
import pytest
from scipy import sparse

from sentiment.dataset.encoded import PADDING, EncodedReviews
from sentiment.embeddings import cooccurrence
from sentiment.embeddings.cooccurrence import count_cooccurrences
from tests.conftest import random_reviews

V = 12


def count_one_by_one(texts: list[EncodedReviews], window: int) -> np.ndarray:
    """Count the pairs as the module's docstring defines them."""
    counts: Counter[tuple[int, int]] = Counter()
    for reviews in texts:
        for start, end in zip(reviews.offsets[:-1].tolist(), reviews.offsets[1:].tolist(), strict=True):
            tokens = reviews.tokens[start:end].tolist()
            for first, word in enumerate(tokens):
                for second in range(first + 1, min(first + window + 1, len(tokens))):
                    if PADDING not in (word, tokens[second]):
                        counts[word, tokens[second]] += window + 1 - (second - first)
                        counts[tokens[second], word] += window + 1 - (second - first)
    matrix = np.zeros((V, V))
    for pair, number in counts.items():
        matrix[pair] = number
    return matrix


@pytest.mark.parametrize("window", [1, 2, 5, 40])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_the_counts_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch, window: int, block: int) -> None:
    monkeypatch.setattr(cooccurrence, "PAIRS_AT_ONCE", block * window)
    texts = [random_reviews([1, 9, 30, 2, 1, 17], V, seed=1), random_reviews([5, 3], V, seed=2), random_reviews([], V)]
    texts[1].tokens[1] = PADDING
    counts = count_cooccurrences(texts, V, window, max_tokens=1000)
    assert counts.dtype == np.float32
    assert np.array_equal(counts.toarray(), count_one_by_one(texts, window))


@pytest.mark.parametrize("window", [1, 5, 40])
def test_a_wider_window_counts_no_more_pairs_at_once(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(cooccurrence, "PAIRS_AT_ONCE", 1000)
    pairs: list[int] = []
    count_block = cooccurrence._count_block

    def counted(tokens: cooccurrence.Tokens, vocabulary_size: int, window: int) -> sparse.csr_array:
        pairs.append(len(tokens) * window)
        return count_block(tokens, vocabulary_size, window)

    monkeypatch.setattr(cooccurrence, "_count_block", counted)
    count_cooccurrences([random_reviews([10] * 200, V)], V, window, max_tokens=10_000)
    assert all(number <= max(1000, (10 + window) * window) for number in pairs)


def test_of_a_long_text_reviews_are_read_at_even_distances() -> None:
    reviews = random_reviews([10] * 9, V)
    some = EncodedReviews(reviews.tokens.reshape(9, 10)[::3].flatten(), reviews.offsets[:4], reviews.labels[::3])
    counts = count_cooccurrences([reviews], V, 3, max_tokens=40)
    assert np.array_equal(counts.toarray(), count_one_by_one([some], 3))


def test_a_text_without_neighbours_has_no_pairs() -> None:
    counts = count_cooccurrences([random_reviews([1, 1], V)], V, 3, max_tokens=1000)
    assert isinstance(counts, sparse.csr_array)
    assert counts.nnz == 0
