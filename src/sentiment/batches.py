"""Padded batches of reviews of like length."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sentiment.encoded import EncodedReviews

POOL_BATCHES = 50  # enough for batches that are nearly free of padding, few enough to stay random


class Batch(NamedTuple):
    """Reviews side by side, the shorter ones padded at the end."""

    tokens: Tensor  # (T, B) int64; what stands behind a review's end is any token: the model never looks there
    lengths: Tensor  # (B,) int64
    labels: Tensor  # (B,) float32


def shuffled_rows(lengths: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Cut the reviews into batches of rows, (B,) int64 each, for one epoch.

    All reviews are shuffled and cut into pools; within a pool they are sorted by length and cut into batches; the
    batches are shuffled again. `lengths` is (N,) int64.
    """
    pools = torch.randperm(len(lengths), generator=generator).split(batch_size * POOL_BATCHES)
    batches = [rows for pool in pools for rows in pool[lengths[pool].argsort(stable=True)].split(batch_size)]
    return [batches[number] for number in torch.randperm(len(batches), generator=generator).tolist()]


def sorted_rows(lengths: Tensor, batch_size: int) -> list[Tensor]:
    """Cut the reviews into batches of rows, (B,) int64 each, from the shortest to the longest."""
    return list(lengths.argsort(stable=True).split(batch_size))


def pad_batch(reviews: EncodedReviews, rows: Tensor) -> Batch:
    """Gather the reviews named by `rows`, (B,), into a batch on the device where `reviews` lies."""
    starts = reviews.offsets[rows]
    lengths = reviews.offsets[rows + 1] - starts
    steps = torch.arange(int(lengths.max()), device=rows.device)
    inside = steps[:, None] < lengths  # (T, B)
    tokens = reviews.tokens[torch.where(inside, starts + steps[:, None], 0)]
    return Batch(tokens.long(), lengths, reviews.labels[rows].float())
