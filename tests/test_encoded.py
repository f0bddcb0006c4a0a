from pathlib import Path

import pytest
import torch

from sentiment.encoded import EncodedReviews, load_encoded, load_tensors, save_encoded, save_tensors
from sentiment.errors import InputError
from tests.conftest import random_reviews


def test_reviews_read_back_as_they_were_written(tmp_path: Path) -> None:
    reviews = random_reviews([3, 1, 2])
    save_encoded(tmp_path / "a", reviews)
    loaded = load_encoded(tmp_path / "a")
    assert loaded.lengths.tolist() == [3, 1, 2]
    assert len(loaded) == 3
    assert torch.equal(loaded.tokens, reviews.tokens)
    assert torch.equal(loaded.labels, reviews.labels)


def test_equal_reviews_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_encoded(tmp_path / name, random_reviews([3, 1, 2]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert b"__metadata__" not in (tmp_path / "a").read_bytes()


def test_a_split_may_be_empty(tmp_path: Path) -> None:
    save_encoded(tmp_path / "a", random_reviews([]))
    assert len(load_encoded(tmp_path / "a")) == 0


@pytest.mark.parametrize("offsets", [[0, 3], [0, 2, 2, 6], [1, 3, 4, 6], [0, 3, 4, 7], [], [0, 4, 3, 6]])
def test_offsets_that_do_not_fit_are_refused(tmp_path: Path, offsets: list[int]) -> None:
    reviews = random_reviews([3, 1, 2])
    wrong = EncodedReviews(reviews.tokens, torch.tensor(offsets, dtype=torch.int64), reviews.labels)
    save_encoded(tmp_path / "a", wrong)
    with pytest.raises(InputError, match="its offsets do not fit"):
        load_encoded(tmp_path / "a")


def test_other_tensors_and_other_files_are_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a", {"tokens": torch.zeros(1)})
    with pytest.raises(InputError, match="must hold the tensors"):
        load_encoded(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    for content in (b"", whole[:-1], b"\x80\x04."):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(InputError, match="is not a readable file of tensors"):
            load_tensors(tmp_path / "a", {"tokens": torch.float32})
    with pytest.raises(InputError, match="is not a readable file of tensors"):
        load_encoded(tmp_path / "absent")
