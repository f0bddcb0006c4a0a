"""Train word vectors: factorize a matrix of pointwise mutual information.

With n(w, c) the co-occurrences of words w and c, n(w) = sum_c n(w, c) and n = sum_w n(w):

    PMI(w, c)    = log [n(w, c) n / (n(w) n(c))]
    M(w, c)      = max(PMI(w, c) + k, 0) where n(w, c) > 0, else 0
    U diag(s) V' ~ M
    u(w)         = U(w) - sum_c n(c) U(c) / n
    Q diag(q) Q' = sum_w n(w) u(w)' u(w) / n
    v(w)         = u(w) Q diag(q)^(-1/2)
    vector(w)    = v(w) / |v(w)|

Skip-gram with negative samples implicitly factorizes PMI(w, c) - log(negatives) (Levy and Goldberg 2014, Neural Word
Embedding as Implicit Matrix Factorization, NIPS). Levy, Goldberg and Dagan (2015, TACL 3) factorize its positive part
and divide each vector by its norm. Here `shift` k is positive, as with less than one negative sample: pairs that are
rarer than by chance still count, and a pair that never occurs counts as one with PMI -k. Vectors are centred and
whitened, so that over running text each of their numbers has the same spread and none repeats another; without this,
most of the spread tells only how frequent a word is. `docs/notes.md` has the figures.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

ITERATIONS = 4  # of the power method
NEGLIGIBLE = 1e-9  # share of the greatest variance


def factorize(counts: sparse.csr_array, dimension: int, shift: float, seed: int) -> npt.NDArray[np.float32]:
    """Return a vector of norm 1 for each word, (V, E) float32, from co-occurrences (V, V).

    E is `dimension`, or less for a vocabulary that is not larger. A word without co-occurrences has a vector of zeros.
    """
    left, _, _ = randomized_svd(pmi(counts, shift), dimension, n_iter=ITERATIONS, random_state=seed)
    of_word = counts.sum(axis=1, dtype=np.float64)  # (V,)
    vectors = whiten(left, of_word / max(of_word.sum(), 1.0))
    vectors[of_word == 0] = 0.0
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def whiten(vectors: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return vectors (V, E) with mean 0 and covariance 1, each vector weighted by `weights`, (V,), of sum 1.

    Directions in which the vectors do not differ are left out.
    """
    centred = vectors - weights @ vectors
    variances, directions = np.linalg.eigh((centred * weights[:, None]).T @ centred)
    differ = variances > variances[-1] * NEGLIGIBLE
    return np.asarray(centred @ directions[:, differ] / np.sqrt(variances[differ]))


def pmi(counts: sparse.csr_array, shift: float) -> sparse.csr_array:
    """Return max(PMI + shift, 0) of the pairs that occur, (V, V) float32; see the formulas above."""
    of_word = counts.sum(axis=1, dtype=np.float64)  # (V,), the same for rows and columns
    log_share = np.log(np.maximum(of_word, 1.0)) - np.log(of_word.sum()) / 2  # log [n(w) / sqrt(n)]
    matrix = counts.copy()
    for word, (start, end) in enumerate(pairwise(counts.indptr)):  # a row at a time, to save memory
        others = log_share[counts.indices[start:end]]
        matrix.data[start:end] = np.maximum(np.log(counts.data[start:end]) - others - log_share[word] + shift, 0)
    return matrix
