"""Encoded reviews: token ids and labels, stored in one file of tensors."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sentiment.errors import InputError
from sentiment.storage.tensors import load_tensors, save_tensors

PADDING = 1  # id of the padding token, as in `vocabulary.SPECIALS`
MAX_CLASSES = 127  # K at most: labels are int8

# Tensors of the file that lists the corpus rows in each split, (n,) int64 each.
SPLIT_DTYPES = dict.fromkeys(("train", "validation", "test", "unsup"), torch.int64)

# Tensors of the file that lists the training reviews whose labels may be used, (n,) int64.
LABELLED_DTYPES = {"train": torch.int64}


@dataclass(frozen=True)
class EncodedReviews:
    """N reviews as vocabulary ids, concatenated."""

    tokens: Tensor  # (M,) int32
    offsets: Tensor  # (N + 1,) int64, review n is tokens[offsets[n]:offsets[n + 1]]
    labels: Tensor  # (N,) int8: the number of the class, from 0 to K - 1; -1 unknown

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Tensor:
        """Return the number of tokens in each review, (N,) int64, at least 1."""
        return self.offsets.diff()

    @property
    def unpadded_lengths(self) -> Tensor:
        """Return the number of tokens in each review other than padding, (N,) int64."""
        counts = (self.tokens != PADDING).cumsum(0)
        return torch.cat([counts.new_zeros(1), counts])[self.offsets].diff()

    def to(self, device: torch.device) -> "EncodedReviews":
        """Return the same reviews with the tokens on `device`; the tokens of IMDb take about 110 MB."""
        return EncodedReviews(self.tokens.to(device), self.offsets, self.labels)


def save_encoded(path: Path, reviews: EncodedReviews) -> None:
    """Write encoded reviews to a safetensors file."""
    save_tensors(path, {"tokens": reviews.tokens, "offsets": reviews.offsets, "labels": reviews.labels})


def load_encoded(path: Path, vocabulary_size: int, classes: int = MAX_CLASSES) -> EncodedReviews:
    """Read encoded reviews from a file written by `save_encoded`.

    Raises InputError if the tensors do not fit together, a token id is not below `vocabulary_size`, or a label is not
    below `classes` or -1. Without this check, a file of another vocabulary would end in a failed assertion on the GPU.
    """
    tensors = load_tensors(path, {"tokens": torch.int32, "offsets": torch.int64, "labels": torch.int8})
    for name, tensor in tensors.items():
        if tensor.ndim != 1:
            raise InputError(f"{path}: {name} must have one dimension; got {tensor.ndim}; run the prepare stage again")
    reviews = EncodedReviews(**tensors)
    tokens, offsets, labels = reviews.tokens, reviews.offsets, reviews.labels
    if (
        len(offsets) != len(labels) + 1
        or offsets[[0, -1]].tolist() != [0, len(tokens)]
        or bool((offsets[1:] <= offsets[:-1]).any())  # not offsets.diff(), which may overflow
    ):
        raise InputError(f"{path}: the offsets do not fit the tokens and labels; run the prepare stage again")
    for name, tensor, least, greatest in (
        ("tokens", tokens, 0, vocabulary_size - 1),
        ("labels", labels, -1, classes - 1),
    ):
        if bool(((tensor < least) | (tensor > greatest)).any()):
            raise InputError(
                f"{path}: {name} must be between {least} and {greatest:,}; "
                f"got {tensor.min():,} to {tensor.max():,}; run the prepare stage again"
            )
    return reviews


def load_embeddings(path: Path) -> Tensor:
    """Read an embedding matrix, (V, E) float32.

    Raises InputError if the file does not hold a matrix or if a number is not finite.
    """
    embeddings = load_tensors(path, {"embeddings": torch.float32})["embeddings"]
    if embeddings.ndim != 2 or not embeddings.numel() or not bool(embeddings.isfinite().all()):
        raise InputError(
            f"{path}: must be a matrix of finite numbers; got shape {tuple(embeddings.shape)} with "
            f"{int(embeddings.isfinite().sum()):,} finite numbers; run the vectors stage again"
        )
    return embeddings


def without_padding(reviews: EncodedReviews) -> EncodedReviews:
    """Return the reviews without the padding at their ends."""
    return cut(reviews, torch.arange(len(reviews)), reviews.offsets[:-1], reviews.unpadded_lengths)


def select_reviews(reviews: EncodedReviews, rows: Tensor) -> EncodedReviews:
    """Return the reviews at `rows`, (n,) int64, in that order."""
    return cut(reviews, rows, reviews.offsets[rows], reviews.lengths[rows])


def cut(reviews: EncodedReviews, rows: Tensor, starts: Tensor, lengths: Tensor) -> EncodedReviews:
    """Return parts of the reviews at `rows`, with their labels: `lengths` tokens from position `starts` on.

    All three are (n,) int64; a position is one in `reviews.tokens`.
    """
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    # the position of each token within its part
    places = torch.arange(int(offsets[-1])) - offsets[:-1].repeat_interleave(lengths)
    tokens = reviews.tokens[starts.repeat_interleave(lengths) + places]
    return EncodedReviews(tokens, offsets, reviews.labels[rows])


def concatenate_reviews(first: EncodedReviews, second: EncodedReviews) -> EncodedReviews:
    """Concatenate the reviews of `first` and `second`."""
    offsets = torch.cat([first.offsets, second.offsets[1:] + first.offsets[-1]])
    return EncodedReviews(torch.cat([first.tokens, second.tokens]), offsets, torch.cat([first.labels, second.labels]))
