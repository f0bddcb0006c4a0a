"""The linear model: a review's logit is a weighted sum over the distinct n-grams in it.

    z_k = b_k + sum_g w_gk / sqrt(n)

g runs over the n different n-grams of the review that the model knows: words, pairs and triples of words that follow
each other, and so on up to `order` words. Dividing by the root of n keeps long reviews from getting large logits.

An n-gram of the words with ids i, j, ... is the number (i + 1) B^(m - 1) + (j + 1) B^(m - 2) + ..., where m is the
number of its words and B = V + 1. No two n-grams have the same number, whatever their lengths.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sentiment.dataset.encoded import EncodedReviews, select_reviews
from sentiment.errors import InputError
from sentiment.storage.tensors import load_tensors

LINEAR = "linear.safetensors"  # the file's name, in the folder of a classifier too
TOKENS_AT_ONCE = 500_000  # of a model with one output, with more in proportion fewer; bounds memory
DTYPES = {
    "ngrams": torch.int64,
    "weights": torch.float32,
    "bias": torch.float32,
    "order": torch.int64,
    "vocabulary_size": torch.int64,
}


class Occurrences(NamedTuple):
    """The M n-grams of the same number of words in some reviews, each as often as it occurs."""

    ngrams: Tensor  # (M,) int64
    rows: Tensor  # (M,) int64, the number of the review
    starts: Tensor  # (M,) int64, the place of the first word among the tokens of all reviews


class Found(NamedTuple):
    """The different known n-grams of each of some reviews, P in all, ordered by review."""

    rows: Tensor  # (P,) int64, the number of the review
    columns: Tensor  # (P,) int64, the place of the n-gram among those that the model knows


@dataclass(frozen=True)
class LinearModel:
    """A model of F n-grams with O outputs: one for two classes, the logit of the second, and K for K > 2 classes."""

    order: int  # the maximum number of words in an n-gram
    vocabulary_size: int  # V
    ngrams: Tensor  # (F,) int64, ascending
    weights: Tensor  # (F, O) float32
    bias: Tensor  # (O,) float32

    def logits(self, reviews: EncodedReviews) -> Tensor:
        """Return a logit for each class of N reviews, (N, K) float64; the first of two classes has 0."""
        none = torch.zeros(0, len(self.bias), dtype=torch.float64)
        logits = torch.cat([none, *map(self._logits, self._split(reviews))])  # (N, O)
        return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits

    def _logits(self, reviews: EncodedReviews) -> Tensor:
        found = find(reviews, self.order, self.vocabulary_size, self.ngrams)
        roots = torch.bincount(found.rows, minlength=len(reviews)).double().sqrt()
        sums = torch.zeros(len(reviews), len(self.bias), dtype=torch.float64)
        sums.index_add_(0, found.rows, self.weights[found.columns].double())
        return self.bias.double() + sums / roots.clamp(min=1)[:, None]

    def token_weights(self, reviews: EncodedReviews) -> list[Tensor]:
        """Return the weight of each token in its review's logits, N of (length, O) float64.

        An n-gram's weight is shared equally among all tokens of all its occurrences in the review, so that the weights
        and the bias add up to the logits.
        """
        return [weights for part in self._split(reviews) for weights in self._token_weights(part)]

    def _token_weights(self, reviews: EncodedReviews) -> list[Tensor]:
        of_tokens = torch.zeros(len(reviews.tokens), len(self.bias), dtype=torch.float64)
        distinct = torch.zeros(len(reviews), dtype=torch.int64)
        for words, seen in enumerate(occurrences(reviews, self.order, self.vocabulary_size), start=1):
            places, is_known = look_up(seen.ngrams, self.ngrams)
            places, rows, starts = places[is_known], seen.rows[is_known], seen.starts[is_known]
            pairs, kind, times = torch.unique(rows * len(self.ngrams) + places, return_inverse=True, return_counts=True)
            distinct += torch.bincount(pairs // len(self.ngrams), minlength=len(reviews))
            shares = self.weights[places].double() / (words * times[kind])[:, None]
            for word in range(words):
                of_tokens.index_add_(0, starts + word, shares)
        roots = distinct.clamp(min=1).double().sqrt().repeat_interleave(reviews.lengths)
        return list((of_tokens / roots[:, None]).split(reviews.lengths.tolist()))

    def _split(self, reviews: EncodedReviews) -> Iterator[EncodedReviews]:
        """Yield the reviews in parts of about TOKENS_AT_ONCE tokens; a long last review may add to that."""
        groups = reviews.offsets[:-1] // max(1, TOKENS_AT_ONCE // len(self.bias))
        for rows in torch.arange(len(reviews)).split(groups.unique_consecutive(return_counts=True)[1].tolist()):
            yield select_reviews(reviews, rows)

    def scaled(self, factor: float) -> "LinearModel":
        """Return the model whose logits are `factor` times as large."""
        return replace(self, weights=self.weights * factor, bias=self.bias * factor)

    def tensors(self) -> dict[str, Tensor]:
        """Return the model as tensors of DTYPES, to save in a file that `load_linear` reads."""
        return {name: torch.as_tensor(getattr(self, name)) for name in DTYPES}


def load_linear(path: Path, vocabulary_size: int, classes: int) -> LinearModel:
    """Read a model from a file of its tensors.

    Raises InputError if the tensors do not fit together or are not finite, or if the model is of another vocabulary or
    another number of classes.
    """
    tensors = load_tensors(path, DTYPES)
    ngrams, weights, bias = tensors["ngrams"], tensors["weights"], tensors["bias"]
    outputs = 1 if classes == 2 else classes
    fits = tensors["order"].numel() == tensors["vocabulary_size"].numel() == 1 and ngrams.ndim == 1
    if not (
        fits
        and int(tensors["vocabulary_size"]) == vocabulary_size
        and 1 <= int(tensors["order"]) <= greatest_order(vocabulary_size)
        and weights.shape == (len(ngrams), outputs)
        and bias.shape == (outputs,)
        and len(ngrams) > 0
        and bool((ngrams[1:] > ngrams[:-1]).all())
        and all(bool(tensor.isfinite().all()) for tensor in (weights, bias))
    ):
        raise InputError(
            f"{path}: is damaged, or not a linear model of {vocabulary_size:,} words and {classes} classes; "
            "run the baseline and calibrate stages again"
        )
    return LinearModel(int(tensors["order"]), vocabulary_size, ngrams, weights, bias)


def greatest_order(vocabulary_size: int) -> int:
    """Return how many words an n-gram may have so that its number fits into 63 bits."""
    order = 1
    while (vocabulary_size + 1) ** (order + 1) < 2**63:
        order += 1
    return order


def occurrences(reviews: EncodedReviews, order: int, vocabulary_size: int) -> Iterator[Occurrences]:
    """Yield all words of N reviews, then all pairs of words, and so on up to n-grams of `order` words.

    No n-gram reaches from one review into the next.
    """
    digits = reviews.tokens.long() + 1
    rows = torch.arange(len(reviews)).repeat_interleave(reviews.lengths)
    ends = reviews.offsets[1:].repeat_interleave(reviews.lengths)
    ngrams, starts = torch.zeros_like(digits), torch.arange(len(digits))
    for words in range(1, order + 1):
        fits = starts + words <= ends[starts]
        ngrams, starts = ngrams[fits], starts[fits]
        ngrams = ngrams * (vocabulary_size + 1) + digits[starts + words - 1]
        yield Occurrences(ngrams, rows[starts], starts)


def look_up(ngrams: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each n-gram, (M,), among the known ones, (F,) ascending, and whether it is there, (M,)."""
    places = torch.searchsorted(known, ngrams).clamp(max=len(known) - 1)
    return places, known[places] == ngrams


def find(reviews: EncodedReviews, order: int, vocabulary_size: int, known: Tensor) -> Found:
    """Find which of the known n-grams, (F,) ascending, are in each of N reviews, up to those of `order` words."""
    pairs = []
    for seen in occurrences(reviews, order, vocabulary_size):
        places, is_known = look_up(seen.ngrams, known)
        pairs.append(torch.unique(seen.rows[is_known] * len(known) + places[is_known]))
    distinct = torch.cat(pairs).sort().values  # those of different numbers of words are never equal
    return Found(distinct // len(known), distinct % len(known))
