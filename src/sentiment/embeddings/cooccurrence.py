"""Count which words stand near each other.

A pair of tokens that are d tokens apart in a review counts window + 1 - d, and nothing beyond the window. Divided by
the window, these are the weights that word2vec gives pairs on average, since it draws the width of each window (Levy,
Goldberg and Dagan 2015, Improving Distributional Similarity with Lessons Learned from Word Embeddings, TACL 3, section
3.1).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from tqdm import tqdm

from sentiment.dataset.encoded import PADDING, EncodedReviews

PAIRS_AT_ONCE = 20 << 20  # bounds memory: 400 MB

Tokens = npt.NDArray[np.int32]


def count_cooccurrences(
    texts: Sequence[EncodedReviews], vocabulary_size: int, window: int, max_tokens: int
) -> sparse.csr_array:
    """Return the weighted number of times that each word stands near each other word, (V, V) float32, symmetric.

    Of more than `max_tokens` tokens, only every second, third, ... review is read, so that time and memory are bounded.
    Padding counts nothing.
    """
    step = max(1, -(-sum(len(reviews.tokens) for reviews in texts) // max_tokens))  # the quotient, rounded up
    counts = sparse.csr_array((vocabulary_size, vocabulary_size), dtype=np.float32)
    total = sum(len(range(0, len(reviews), step)) for reviews in texts)
    with tqdm(desc="count pairs", total=total, unit=" reviews", disable=None) as bar:
        for reviews in texts:
            for tokens, number in _blocks(reviews, window, step):
                counts += _count_block(tokens, vocabulary_size, window)
                bar.update(number)
    counts += counts.T.tocsr()
    counts.sort_indices()
    return counts


def _blocks(reviews: EncodedReviews, window: int, step: int) -> Iterator[tuple[Tokens, int]]:
    """Yield the tokens of some reviews, each review followed by `window` tokens of padding, and the number of reviews.

    A block has about PAIRS_AT_ONCE / window tokens, but at least one review.
    """
    tokens, offsets = reviews.tokens.numpy(), reviews.offsets.numpy()
    starts, lengths = offsets[:-1:step], np.diff(offsets)[::step]
    ends = np.cumsum(lengths + window)  # in the text with padding
    first = 0
    while first < len(starts):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + PAIRS_AT_ONCE // window)))
        block = np.full(ends[last - 1] - before, PADDING, dtype=np.int32)
        places = np.arange(lengths[first:last].sum())
        review = np.repeat(np.arange(last - first), lengths[first:last])
        within = places - (np.cumsum(lengths[first:last]) - lengths[first:last])[review]
        block[places + window * review] = tokens[starts[first:last][review] + within]
        yield block, last - first
        first = last


def _count_block(tokens: Tokens, vocabulary_size: int, window: int) -> sparse.csr_array:
    """Count each token, (V,), with those that follow it, (V,): the product of two sparse matrices.

    Row i of `here` has a one at token i, and row i of `following` the weights of the tokens within the window after it.
    """
    places = len(tokens) - window  # the last tokens are padding
    shape = (places, vocabulary_size)
    here = sparse.csr_array((np.ones(places, dtype=np.float32), tokens[:places], np.arange(places + 1)), shape)
    near = np.lib.stride_tricks.sliding_window_view(tokens[1:], window)
    weights = np.tile(np.arange(window, 0, -1, dtype=np.float32), places)
    weights[(near == PADDING).ravel()] = 0
    weights[np.repeat(tokens[:places] == PADDING, window)] = 0
    following = sparse.csr_array((weights, near.ravel(), np.arange(0, places * window + 1, window)), shape)
    counts = here.T.tocsr() @ following
    counts.eliminate_zeros()
    return counts
