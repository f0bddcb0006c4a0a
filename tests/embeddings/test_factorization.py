import numpy as np
import pytest
from scipy import sparse

from sentiment.embeddings.factorization import factorize, pmi

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


def test_the_numbers_spread_alike_over_running_text_and_repeat_nothing() -> None:
    random = np.random.default_rng(2)
    counts = random.poisson(20 * np.outer(*2 * [1 / np.arange(1, 201)]) ** 0.7)
    counts = sparse.csr_array((counts + counts.T).astype(np.float32))
    vectors, weights = factorize(counts, 8, 5.0, seed=1), counts.sum(axis=1) / counts.sum()
    variances = np.linalg.eigvalsh(np.cov(vectors.T, aweights=weights))
    assert variances[-1] < 2 * variances[1]  # the first is the direction of the mean


def test_a_small_vocabulary_gives_short_vectors_and_a_word_without_neighbours_zeros() -> None:
    vectors = factorize(COUNTS, 100, 1.0, seed=1)
    assert vectors.shape == (4, 3)
    assert not vectors[3].any()
    assert np.isfinite(vectors).all()
