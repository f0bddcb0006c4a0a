"""Train word vectors: factorize a matrix of pointwise mutual information, each word weighted by how frequent it is.

With n(w, c) the co-occurrences of words w and c, n(w) = sum_c n(w, c), n = sum_w n(w) and p(w) = n(w) / n:

    PMI(w, c)    = log [n(w, c) n / (n(w) n(c))]
    M(w, c)      = sqrt(p(w) p(c)) max(PMI(w, c) + k, 0) where n(w, c) > 0, else 0
    U diag(s) V' ~ M
    u(w)         = U(w) / sqrt(p(w))
    v(w)         = u(w) - sum_c p(c) u(c)
    vector(w)    = v(w) / |v(w)|

Skip-gram with negative samples implicitly factorizes PMI(w, c) - log(negatives), and pairs of frequent words weigh more
in its loss (Levy and Goldberg 2014, Neural Word Embedding as Implicit Matrix Factorization, NIPS). Levy, Goldberg and
Dagan (2015, TACL 3) factorize the positive part of PMI, weigh all words alike, and divide each vector by its norm.

Two things differ here. With the square roots, the squared error of a pair weighs p(w) p(c), so that the many rare
words, whose counts are mostly chance, do not take up the dimensions. They also make u white: over running text each of
its numbers has the same mean square, and none repeats another. And `shift` k is positive, as with less than one
negative sample: pairs that are rarer than by chance still count. `docs/notes.md` has the figures.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

ITERATIONS = 4  # of the power method
NEGLIGIBLE = 1e-6  # share of the greatest singular value; float32 has no more digits


def factorize(counts: sparse.csr_array, dimension: int, shift: float, seed: int) -> npt.NDArray[np.float32]:
    """Return a vector of norm 1 for each word, (V, E) float32, from co-occurrences (V, V).

    E is `dimension`, or less for a vocabulary that is not larger. A word without co-occurrences has a vector of zeros.
    """
    of_word = counts.sum(axis=1, dtype=np.float64)  # (V,)
    shares = of_word / max(of_word.sum(), 1.0)
    roots = np.sqrt(shares)
    weights = sparse.diags_array(roots.astype(np.float32))
    weighted = weights @ pmi(counts, shift) @ weights
    left, values, _ = randomized_svd(weighted, dimension, n_iter=ITERATIONS, random_state=seed)
    occurs = roots > 0
    vectors = np.zeros((len(roots), np.count_nonzero(values > NEGLIGIBLE * values[0])))
    vectors[occurs] = left[occurs, : vectors.shape[1]] / roots[occurs, None]
    vectors[occurs] -= shares @ vectors
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def pmi(counts: sparse.csr_array, shift: float) -> sparse.csr_array:
    """Return max(PMI + shift, 0) of the pairs that occur, (V, V) float32; see the formulas above."""
    of_word = counts.sum(axis=1, dtype=np.float64)  # (V,), the same for rows and columns
    log_share = np.log(np.maximum(of_word, 1.0)) - np.log(of_word.sum()) / 2  # log [n(w) / sqrt(n)]
    matrix = counts.copy()
    for word, (start, end) in enumerate(pairwise(counts.indptr)):  # a row at a time, to save memory
        others = log_share[counts.indices[start:end]]
        matrix.data[start:end] = np.maximum(np.log(counts.data[start:end]) - others - log_share[word] + shift, 0)
    return matrix
