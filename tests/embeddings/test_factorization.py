import numpy as np
import pytest
from scipy import sparse

from sentiment.embeddings.factorization import factorize, pmi, whiten

COUNTS = sparse.csr_array(np.array([[0, 4, 2, 0], [4, 2, 0, 0], [2, 0, 6, 0], [0, 0, 0, 0]], dtype=np.float32))


@pytest.mark.parametrize("shift", [0.0, 2.0, 5.0])
def test_the_matrix_is_that_of_the_formula(shift: float) -> None:
    counts = COUNTS.toarray().astype(np.float64)
    total = counts.sum()
    expected = np.zeros_like(counts)
    for word, other in zip(*counts.nonzero(), strict=True):
        information = np.log(counts[word, other] * total / (counts[word].sum() * counts[other].sum()))
        expected[word, other] = max(information + shift, 0)
    assert pmi(COUNTS, shift).toarray() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_words_with_the_same_neighbours_have_the_same_vector() -> None:
    counts = np.random.default_rng(1).integers(1, 9, (30, 30))
    counts = counts + counts.T
    counts[1], counts[:, 1] = counts[0], counts[:, 0]  # word 1 stands where word 0 stands
    counts[1, 1] = counts[0, 1] = counts[1, 0] = counts[0, 0]
    vectors = factorize(sparse.csr_array(counts.astype(np.float32)), 10, 1.0, seed=1)
    assert vectors.shape == (30, 10)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(30), abs=1e-5)
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-4)
    assert np.linalg.norm(vectors[2] - vectors[0]) > 0.1


def test_white_vectors_have_equal_spread_and_no_correlation() -> None:
    random = np.random.default_rng(2)
    vectors, weights = random.standard_normal((50, 4)) @ random.standard_normal((4, 4)) + 3, random.random(50)
    weights /= weights.sum()
    white = whiten(vectors, weights)
    assert weights @ white == pytest.approx(np.zeros(4), abs=1e-9)
    assert (white * weights[:, None]).T @ white == pytest.approx(np.eye(4), abs=1e-9)


def test_a_direction_without_differences_is_left_out() -> None:
    vectors = np.random.default_rng(3).standard_normal((9, 2))
    assert whiten(np.c_[vectors, np.ones(9)], np.full(9, 1 / 9)).shape == (9, 2)


def test_a_small_vocabulary_gives_short_vectors_and_a_word_without_neighbours_zeros() -> None:
    vectors = factorize(COUNTS, 100, 1.0, seed=1)
    assert vectors.shape == (4, 2)  # three words about their mean
    assert not vectors[3].any()
    assert np.isfinite(vectors).all()
