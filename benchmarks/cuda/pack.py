"""Encoded reviews in one small file, or generated ones."""

import gzip
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from sentiment.dataset.encoded import EncodedReviews, load_encoded, select_reviews
from sentiment.errors import InputError
from sentiment.storage.outputs import atomic_output

SPLITS = ("train", "validation", "test", "unsup")
MAX_IDS = 2**16  # that 16 bits tell apart

Packed = dict[str, EncodedReviews]  # by split


def pack(prepared: Path, output: Path) -> int:
    """Write the prepared splits to one file and return its bytes.

    The file is a gzipped safetensors file: token ids and lengths as uint16, labels as int8.
    """
    tensors: dict[str, Tensor] = {}
    for split in SPLITS:
        reviews = load_encoded(prepared / f"{split}.safetensors", vocabulary_size=MAX_IDS)
        if len(reviews) and int(reviews.lengths.max()) >= MAX_IDS:
            raise InputError(f"{prepared}: the longest review must have fewer than {MAX_IDS:,} tokens")
        tensors[f"{split}.tokens"] = reviews.tokens.to(torch.uint16)
        tensors[f"{split}.lengths"] = reviews.lengths.to(torch.uint16)
        tensors[f"{split}.labels"] = reviews.labels
    content = gzip.compress(save(tensors), compresslevel=6, mtime=0)
    with atomic_output(output) as partial:
        partial.write_bytes(content)
    return len(content)


def unpack(path: Path) -> Packed:
    """Read what `pack` wrote."""
    tensors = load(gzip.decompress(path.read_bytes()))
    splits = dict.fromkeys(name.partition(".")[0] for name in tensors)
    return {
        split: encoded(*(tensors[f"{split}.{name}"] for name in ("tokens", "lengths", "labels"))) for split in splits
    }


def encoded(tokens: Tensor, lengths: Tensor, labels: Tensor) -> EncodedReviews:
    """Return N reviews of tokens (M,), lengths (N,) and labels (N,)."""
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.long().cumsum(0)])
    return EncodedReviews(tokens.to(torch.int32), offsets, labels.to(torch.int8))


def generate(counts: dict[str, int], median_length: int, vocabulary_size: int) -> Packed:
    """Return so many reviews of each split, with lengths spread as IMDb's are and frequencies as of words."""
    return {
        split: generate_reviews(count, median_length, vocabulary_size, seed)
        for seed, (split, count) in enumerate(counts.items())
    }


def generate_reviews(count: int, median_length: int, vocabulary_size: int, seed: int) -> EncodedReviews:
    """Return reviews in which every fourth token says the label, and token n comes 1 / n times as often as token 1."""
    generator = torch.Generator().manual_seed(seed)
    spread = 0.6  # standard deviation of the logarithm, as of IMDb's lengths
    factors = torch.randn(count, generator=generator).mul(spread).exp()
    lengths = (median_length * factors).long().clamp(min=4)
    labels = torch.arange(count) % 2
    uniform = torch.rand(int(lengths.sum()), generator=generator)
    tokens = (vocabulary_size / 4) ** uniform * 4  # from 4 to the vocabulary's end
    tokens[::4] = (2 + labels).repeat_interleave(lengths)[::4].float()
    return encoded(tokens, lengths, labels)


def first(reviews: EncodedReviews, count: int) -> EncodedReviews:
    """Return the first so many reviews, or all where there are fewer."""
    return select_reviews(reviews, torch.arange(min(count, len(reviews))))


def shortest(reviews: EncodedReviews, count: int) -> EncodedReviews:
    """Return the shortest so many reviews."""
    return select_reviews(reviews, reviews.lengths.argsort(stable=True)[:count])
