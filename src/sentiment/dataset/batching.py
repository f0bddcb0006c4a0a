"""Padded batches of reviews of similar length."""

from typing import NamedTuple

import torch
from torch import Tensor

from sentiment.dataset.encoded import EncodedReviews

JITTER = 0.03  # share of the length; on IMDb, batches of 64 are then 2.6 % padding (1.5 % with 0.0, 5.6 % with 0.1)
SPREAD = 1.5  # a call with 32 reviews of IMDb takes less than half the time of one batch, padded to the longest


class Batch(NamedTuple):
    """A batch of reviews, each padded at the end to the length of the longest."""

    tokens: Tensor  # (T, B) int64; padding may be any token, because the model ignores it
    lengths: Tensor  # (B,) int64
    labels: Tensor  # (B,) int64


def shuffled_rows(lengths: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Split the reviews into shuffled batches for one epoch, and return the rows of each batch, (B,) int64.

    The reviews are sorted by length times a random factor between 1 and 1 + JITTER, so that a batch holds reviews of
    similar length, but different ones in each epoch. The batches are then shuffled. `lengths` is (N,) int64.
    """
    factors = 1.0 + JITTER * torch.rand(len(lengths), generator=generator)
    batches = (lengths * factors).argsort(stable=True).split(batch_size)
    return [batches[number] for number in torch.randperm(len(batches), generator=generator).tolist()]


def sorted_rows(lengths: Tensor, batch_size: int) -> list[Tensor]:
    """Split the reviews into batches, from short to long, and return the rows of each batch, (B,) int64.

    A batch holds at most `batch_size` reviews, the longest at most SPREAD times as long as the shortest.
    """
    rows = lengths.argsort(stable=True)
    ascending = lengths[rows]
    batches = []
    start = 0
    while start < len(rows):
        end = int(torch.searchsorted(ascending, int(SPREAD * ascending[start]), right=True))
        batches.append(rows[start : min(end, start + batch_size)])
        start += len(batches[-1])
    return batches


def split_by_tokens(rows: Tensor, lengths: Tensor, max_tokens: int) -> list[Tensor]:
    """Split a batch into parts of at most `max_tokens` padded tokens; a review longer than that is a part of its own.

    `rows` is (B,) int64, `lengths` is (N,) int64.
    """
    return list(rows.split(max(1, max_tokens // int(lengths[rows].max()))))


def pad_batch(reviews: EncodedReviews, rows: Tensor) -> Batch:
    """Gather the reviews at `rows`, (B,) int64, into a padded batch on the device that holds their tokens.

    Offsets, labels and rows are on the CPU, so that the shape of the batch is known without waiting for the device.
    """
    starts = reviews.offsets[rows]
    lengths = reviews.offsets[rows + 1] - starts
    steps = torch.arange(int(lengths.max()), device=reviews.tokens.device)
    small = torch.stack([starts, lengths, reviews.labels[rows].long()])  # one transfer instead of three
    starts, lengths, labels = small.to(reviews.tokens.device, non_blocking=True)
    mask = steps[:, None] < lengths  # (T, B)
    tokens = reviews.tokens[torch.where(mask, starts + steps[:, None], 0)]
    return Batch(tokens.long(), lengths, labels)
