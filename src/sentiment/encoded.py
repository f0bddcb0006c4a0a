"""Encoded reviews: ragged token ids and labels, in one file of tensors."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sentiment.errors import InputError
from sentiment.files import replacing

COPY_BYTES = 1 << 20

# The file that says which rows of the corpus, (n,) int64, each split holds.
ROW_DTYPES = dict.fromkeys(("train", "validation", "test", "unsup"), torch.int64)


@dataclass(frozen=True)
class EncodedReviews:
    """N reviews as token ids of a vocabulary, laid end to end."""

    tokens: Tensor  # (M,) int32
    offsets: Tensor  # (N + 1,) int64, review n is tokens[offsets[n]:offsets[n + 1]]
    labels: Tensor  # (N,) int8: 1 positive, 0 negative, -1 unknown

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def without_labels(cls, tokens: pa.ListArray) -> "EncodedReviews":
        """Wrap the ids of reviews whose labels are unknown."""
        labels = torch.full((len(tokens),), -1, dtype=torch.int8)
        offsets = np.cumsum([0, *pc.list_value_length(tokens).to_pylist()])
        return cls(torch.tensor(tokens.flatten().to_numpy()), torch.from_numpy(offsets), labels)

    @property
    def lengths(self) -> Tensor:
        """Return the number of tokens of each review, (N,) int64, at least 1."""
        return self.offsets.diff()

    def to(self, device: torch.device) -> "EncodedReviews":
        """Return the same reviews on a device; all of IMDb's are about 100 MB."""
        return EncodedReviews(self.tokens.to(device), self.offsets.to(device), self.labels.to(device))


class EncodedWriter:
    """Write encoded reviews a batch at a time; see `writing_encoded`."""

    def __init__(self, tokens: IO[bytes]) -> None:
        self._tokens = tokens
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._labels: list[npt.NDArray[np.int8]] = []

    def write(self, tokens: pa.ListArray, labels: npt.NDArray[np.int8]) -> None:
        """Add n reviews: their ids of a vocabulary, and their labels, (n,)."""
        self._tokens.write(tokens.flatten().to_numpy().astype("<i4", copy=False).data)
        self._lengths.append(pc.list_value_length(tokens).to_numpy())
        self._labels.append(labels)

    def put_together(self, path: Path) -> None:
        """Write what the safetensors library would: a header, then the tensors, those of the widest numbers first."""
        offsets = np.cumsum(np.concatenate([[0], *self._lengths]), dtype=np.int64)
        labels = np.concatenate([*self._labels, []]).astype(np.int8)
        header, at = {}, 0
        for name, dtype, size, width in (
            ("offsets", "I64", len(offsets), 8), ("tokens", "I32", int(offsets[-1]), 4), ("labels", "I8", len(labels), 1)
        ):
            header[name] = {"dtype": dtype, "shape": [size], "data_offsets": [at, at + width * size]}
            at += width * size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.write(offsets.astype("<i8", copy=False).data)
            self._tokens.seek(0)
            shutil.copyfileobj(self._tokens, file, COPY_BYTES)
            file.write(labels.data)


@contextmanager
def writing_encoded(path: Path) -> Iterator[EncodedWriter]:
    """Write encoded reviews to a safetensors file without metadata, in memory that does not grow with their text.

    How many tokens there are is known only at the end, and must stand at the beginning; so the tokens wait in a file
    without a name.
    """
    with replacing(path) as partial, TemporaryFile(dir=path.parent) as tokens:
        writer = EncodedWriter(tokens)
        yield writer
        writer.put_together(partial)


def load_encoded(path: Path) -> EncodedReviews:
    """Read what `writing_encoded` wrote; raises InputError if it is anything else."""
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


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors to a safetensors file without metadata."""
    with replacing(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)


def load_tensors(path: Path, dtypes: dict[str, torch.dtype]) -> dict[str, Tensor]:
    """Read tensors of exactly these names and dtypes; raises InputError if the file holds anything else."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: is not a readable file of tensors: {error}") from error
    found = {name: tensor.dtype for name, tensor in tensors.items()}
    if found != dtypes:
        raise InputError(f"{path}: must hold the tensors {dtypes}; got {found}")
    return tensors
