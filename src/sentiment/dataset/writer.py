"""Convert token ids from Arrow lists to tensors, in memory and in safetensors files."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from sentiment.dataset.encoded import EncodedReviews
from sentiment.storage.outputs import atomic_output

COPY_BYTES = 1 << 20


def to_tensors(tokens: pa.ListArray) -> EncodedReviews:
    """Convert N reviews, given as lists of int32, to tensors; their labels are set to unknown."""
    lengths = torch.tensor([0, *pc.list_value_length(tokens).to_pylist()])
    labels = torch.full((len(tokens),), -1, dtype=torch.int8)
    return EncodedReviews(torch.tensor(tokens.flatten().to_numpy()), lengths.cumsum(0), labels)


class EncodedWriter:
    """Writer of encoded reviews, a batch at a time; see `open_encoded_writer`."""

    def __init__(self, tokens: IO[bytes], reviews: int) -> None:
        self._tokens = tokens
        self._lengths = np.zeros(reviews, dtype=np.int32)
        self._labels = np.zeros(reviews, dtype=np.int8)
        self._written = 0

    def write(self, tokens: pa.ListArray, labels: npt.NDArray[np.int8]) -> None:
        """Append n reviews: their vocabulary ids and their labels, (n,)."""
        self._tokens.write(tokens.flatten().to_numpy().astype("<i4", copy=False).data)
        here = slice(self._written, self._written + len(tokens))
        self._lengths[here] = pc.list_value_length(tokens).to_numpy()
        self._labels[here] = labels
        self._written += len(tokens)

    def write_file(self, path: Path) -> None:
        """Write the file as the safetensors library would: a header, then the tensors, widest dtype first."""
        assert self._written == len(self._labels), "all reviews are written"
        offsets = np.zeros(len(self._lengths) + 1, dtype=np.int64)
        np.cumsum(self._lengths, out=offsets[1:])
        header, at = {}, 0
        for name, dtype, size, width in (
            ("offsets", "I64", len(offsets), 8),
            ("tokens", "I32", int(offsets[-1]), 4),
            ("labels", "I8", len(self._labels), 1),
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
            file.write(self._labels.data)


@contextmanager
def open_encoded_writer(path: Path, reviews: int) -> Iterator[EncodedWriter]:
    """Open a writer of `reviews` encoded reviews to a safetensors file without metadata, using little memory.

    The file's header states the number of tokens, which is known only at the end, so the tokens wait in an unnamed
    temporary file rather than in memory.
    """
    with atomic_output(path) as partial, TemporaryFile(dir=path.parent) as tokens:
        writer = EncodedWriter(tokens, reviews)
        yield writer
        writer.write_file(partial)
