from pathlib import Path

import pytest
import torch

from sentiment.dataset.encoded import (
    PADDING,
    EncodedReviews,
    concatenate_reviews,
    load_embeddings,
    load_encoded,
    save_encoded,
    select_reviews,
    without_padding,
)
from sentiment.errors import InputError
from sentiment.storage.tensors import load_tensors, save_tensors
from tests.conftest import random_reviews


@pytest.mark.parametrize("lengths", [[3, 1, 2], []])
def test_saved_reviews_are_loaded_unchanged(tmp_path: Path, lengths: list[int]) -> None:
    reviews = random_reviews(lengths)
    save_encoded(tmp_path / "a", reviews)
    loaded = load_encoded(tmp_path / "a", 20)
    assert loaded.tokens.equal(reviews.tokens)
    assert loaded.offsets.equal(reviews.offsets)
    assert loaded.labels.equal(reviews.labels)


@pytest.mark.parametrize(
    "offsets", [[0, 3], [0, 2, 2, 6], [1, 3, 4, 6], [0, 3, 4, 7], [], [0, 4, 3, 6], [0, 2**63 - 1, -2, 6]]
)
def test_offsets_that_do_not_fit_the_tokens_are_refused(tmp_path: Path, offsets: list[int]) -> None:
    reviews = random_reviews([3, 1, 2])
    wrong = torch.tensor(offsets, dtype=torch.int64)
    save_tensors(tmp_path / "a", {"tokens": reviews.tokens, "offsets": wrong, "labels": reviews.labels})
    with pytest.raises(InputError, match="the offsets do not fit"):
        load_encoded(tmp_path / "a", 20)


def test_files_of_other_tensors_and_damaged_files_are_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a", {"tokens": torch.zeros(1)})
    with pytest.raises(InputError, match="must hold the tensors"):
        load_encoded(tmp_path / "a", 20)
    whole = (tmp_path / "a").read_bytes()
    for content in (b"", whole[:-1], b"\x80\x04."):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(InputError, match="is not a readable safetensors file"):
            load_tensors(tmp_path / "a", {"tokens": torch.float32})
    with pytest.raises(FileNotFoundError, match="absent"):
        load_encoded(tmp_path / "absent", 20)


def test_reviews_are_selected_in_the_order_of_the_rows() -> None:
    reviews = random_reviews([3, 1, 2])
    taken = select_reviews(reviews, torch.tensor([2, 0]))
    assert taken.lengths.tolist() == [2, 3]
    assert taken.tokens.tolist() == reviews.tokens[[4, 5, 0, 1, 2]].tolist()
    assert taken.labels.tolist() == reviews.labels[[2, 0]].tolist()
    assert len(select_reviews(reviews, torch.tensor([], dtype=torch.int64))) == 0
    both = concatenate_reviews(taken, select_reviews(reviews, torch.tensor([1])))
    assert both.offsets.tolist() == [0, 2, 5, 6]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("tokens", [[2, 3, 4]], "tokens must have one dimension; got 2"),
        ("offsets", 3, "offsets must have one dimension; got 0"),
        ("tokens", [2, 3, 20], "tokens must be between 0 and 19; got 2 to 20"),
        ("tokens", [2, -1, 3], "tokens must be between 0 and 19; got -1 to 3"),
        ("labels", [127], "labels must be between -1 and 126; got 127 to 127"),
        ("tokens", [], "the offsets do not fit"),
        ("labels", [], "the offsets do not fit"),
    ],
)
def test_tensors_that_are_not_reviews_are_refused(tmp_path: Path, name: str, values: object, message: str) -> None:
    reviews = random_reviews([3])
    tensors = {"tokens": reviews.tokens, "offsets": reviews.offsets, "labels": reviews.labels}
    save_tensors(tmp_path / "a", {**tensors, name: torch.tensor(values, dtype=tensors[name].dtype)})
    with pytest.raises(InputError, match=message):
        load_encoded(tmp_path / "a", 20)


@pytest.mark.parametrize("values", [[[0.5, torch.nan]], [0.5], [[]], [[torch.inf]]])
def test_embeddings_are_a_matrix_of_finite_numbers(tmp_path: Path, values: object) -> None:
    save_tensors(tmp_path / "a", {"embeddings": torch.tensor([[0.5, 1]])})
    assert load_embeddings(tmp_path / "a").tolist() == [[0.5, 1]]
    save_tensors(tmp_path / "a", {"embeddings": torch.tensor(values)})
    with pytest.raises(InputError, match=r"must be a matrix of finite numbers; .*; run the vectors stage again$"):
        load_embeddings(tmp_path / "a")


def test_padding_is_taken_from_the_ends() -> None:
    tokens = torch.tensor([5, PADDING, PADDING, 6, 7, 8, PADDING], dtype=torch.int32)
    short = without_padding(
        EncodedReviews(tokens, torch.tensor([0, 3, 5, 7]), torch.tensor([0, 1, 0], dtype=torch.int8))
    )
    assert short.tokens.tolist() == [5, 6, 7, 8]
    assert short.offsets.tolist() == [0, 1, 3, 4]
    assert short.labels.tolist() == [0, 1, 0]
