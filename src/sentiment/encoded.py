"""Encoded reviews: ragged token ids and labels, in one file of tensors."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sentiment.errors import InputError
from sentiment.files import replacing

PADDING = 1  # the number, in `vocabulary.SPECIALS`, of the token that stands for no text

# The file that says which rows of the corpus, (n,) int64, each split holds.
ROW_DTYPES = dict.fromkeys(("train", "validation", "test", "unsup"), torch.int64)

# The file that says which of the training reviews, (n,) int64, may be learnt from with their labels.
LABELLED_DTYPES = {"train": torch.int64}


@dataclass(frozen=True)
class EncodedReviews:
    """N reviews as token ids of a vocabulary, laid end to end."""

    tokens: Tensor  # (M,) int32
    offsets: Tensor  # (N + 1,) int64, review n is tokens[offsets[n]:offsets[n + 1]]
    labels: Tensor  # (N,) int8: 1 positive, 0 negative, -1 unknown

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Tensor:
        """Return the number of tokens of each review, (N,) int64, at least 1."""
        return self.offsets.diff()

    def to(self, device: torch.device) -> "EncodedReviews":
        """Return the same reviews with their tokens on a device; all of IMDb's are about 100 MB."""
        return EncodedReviews(self.tokens.to(device), self.offsets, self.labels)


def load_encoded(path: Path) -> EncodedReviews:
    """Read what `ragged.writing_encoded` wrote; raises InputError if it is anything else."""
    tensors = load_tensors(path, {"tokens": torch.int32, "offsets": torch.int64, "labels": torch.int8})
    reviews = EncodedReviews(**tensors)
    ends = reviews.offsets[[0, -1]].tolist() if len(reviews.offsets) else None
    if (
        ends != [0, len(reviews.tokens)]
        or len(reviews.offsets) != len(reviews) + 1
        or bool((reviews.lengths < 1).any())
    ):
        raise InputError(f"{path}: its offsets do not fit its tokens and labels; run the prepare stage again")
    return reviews


def take_encoded(reviews: EncodedReviews, rows: Tensor) -> EncodedReviews:
    """Return the reviews `rows`, (n,) int64, in that order."""
    lengths = reviews.lengths[rows]
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    # of each token taken: where it lies in its review, and so in all of them
    places = torch.arange(int(offsets[-1])) - offsets[:-1].repeat_interleave(lengths)
    tokens = reviews.tokens[reviews.offsets[rows].repeat_interleave(lengths) + places]
    return EncodedReviews(tokens, offsets, reviews.labels[rows])


def join_encoded(first: EncodedReviews, second: EncodedReviews) -> EncodedReviews:
    """Return the reviews of both, the first's first."""
    offsets = torch.cat([first.offsets, second.offsets[1:] + first.offsets[-1]])
    return EncodedReviews(torch.cat([first.tokens, second.tokens]), offsets, torch.cat([first.labels, second.labels]))


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors to a safetensors file without metadata."""
    with replacing(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors of any names and dtypes; raises InputError if the file holds anything else."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: is not a readable file of tensors: {error}") from error


def load_tensors(path: Path, dtypes: dict[str, torch.dtype]) -> dict[str, Tensor]:
    """Read tensors of exactly these names and dtypes; raises InputError if the file holds anything else."""
    tensors = read_tensors(path)
    found = {name: tensor.dtype for name, tensor in tensors.items()}
    if found != dtypes:
        raise InputError(f"{path}: must hold the tensors {dtypes}; got {found}")
    return tensors
