"""Build the embedding matrix of a vocabulary from word vectors."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.dataset.encoded import PADDING
from sentiment.text.glove import WordVectors

RAREST_SHARE = 0.1  # share of the words with a vector; the mean vector of the rarest stands for words without one

Frequencies = npt.NDArray[np.int64]  # how often each word of the vocabulary occurs in the training text, (V,)


class Rows(NamedTuple):
    """Vectors of some words of a vocabulary."""

    matrix: npt.NDArray[np.float32]  # (V, E); zeros for a word without a vector
    known: npt.NDArray[np.bool_]  # (V,), whether a word has a vector


def look_up(words: list[str], vectors: WordVectors) -> Rows:
    """Arrange vectors read from a file in the order of the vocabulary's `words`, (V,)."""
    place = {word: row for row, word in enumerate(vectors.words)}
    rows = np.array([place.get(word, -1) for word in words])
    known = rows >= 0
    matrix = np.zeros((len(words), vectors.matrix.shape[1]), dtype=np.float32)
    matrix[known] = vectors.matrix[rows[known]]
    return Rows(matrix, known)


def build_embeddings(
    rows: Rows, frequencies: Frequencies, std: float | None, unknown_std: float | None, seed: int
) -> npt.NDArray[np.float32]:
    """Return the embedding matrix, (V, E) float32, with a vector for every word and zeros for padding.

    `std` is the standard deviation to which the numbers of all vectors are scaled, weighted by `frequencies`; None
    leaves them as they are. A word without a vector gets random numbers from a normal distribution with standard
    deviation `unknown_std`, or, for None, the mean vector of the rarest words that have one. NumPy draws the random
    numbers, because PyTorch's depend on the processor's instruction set.
    """
    matrix, unknown = rows.matrix.copy(), ~rows.known
    if std is not None:
        matrix *= std / (weighted_std(matrix, frequencies * rows.known) or 1.0)
    if unknown_std is None:
        matrix[unknown] = mean_of_rarest(matrix, rows.known, frequencies)
    else:
        matrix[unknown] = np.random.default_rng(seed).normal(0.0, unknown_std, (unknown.sum(), matrix.shape[1]))
    matrix[PADDING] = 0.0
    return matrix


def weighted_std(matrix: npt.NDArray[np.float32], frequencies: Frequencies) -> float:
    """Return the standard deviation of a matrix (n, E) about its mean row, each row weighted by its frequency."""
    weights = frequencies / max(frequencies.sum(), 1)
    deviations = matrix - weights @ matrix
    return float(np.sqrt((weights @ np.square(deviations)).mean()))


def mean_of_rarest(
    matrix: npt.NDArray[np.float32], known: npt.NDArray[np.bool_], frequencies: Frequencies
) -> npt.NDArray[np.float32]:
    """Return the mean vector, (E,), of the rarest words that have one; zeros if no word has one."""
    words = np.flatnonzero(known)
    rarest = words[np.argsort(frequencies[words], kind="stable")][: max(1, round(RAREST_SHARE * len(words)))]
    return np.asarray(matrix[rarest].sum(axis=0) / np.float32(max(len(rarest), 1)))
