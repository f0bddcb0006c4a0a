from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from sentiment.dataset.encoded import load_encoded
from sentiment.dataset.writer import open_encoded_writer, to_tensors
from sentiment.storage.tensors import load_tensors

DTYPES = {"tokens": torch.int32, "offsets": torch.int64, "labels": torch.int8}
BATCHES = [([[5, 6, 7], [8]], [1, 0]), ([[9, 2]], [-1])]


def write(path: Path, batches: list[tuple[list[list[int]], list[int]]]) -> bytes:
    with open_encoded_writer(path, sum(len(labels) for _, labels in batches)) as file:
        for tokens, labels in batches:
            file.write(pa.array(tokens, pa.list_(pa.int32())), np.array(labels, dtype=np.int8))
    return path.read_bytes()


def test_reviews_read_back_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path / "a", BATCHES)
    loaded = load_encoded(tmp_path / "a", 10)
    assert loaded.tokens.tolist() == [5, 6, 7, 8, 9, 2]
    assert loaded.lengths.tolist() == [3, 1, 2]
    assert loaded.labels.tolist() == [1, 0, -1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("batches", [BATCHES, BATCHES[1:], []])
def test_the_bytes_are_those_of_the_safetensors_library(
    tmp_path: Path, batches: list[tuple[list[list[int]], list[int]]]
) -> None:
    written = write(tmp_path / "a", batches)
    save_file(load_tensors(tmp_path / "a", DTYPES), tmp_path / "b")
    assert written == (tmp_path / "b").read_bytes()


def test_how_reviews_come_in_batches_does_not_matter(tmp_path: Path) -> None:
    single = [([tokens], [label]) for batch in BATCHES for tokens, label in zip(*batch, strict=True)]
    assert write(tmp_path / "a", BATCHES) == write(tmp_path / "b", single)


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_encoded_writer(tmp_path / "a", 1):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_split_may_be_empty(tmp_path: Path) -> None:
    write(tmp_path / "a", [])
    assert len(load_encoded(tmp_path / "a", 10)) == 0


def test_lists_become_tensors_without_labels() -> None:
    reviews = to_tensors(pa.array([[4, 5], [6]], pa.list_(pa.int32())))
    assert reviews.tokens.tolist() == [4, 5, 6]
    assert reviews.lengths.tolist() == [2, 1]
    assert reviews.labels.tolist() == [-1, -1]
