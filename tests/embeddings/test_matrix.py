import numpy as np
import pytest

from sentiment.dataset.encoded import PADDING
from sentiment.embeddings.matrix import Rows, build_embeddings, look_up, weighted_std
from sentiment.text.glove import WordVectors

WORDS = ["<unk>", "<pad>", "b", "d", "a", "e"]
FREQUENCIES = np.array([0, 0, 9, 5, 2, 1])
FOUND = WordVectors(["a", "b", "e"], np.array([[3, 4], [1, 2], [5, 9]], dtype=np.float32), rows=4, repeated=0)
ROWS = look_up(WORDS, FOUND)


def test_vectors_of_a_file_are_put_in_the_vocabularys_order() -> None:
    assert ROWS.known.tolist() == [False, False, True, False, True, True]
    assert ROWS.matrix.tolist() == [[0, 0], [0, 0], [1, 2], [0, 0], [3, 4], [5, 9]]


def test_unchanged_vectors_and_random_unknown_words_as_in_the_textbook() -> None:
    matrix = build_embeddings(ROWS, FREQUENCIES, std=None, unknown_std=1.0, seed=3)
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix[ROWS.known], ROWS.matrix[ROWS.known])
    assert (matrix[[0, 3]] != 0).all()
    assert np.array_equal(matrix, build_embeddings(ROWS, FREQUENCIES, std=None, unknown_std=1.0, seed=3))
    assert not np.array_equal(matrix, build_embeddings(ROWS, FREQUENCIES, std=None, unknown_std=1.0, seed=4))


@pytest.mark.parametrize("unknown_std", [0.0, 1.0, None])
def test_padding_is_zero(unknown_std: float | None) -> None:
    assert build_embeddings(ROWS, FREQUENCIES, 0.5, unknown_std, seed=1)[PADDING].tolist() == [0, 0]


def test_unknown_words_may_have_the_mean_vector_of_the_rarest() -> None:
    matrix = build_embeddings(ROWS, FREQUENCIES, std=None, unknown_std=None, seed=1)
    assert matrix[0].tolist() == matrix[3].tolist() == [5, 9]  # a tenth of three words, at least one


def test_vectors_are_scaled_to_a_standard_deviation_over_the_text() -> None:
    matrix = build_embeddings(ROWS, FREQUENCIES, std=0.25, unknown_std=0.0, seed=1)
    text = np.repeat(matrix[ROWS.known], FREQUENCIES[ROWS.known], axis=0)  # each word as often as in the text
    assert np.sqrt(text.var(axis=0).mean()) == pytest.approx(0.25, rel=1e-5)
    assert weighted_std(matrix, FREQUENCIES * ROWS.known) == pytest.approx(0.25, rel=1e-5)


def test_no_vector_at_all_gives_zeros() -> None:
    none = Rows(np.zeros((6, 2), dtype=np.float32), np.zeros(6, dtype=np.bool_))
    assert not build_embeddings(none, FREQUENCIES, std=0.5, unknown_std=None, seed=1).any()
